#pragma once

// Functions that run on workers, in a library of the user's or in the program that embeds the
// master. A library includes this header and links nothing:
//
//   #include <cq/function.h>
//   double simulate(double alpha, int64_t seed) { … }
//   CQ_FUNCTION(simulate, "alpha", "seed")      // the columns that feed its parameters
//
// Parameters and results may be arithmetic types, bool, std::string, std::optional, std::vector,
// std::map with std::string keys, and structs with CQ_FIELDS. A result that is a struct or a map
// becomes a column for each of its names; any other becomes the column `result`.

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

#if __cplusplus < 202002L
#error "<cq/function.h> needs C++20"
#endif

#include "cq/fields.h"
#include "cq/value_stream.h"
#include "cq/values.h"

namespace cq {

/// What the task that runs now is. Valid inside a function that a worker calls, and in libraries
/// that were loaded before the worker's first task.
struct TaskInfo {
  /// The task's number, counted from 1, and which try this is, from 1.
  uint64_t task = 0;
  uint64_t attempt = 0;
  /// From 1 to 2³¹ − 1; the same for this task whatever worker runs it, and at each attempt.
  uint64_t seed = 0;
  /// The value of the `--group` column; empty without one.
  const char* group = "";
};

/// What a parameter takes.
struct ParameterInfo {
  /// The column that feeds it; null: the one at its place.
  const char* name;
  Kind kind;
  /// It may be missing (std::optional).
  bool optional;
};

inline constexpr uint32_t kFunctionVersion = 2;

/// A registered function, as its host sees it. Nothing is thrown across this interface.
struct Function {
  /// Of this struct and the interfaces of <cq/value_stream.h>: kFunctionVersion.
  uint32_t version;
  uint32_t parameter_count;
  const char* name;
  const ParameterInfo* parameters;
  /// Reads the arguments, calls, writes the result. Returns false after `fail` got the reason.
  bool (*call)(Decoder& arguments, Encoder& result,
               void (*fail)(void* context, const char* bytes, size_t size), void* context);
  /// By which the program that embeds a master finds it.
  void (*address)();
};

namespace detail {

/// Where a function finds the constants of its run. Set by the host of a slot before its first
/// task.
class ConstantSource {
 public:
  /// At the constant's value; null if the run has none of that name.
  virtual Decoder* Find(const char* name) = 0;

 protected:
  ~ConstantSource() = default;
};

/// Where the rows go that a function pushes. Set by the host of a slot before its first task, if
/// its tasks are rows.
class RowSink {
 public:
  /// Where the next row is to be written, as a record. Throws std::runtime_error if there are too
  /// many.
  virtual Encoder& Next() = 0;

 protected:
  ~RowSink() = default;
};

/// What this program, or one of its libraries, and the host of a slot know of each other. There is
/// one in each of them, whatever they export and however they are loaded.
struct Library {
  /// Of this struct: 2.
  uint32_t version = 2;
  /// In the order of their registration. Written before `main` or at `dlopen`, and only read after.
  std::vector<const Function*> functions;
  /// Of the host.
  const TaskInfo* task = nullptr;
  ConstantSource* constants = nullptr;
  RowSink* rows = nullptr;
};

// Another library's must not be taken for this one's, as the linker does it with one name.
#define CQ_OWN __attribute__((visibility("hidden")))

CQ_OWN inline Library& OwnLibrary() {
  static Library library;
  return library;
}

CQ_OWN inline bool Register(const Function* function) {
  OwnLibrary().functions.push_back(function);
  return true;
}

template <class T>
inline constexpr bool kOptional = false;
template <class T>
inline constexpr bool kOptional<std::optional<T>> = true;

template <class Signature>
struct Signatures;
template <class R, class... A>
struct Signatures<R (*)(A...)> {
  using Result = std::decay_t<R>;
  using Arguments = std::tuple<std::decay_t<A>...>;
};
template <class R, class... A>
struct Signatures<R (*)(A...) noexcept> : Signatures<R (*)(A...)> {};

template <auto F>
struct Wrapped {
  using Result = typename Signatures<decltype(F)>::Result;
  using Arguments = typename Signatures<decltype(F)>::Arguments;
  static constexpr size_t kCount = std::tuple_size_v<Arguments>;
  using Infos = std::array<ParameterInfo, kCount + 1>;

  template <size_t... I>
  static Infos InfosOf(const std::vector<const char*>& names, std::index_sequence<I...>) {
    return {ParameterInfo{I < names.size() ? names[I] : nullptr,
                          Travels<std::tuple_element_t<I, Arguments>>::kKind,
                          kOptional<std::tuple_element_t<I, Arguments>>}...,
            ParameterInfo{nullptr, Kind::kMissing, false}};
  }

  template <size_t I>
  static std::tuple_element_t<I, Arguments> TakeOne(Decoder& in, size_t& at) {
    at = I;
    return Travels<std::tuple_element_t<I, Arguments>>::Take(in);
  }

  template <size_t... I>
  static void CallWith(Decoder& in, Encoder& out, size_t& at, std::index_sequence<I...>) {
    // Braces: in order.
    Arguments arguments{TakeOne<I>(in, at)...};
    at = kCount;
    if constexpr (std::is_void_v<Result>) {
      std::apply(F, std::move(arguments));
      out.Record(0);
    } else {
      Travels<Result>::Put(out, std::apply(F, std::move(arguments)));
    }
  }

