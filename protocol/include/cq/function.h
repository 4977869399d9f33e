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
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <limits>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

#if __cplusplus < 202002L
#error "<cq/function.h> needs C++20"
#endif

namespace cq {

/// What the task that runs now is. Valid inside a function that a worker calls.
struct TaskInfo {
  /// The task's number, counted from 1, and which try this is, from 1.
  uint64_t task = 0;
  uint64_t attempt = 0;
  /// From 1 to 2³¹ − 1; the same for this task whatever worker runs it, and at each attempt.
  uint64_t seed = 0;
  /// The value of the `--group` column; empty without one.
  const char* group = "";
};

/// The kinds of values that travel.
enum class Kind : uint8_t { kMissing, kBool, kInteger, kNumber, kText, kList, kRecord };

/// Where values go. Implemented by whoever carries them; the numbers of the members are part of the
/// binary interface between a library and its host.
class Encoder {
 public:
  virtual void Missing() = 0;
  virtual void Bool(bool value) = 0;
  virtual void Integer(int64_t value) = 0;
  virtual void Unsigned(uint64_t value) = 0;
  virtual void Number(double value) = 0;
  virtual void Text(const char* bytes, size_t size) = 0;
  /// `count` values follow.
  virtual void List(size_t count) = 0;
  /// `count` times a text and a value follow.
  virtual void Record(size_t count) = 0;

 protected:
  ~Encoder() = default;
};

/// Where values come from, one after the other. A getter may be called only for the kind that Next
/// tells.
class Decoder {
 public:
  virtual Kind Next() = 0;
  virtual void Missing() = 0;
  virtual bool Bool() = 0;
  /// An integer above INT64_MAX is told by `Unsigned` alone.
  virtual bool FitsInteger() = 0;
  virtual int64_t Integer() = 0;
  virtual uint64_t Unsigned() = 0;
  virtual double Number() = 0;
  /// The bytes live as long as the call of the function.
  virtual const char* Text(size_t* size) = 0;
  virtual size_t List() = 0;
  virtual size_t Record() = 0;

