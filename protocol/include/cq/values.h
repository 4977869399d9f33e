#pragma once

#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "cq/value_stream.h"

// How each type travels that a function may take or return (<cq/function.h> lists them).
namespace cq::detail {

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

/// Whether a T holds this integer; of characters, as the number that they are.
template <class T, class Number>
constexpr bool Holds(Number value) {
  constexpr bool kSigned = std::is_signed_v<Number>;
  using Least = std::conditional_t<kSigned, int64_t, uint64_t>;
  const auto wide = static_cast<Least>(value);
  if constexpr (kSigned && std::is_signed_v<T>) {
    return wide >= static_cast<int64_t>(std::numeric_limits<T>::min()) &&
           wide <= static_cast<int64_t>(std::numeric_limits<T>::max());
  } else {
    return wide >= 0 &&
           static_cast<uint64_t>(wide) <= static_cast<uint64_t>(std::numeric_limits<T>::max());
  }
}

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
      if (Holds<T>(value)) return static_cast<T>(value);
      throw BadValue{"is " + Digits(value) + ", which its type cannot hold"};
    }
    const uint64_t value = in.Unsigned();
    if (Holds<T>(value)) return static_cast<T>(value);
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

}  // namespace cq::detail