  static bool Call(const Infos& infos, Decoder& in, Encoder& out,
                   void (*fail)(void*, const char*, size_t), void* context) {
    std::string reason;
    size_t at = kCount;
    try {
      CallWith(in, out, at, std::make_index_sequence<kCount>());
      return true;
    } catch (const BadValue& bad) {
      const char* name = at < kCount ? infos[at].name : nullptr;
      reason = at == kCount      ? "a value " + bad.what
               : name != nullptr ? "column '" + std::string(name) + "' " + bad.what
                                 : "parameter " + Digits(at + 1) + " " + bad.what;
    } catch (const std::exception& error) {
      reason = error.what();
#ifdef __cpp_rtti
      if (reason.empty()) reason = typeid(error).name();
#else
      if (reason.empty()) reason = "an exception without a message";
#endif
    } catch (...) {
      reason = "an exception that is no std::exception";
    }
    fail(context, reason.data(), reason.size());
    return false;
  }
};

}  // namespace detail

/// The task that runs now.
CQ_OWN inline const TaskInfo& task() {
  static const TaskInfo none;
  const TaskInfo* task = detail::OwnLibrary().task;
  return task == nullptr ? none : *task;
}

/// A constant of the run (`MasterOptions::constants`), in a function that a master's program
/// called: unpacked at the first use in each slot, and the same object from then on. Throws
/// std::runtime_error for a name that the run does not have, or a value of another type.
template <class T>
CQ_OWN const T& constant(const std::string& name) {
  static std::map<std::string, T> known;
  const auto found = known.find(name);
  if (found != known.end()) return found->second;
  detail::ConstantSource* constants = detail::OwnLibrary().constants;
  Decoder* value = constants == nullptr ? nullptr : constants->Find(name.c_str());
  if (value == nullptr) throw std::runtime_error("the run has no constant '" + name + "'");
  try {
    return known.emplace(name, detail::Travels<T>::Take(*value)).first->second;
  } catch (const detail::BadValue& bad) {
    throw std::runtime_error("the constant '" + name + "' " + bad.what);
  }
}

/// Adds a row to the run of the task that runs now (a struct with CQ_FIELDS, or a map with
/// std::string keys, whose names are columns of the input): a task as those of the input once the
/// result of this one is durable, and none if this one does not end ok. A row that was pushed
/// before is the same row. Call it on the function's own thread. Throws std::runtime_error outside
/// `cq run --function`.
template <class Row>
CQ_OWN void push(const Row& row) {
  static_assert(detail::Travels<Row>::kKind == Kind::kRecord,
                "a row is a struct with CQ_FIELDS, or a map with std::string keys");
  detail::RowSink* rows = detail::OwnLibrary().rows;
  if (rows == nullptr) {
    throw std::runtime_error("cq::push: only a task of cq run --function can push rows");
  }
  detail::Travels<Row>::Put(rows->Next(), row);
}

#undef CQ_OWN
}  // namespace cq

/// By which the host of a slot finds what is registered here.
extern "C" __attribute__((visibility("default"), used)) inline ::cq::detail::Library*
cq_own_library() {
  return &::cq::detail::OwnLibrary();
}

/// Registers a function as the proposer of another, which is registered, too (`cq run --function
/// LIB:function --propose`): it is called in one process beside the run, once for each row of
/// `function` that ended ok, in one order, with the named columns of the row and of its result
/// (`result`, if that is no record), and adds rows with cq::push. What it has to remember is its
/// own.
#define CQ_PROPOSE(function, proposer, ...)               \
  CQ_FUNCTION(proposer, __VA_ARGS__);                     \
  extern "C" __attribute__((visibility("default"), used)) \
  const ::cq::Function* cq_propose_##function() {         \
    return cq_describe_##proposer();                      \
  }

/// Registers a function that is not overloaded, by its unqualified name: CQ_FUNCTION(simulate)
/// takes the columns in order, CQ_FUNCTION(simulate, "alpha", "seed") those of these names. A name
/// is registered once in a program and its libraries.
#define CQ_FUNCTION(function, ...)                                                          \
  static const ::cq::Function* cq_describe_##function() {                                   \
    using Wrapped = ::cq::detail::Wrapped<&function>;                                       \
    static const std::vector<const char*> names{__VA_ARGS__};                               \
    static const Wrapped::Infos infos =                                                     \
        Wrapped::InfosOf(names, std::make_index_sequence<Wrapped::kCount>());               \
    static const ::cq::Function info{                                                       \
        ::cq::kFunctionVersion,                                                             \
        static_cast<uint32_t>(Wrapped::kCount),                                             \
        #function,                                                                          \
        infos.data(),                                                                       \
        [](::cq::Decoder& in, ::cq::Encoder& out, void (*fail)(void*, const char*, size_t), \
           void* context) { return Wrapped::Call(infos, in, out, fail, context); },         \
        reinterpret_cast<void (*)()>(&function)};                                           \
    return &info;                                                                           \
  }                                                                                         \
  extern "C" __attribute__((visibility("default"), used))                                   \
  const ::cq::Function* cq_function_##function() {                                          \
    return cq_describe_##function();                                                        \
  }                                                                                         \
  [[maybe_unused]] static const bool cq_registered_##function =                             \
      ::cq::detail::Register(cq_describe_##function())