 protected:
  ~Decoder() = default;
};

/// What a parameter takes.
struct ParameterInfo {
  /// The column that feeds it; null: the one at its place.
  const char* name;
  Kind kind;
  /// It may be missing (std::optional).
  bool optional;
};

/// A registered function, as its host sees it. Nothing is thrown across this interface.
struct Function {
  /// Of this struct and the interfaces above: 1.
  uint32_t version;
  uint32_t parameter_count;
  const char* name;
  const ParameterInfo* parameters;
  /// Reads the arguments, calls, writes the result. Returns false after `fail` got the reason.
  bool (*call)(const TaskInfo& task, Decoder& arguments, Encoder& result,
               void (*fail)(void* context, const char* bytes, size_t size), void* context);
  /// By which the program that embeds a master finds it.
  void (*address)();
};

namespace detail {

inline TaskInfo current_task;

struct BadValue {
  std::string what;
};

inline const char* NameOf(Kind kind) {
  constexpr const char* kNames[] = {"missing", "boolean", "integer", "number",
                                    "text",    "list",    "record"};
  return kNames[static_cast<size_t>(kind)];
}

inline void Expect(Decoder& in, Kind kind) {
  if (in.Next() != kind) {
    throw BadValue{std::string("is ") + NameOf(in.Next()) + ", not " + NameOf(kind)};
  }
}

inline std::string TakeText(Decoder& in) {
  size_t size = 0;
  const char* bytes = in.Text(&size);
  return {bytes, size};
}

inline void PutText(Encoder& out, std::string_view text) { out.Text(text.data(), text.size()); }

template <class Number>
std::string Digits(Number value) {
  std::array<char, 40> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr;
  return {buffer.data(), end};
}

template <class T>
inline constexpr bool kAlwaysFalse = false;

/// How a type travels: kKind, Put, Take. The members of structs are told by CQ_FIELDS.
template <class T, class = void>
struct Travels {
  static_assert(
      kAlwaysFalse<T>,
      "this type cannot travel: use arithmetic types, bool, std::string, std::optional, "
      "std::vector, std::map<std::string, …>, or a struct with CQ_FIELDS(Type, members…)");
};

template <>
struct Travels<bool> {
  static constexpr Kind kKind = Kind::kBool;
  static void Put(Encoder& out, bool value) { out.Bool(value); }
  static bool Take(Decoder& in) {
    Expect(in, Kind::kBool);
    return in.Bool();
  }
};

template <class T>
struct Travels<T, std::enable_if_t<std::is_integral_v<T> && !std::is_same_v<T, bool>>> {
  static constexpr Kind kKind = Kind::kInteger;
  static void Put(Encoder& out, T value) {
    if constexpr (std::is_signed_v<T>) {
      out.Integer(value);
    } else {
      out.Unsigned(value);
    }
  }
  static T Take(Decoder& in) {
    Expect(in, Kind::kInteger);
    if (in.FitsInteger()) {
      const int64_t value = in.Integer();
      if (std::in_range<T>(value)) return static_cast<T>(value);
      throw BadValue{"is " + Digits(value) + ", which its type cannot hold"};
    }
    const uint64_t value = in.Unsigned();
    if (std::in_range<T>(value)) return static_cast<T>(value);
    throw BadValue{"is " + Digits(value) + ", which its type cannot hold"};
  }
};

template <class T>
struct Travels<T, std::enable_if_t<std::is_floating_point_v<T>>> {
  static_assert(sizeof(T) <= sizeof(double), "long double does not travel: use double");
  static constexpr Kind kKind = Kind::kNumber;
  static void Put(Encoder& out, T value) { out.Number(value); }
  static T Take(Decoder& in) {
    if (in.Next() != Kind::kInteger) {
      Expect(in, Kind::kNumber);
      return static_cast<T>(in.Number());
    }
    constexpr int64_t kExact = int64_t{1} << 53;
    const bool fits = in.FitsInteger();
    const int64_t value = fits ? in.Integer() : 0;
    if (fits && value <= kExact && value >= -kExact) return static_cast<T>(value);
    throw BadValue{"is " + (fits ? Digits(value) : Digits(in.Unsigned())) +
                   ", which a floating-point number cannot hold exactly"};
  }
};

/// Takes whatever has a text: numbers in their shortest form.
template <>
struct Travels<std::string> {
  static constexpr Kind kKind = Kind::kText;
  static void Put(Encoder& out, const std::string& value) { PutText(out, value); }
  static std::string Take(Decoder& in) {
    switch (in.Next()) {
      case Kind::kBool:
        return in.Bool() ? "true" : "false";
      case Kind::kInteger:
        return in.FitsInteger() ? Digits(in.Integer()) : Digits(in.Unsigned());
      case Kind::kNumber:
        return TextOf(in.Number());
      default:
        Expect(in, Kind::kText);
        return TakeText(in);
    }
  }
  static std::string TextOf(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value > 0 ? "Inf" : "-Inf";
    return Digits(value);
  }
};

template <class T>
struct Travels<std::optional<T>> {
  static constexpr Kind kKind = Travels<T>::kKind;
  static void Put(Encoder& out, const std::optional<T>& value) {
    value ? Travels<T>::Put(out, *value) : out.Missing();
  }
  static std::optional<T> Take(Decoder& in) {
    if (in.Next() != Kind::kMissing) return Travels<T>::Take(in);
    in.Missing();
    return std::nullopt;
  }
};

template <class T>
struct Travels<std::vector<T>> {
  static constexpr Kind kKind = Kind::kList;
  static void Put(Encoder& out, const std::vector<T>& values) {
    out.List(values.size());
    for (const auto& value : values) Travels<T>::Put(out, value);
  }
  static std::vector<T> Take(Decoder& in) {
    Expect(in, Kind::kList);
    std::vector<T> values;
    for (size_t left = in.List(); left > 0; --left) values.push_back(Travels<T>::Take(in));
    return values;
  }
};

template <class T>
struct Travels<std::map<std::string, T>> {
  static constexpr Kind kKind = Kind::kRecord;
  static void Put(Encoder& out, const std::map<std::string, T>& values) {
    out.Record(values.size());
    for (const auto& [name, value] : values) {
      PutText(out, name);
      Travels<T>::Put(out, value);
    }
  }
  static std::map<std::string, T> Take(Decoder& in) {
    Expect(in, Kind::kRecord);
    std::map<std::string, T> values;
    for (size_t left = in.Record(); left > 0; --left) {
      std::string name = TakeText(in);
      values.insert_or_assign(std::move(name), Travels<T>::Take(in));
    }
    return values;
  }
};

/// Reads over a value of a name that nobody asked for.
inline void Skip(Decoder& in) {
  size_t left = 0;
  switch (in.Next()) {
    case Kind::kMissing:
      in.Missing();
      break;
    case Kind::kBool:
      in.Bool();
      break;
    case Kind::kInteger:
      in.FitsInteger() ? void(in.Integer()) : void(in.Unsigned());
      break;
    case Kind::kNumber:
      in.Number();
      break;
    case Kind::kText:
      in.Text(&left);
      break;
    case Kind::kList:
      for (left = in.List(); left > 0; --left) Skip(in);
      break;
    case Kind::kRecord:
      for (left = in.Record(); left > 0; --left) {
        TakeText(in);
        Skip(in);
      }
      break;
  }
}

/// Structs: CqFields(pointer) gives their names and members.
template <class T>
struct Travels<T, std::void_t<decltype(CqFields(static_cast<T*>(nullptr)))>> {
  static constexpr Kind kKind = Kind::kRecord;
  static void Put(Encoder& out, const T& value) {
    std::apply(
        [&](const auto&... field) {
          out.Record(sizeof...(field));
          (PutField(out, value, field), ...);
        },
        CqFields(static_cast<T*>(nullptr)));
  }
  static T Take(Decoder& in) {
    Expect(in, Kind::kRecord);
    T value{};
    for (size_t left = in.Record(); left > 0; --left) {
      const std::string name = TakeText(in);
      const bool known = std::apply(
          [&](const auto&... field) { return (TakeField(in, value, name, field) || ...); },
          CqFields(static_cast<T*>(nullptr)));
      if (!known) Skip(in);
    }
    return value;
  }

