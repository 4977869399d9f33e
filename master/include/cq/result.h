#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "cq/error.h"
#include "cq/outcome.h"

// What became of a task: a value or an error.
namespace cq {

/// Why a task has no value.
struct TaskError {
  Outcome outcome = Outcome::kError;
  std::string message;
  /// What the function printed, as far as it was kept.
  std::string out;
  std::string err;
};

namespace detail {

[[noreturn]] inline void ThrowNoValue(const TaskError& error) {
  throw Error("the task has no value: " + error.message);
}

/// Where a result stands in the range that was mapped.
class HasIndex {
 public:
  /// The place of this result's arguments in the range, from 0. Of `map` alone.
  size_t index() const { return index_; }
  void set_index(size_t index) { index_ = index; }

 private:
  size_t index_ = 0;
};

}  // namespace detail

/// A value or an error, read like std::expected.
template <class T>
class Result : public detail::HasIndex {
 public:
  Result(T value) : content_(std::in_place_index<0>, std::move(value)) {}
  Result(TaskError error) : content_(std::in_place_index<1>, std::move(error)) {}

  bool has_value() const { return content_.index() == 0; }
  explicit operator bool() const { return has_value(); }
  /// Throws Error without a value.
  const T& value() const& { return Value(*this); }
  T& value() & { return Value(*this); }
  T&& value() && { return std::move(Value(*this)); }
  const T& operator*() const& { return *std::get_if<0>(&content_); }
  T& operator*() & { return *std::get_if<0>(&content_); }
  T&& operator*() && { return std::move(*std::get_if<0>(&content_)); }
  const T* operator->() const { return std::get_if<0>(&content_); }
  T* operator->() { return std::get_if<0>(&content_); }
  /// Only without a value.
  const TaskError& error() const { return *std::get_if<1>(&content_); }
  T value_or(T other) const { return has_value() ? **this : std::move(other); }

 private:
  template <class Self>
  static auto& Value(Self& self) {
    if (!self.has_value()) detail::ThrowNoValue(self.error());
    return *std::get_if<0>(&self.content_);
  }
  std::variant<T, TaskError> content_;
};

template <>
class Result<void> : public detail::HasIndex {
 public:
  Result() = default;
  Result(TaskError error) : error_(std::move(error)) {}
  bool has_value() const { return !error_; }
  explicit operator bool() const { return has_value(); }
  void value() const {
    if (error_) detail::ThrowNoValue(*error_);
  }
  const TaskError& error() const { return *error_; }

 private:
  std::optional<TaskError> error_;
};

}  // namespace cq
