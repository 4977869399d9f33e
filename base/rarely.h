#pragma once

#include <memory>

namespace cq {

/// A T that is as a new one most of the time, and takes no more than a pointer then.
template <class T>
class Rarely {
 public:
  Rarely() = default;
  Rarely(const Rarely& other) : own_(other.own_ ? std::make_unique<T>(*other.own_) : nullptr) {}
  Rarely(Rarely&&) noexcept = default;
  Rarely& operator=(const Rarely& other) { return *this = Rarely(other); }
  Rarely& operator=(Rarely&&) noexcept = default;
  ~Rarely() = default;

  /// It was never changed.
  bool fresh() const { return !own_; }
  const T& operator*() const { return own_ ? *own_ : kFresh; }
  const T* operator->() const { return &**this; }
  /// To change it.
  T& Edit() {
    if (!own_) own_ = std::make_unique<T>();
    return *own_;
  }
  bool operator==(const Rarely& other) const { return (!own_ && !other.own_) || **this == *other; }

 private:
  inline static const T kFresh{};
  std::unique_ptr<T> own_;
};

}  // namespace cq