 private:
  template <class Field>
  static void PutField(Encoder& out, const T& value, const Field& field) {
    PutText(out, field.first);
    Travels<std::decay_t<decltype(value.*field.second)>>::Put(out, value.*field.second);
  }
  template <class Field>
  static bool TakeField(Decoder& in, T& value, const std::string& name, const Field& field) {
    if (name != field.first) return false;
    value.*field.second = Travels<std::decay_t<decltype(value.*field.second)>>::Take(in);
    return true;
  }
};

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

template <class Result>
struct PutResult {
  static void Put(Encoder& out, const Result& result) { Travels<Result>::Put(out, result); }
};

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

  static bool Call(const Infos& infos, const TaskInfo& task, Decoder& in, Encoder& out,
                   void (*fail)(void*, const char*, size_t), void* context) {
    std::string reason;
    size_t at = kCount;
    try {
      current_task = task;
      CallWith(in, out, at, std::make_index_sequence<kCount>());
      return true;
    } catch (const BadValue& bad) {
      const char* name = at < kCount ? infos[at].name : nullptr;
      reason = at == kCount      ? "a value " + bad.what
               : name != nullptr ? "column '" + std::string(name) + "' " + bad.what
                                 : "parameter " + Digits(at + 1) + " " + bad.what;
    } catch (const std::exception& error) {
      reason = error.what();
      if (reason.empty()) reason = typeid(error).name();
    } catch (...) {
      reason = "an exception that is no std::exception";
    }
    fail(context, reason.data(), reason.size());
    return false;
  }
};

/// Where a function finds the constants of its run. Set by the host of a slot before its first
/// task.
class ConstantSource {
 public:
  /// At the constant's value; null if the run has none of that name.
  virtual Decoder* Find(const char* name) = 0;

 protected:
  ~ConstantSource() = default;
};
inline ConstantSource* constants = nullptr;

/// The functions of this program or library, in the order of their registration. Written before
/// `main` or at `dlopen`, and only read after.
inline std::vector<const Function*>& Functions() {
  static std::vector<const Function*> functions;
  return functions;
}

inline bool Register(const Function* function) {
  Functions().push_back(function);
  return true;
}

}  // namespace detail

/// The task that runs now.
inline const TaskInfo& task() { return detail::current_task; }

/// A constant of the run (`MasterOptions::constants`), in a function that a master's program
/// called: unpacked at the first use in each slot, and the same object from then on. Throws
/// std::runtime_error for a name that the run does not have, or a value of another type.
template <class T>
const T& constant(const std::string& name) {
  static std::map<std::string, T> known;
  const auto found = known.find(name);
  if (found != known.end()) return found->second;
  Decoder* value = detail::constants == nullptr ? nullptr : detail::constants->Find(name.c_str());
  if (value == nullptr) throw std::runtime_error("the run has no constant '" + name + "'");
  try {
    return known.emplace(name, detail::Travels<T>::Take(*value)).first->second;
  } catch (const detail::BadValue& bad) {
    throw std::runtime_error("the constant '" + name + "' " + bad.what);
  }
}

}  // namespace cq

/// Registers a function that is not overloaded, by its unqualified name: CQ_FUNCTION(simulate)
/// takes the columns in order, CQ_FUNCTION(simulate, "alpha", "seed") those of these names.
#define CQ_FUNCTION(function, ...)                                                        \
  extern "C" __attribute__((visibility("default"), used))                                 \
  const ::cq::Function* cq_function_##function() {                                        \
    using Wrapped = ::cq::detail::Wrapped<&function>;                                     \
    static const std::vector<const char*> names{__VA_ARGS__};                             \
    static const Wrapped::Infos infos =                                                   \
        Wrapped::InfosOf(names, std::make_index_sequence<Wrapped::kCount>());             \
    static const ::cq::Function info{                                                     \
        1,                                                                                \
        static_cast<uint32_t>(Wrapped::kCount),                                           \
        #function,                                                                        \
        infos.data(),                                                                     \
        [](const ::cq::TaskInfo& task, ::cq::Decoder& in, ::cq::Encoder& out,             \
           void (*fail)(void*, const char*, size_t),                                      \
           void* context) { return Wrapped::Call(infos, task, in, out, fail, context); }, \
        reinterpret_cast<void (*)()>(&function)};                                         \
    return &info;                                                                         \
  }                                                                                       \
  [[maybe_unused]] static const bool cq_registered_##function =                           \
      ::cq::detail::Register(cq_function_##function())

/// Tells which members of a struct travel, at most 16: struct Fit { double loss; int64_t steps; };
/// CQ_FIELDS(Fit, loss, steps) in the namespace of the struct.
#define CQ_FIELDS(Type, ...)                                              \
  [[maybe_unused]] inline auto CqFields(Type*) {                          \
    using CqType = Type;                                                  \
    return std::make_tuple(CQ_DETAIL_EACH(CQ_DETAIL_FIELD, __VA_ARGS__)); \
  }
#define CQ_DETAIL_FIELD(member) std::pair(#member, &CqType::member)
#define CQ_DETAIL_EXPAND(...) \
  CQ_DETAIL_EXPAND2(CQ_DETAIL_EXPAND2(CQ_DETAIL_EXPAND2(CQ_DETAIL_EXPAND2(__VA_ARGS__))))
#define CQ_DETAIL_EXPAND2(...) \
  CQ_DETAIL_EXPAND1(CQ_DETAIL_EXPAND1(CQ_DETAIL_EXPAND1(CQ_DETAIL_EXPAND1(__VA_ARGS__))))
#define CQ_DETAIL_EXPAND1(...) __VA_ARGS__
#define CQ_DETAIL_EACH(macro, ...) __VA_OPT__(CQ_DETAIL_EXPAND(CQ_DETAIL_NEXT(macro, __VA_ARGS__)))
#define CQ_DETAIL_NEXT(macro, first, ...) \
  macro(first) __VA_OPT__(, CQ_DETAIL_AGAIN CQ_DETAIL_PARENS(macro, __VA_ARGS__))
#define CQ_DETAIL_PARENS ()
#define CQ_DETAIL_AGAIN() CQ_DETAIL_NEXT
