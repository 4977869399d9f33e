#include "master/journal/value_text.h"

#include <rapidjson/encodedstream.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/reader.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <msgpack.hpp>
#include <optional>

#include "base/json.h"
#include "base/json_text.h"
#include "base/text.h"
#include "cq/error.h"
#include "protocol/json_record.h"
#include "protocol/packed_values.h"

namespace cq {
namespace {

// Bytes that are no UTF-8 travel as the characters of their numbers: {"$bytes": "ÿþ"}.
constexpr const char* kBytes = "$bytes";

void AppendBytes(std::string& out, std::string_view bytes) {
  out += "{\"$bytes\":";
  AppendJsonText(out, LatinOf(bytes));
  out += '}';
}

struct AppendValue {
  std::string& out;
  void operator()(std::monostate) const { out += "null"; }
  void operator()(bool b) const { out += b ? "true" : "false"; }
  void operator()(int64_t i) const {
    std::array<char, 32> buffer;
    out += Digits(i, buffer);
  }
  void operator()(double d) const {
    // JSON has neither.
    if (!std::isfinite(d)) {
      out += std::isnan(d) ? "\"NaN\"" : d > 0 ? "\"Inf\"" : "\"-Inf\"";
    } else {
      AppendJsonNumber(out, d);
    }
  }
  void operator()(const std::string& s) const {
    IsUtf8(s) ? AppendJsonText(out, s) : AppendBytes(out, s);
  }
  void operator()(const Json& j) const { out += j.text; }
};

// A name is a title of a column: it is text.
void AppendName(std::string& out, std::string_view name) {
  IsUtf8(name) ? AppendJsonText(out, name) : AppendJsonText(out, ValidText(name));
  out += ':';
}

}  // namespace

void AppendJson(std::string& out, const std::vector<std::pair<std::string, Value>>& values) {
  char before = '{';
  for (const auto& [name, value] : values) {
    out += std::exchange(before, ',');
    AppendName(out, name);
    std::visit(AppendValue{out}, value);
  }
  if (values.empty()) out += '{';
  out += '}';
}

namespace {

// Writes a scalar, or a record of scalars, as it is parsed. What holds more stops it.
class ScalarJson : public msgpack::null_visitor {
 public:
  ScalarJson(std::string& out, std::vector<std::string>& names) : out_(out), names_(names) {}

  bool visit_nil() { return Put(std::monostate()); }
  bool visit_boolean(bool value) { return Put(value); }
  bool visit_positive_integer(uint64_t value) {
    return value <= INT64_MAX && Put(static_cast<int64_t>(value));
  }
  bool visit_negative_integer(int64_t value) { return Put(value); }
  bool visit_float32(float value) { return Put(static_cast<double>(value)); }
  bool visit_float64(double value) { return Put(value); }
  bool visit_str(const char* text, uint32_t size) {
    if (!key_) return Put(std::string(text, size));
    Name({text, size});
    return true;
  }
  bool visit_bin(const char*, uint32_t) { return false; }
  bool visit_ext(const char*, uint32_t) { return false; }
  bool start_array(uint32_t) { return false; }
  bool start_map(uint32_t) { return std::exchange(outside_, false); }
  bool start_map_key() {
    key_ = true;
    return true;
  }
  bool end_map_key() {
    key_ = false;
    return true;
  }
  bool End() {
    if (names_.empty()) out_ += '{';
    out_ += '}';
    return true;
  }

 private:
  void Name(std::string_view name) {
    out_ += names_.empty() ? '{' : ',';
    names_.emplace_back(name);
    AppendName(out_, name);
  }
  template <class T>
  bool Put(const T& value) {
    if (key_) return false;
    if (outside_) Name("result");
    AppendValue{out_}(value);
    return true;
  }

  std::string& out_;
  std::vector<std::string>& names_;
  bool outside_ = true;
  bool key_ = false;
};

}  // namespace

void AppendPackedJson(std::string& out, std::string_view packed, std::vector<std::string>& names) {
  const size_t before = out.size();
  names.clear();
  ScalarJson scalars(out, names);
  size_t end = 0;
  if (msgpack::parse(packed.data(), packed.size(), end, scalars) && end == packed.size() &&
      scalars.End()) {
    return;
  }
  out.resize(before);
  names.clear();
  try {
    const NamedValues values = UnpackValues(packed);
    AppendJson(out, values);
    for (const auto& [name, value] : values) names.push_back(name);
  } catch (const Error&) {
    // A worker's word, not ours.
  }
}

namespace {

// Takes an object of scalars as it is parsed. What holds more stops it.
class ScalarCells : public rapidjson::BaseReaderHandler<rapidjson::UTF8<>, ScalarCells> {
 public:
  explicit ScalarCells(Cells& cells) : cells_(cells) {}

  bool StartObject() { return std::exchange(outside_, false); }
  bool Key(const char* name, size_t size, bool) {
    cells_.emplace_back(std::string(name, size), std::string());
    return true;
  }
  bool EndObject(size_t) { return true; }
  bool Null() { return !outside_; }
  bool Bool(bool value) { return Take(value ? "true" : "false"); }
  bool RawNumber(const char* digits, size_t size, bool) {
    const std::string_view text(digits, size);
    double value = 0;
    if (text.find_first_of(".eE") == text.npos ||
        std::from_chars(text.data(), text.data() + size, value).ec != std::errc()) {
      return Take(text);
    }
    std::array<char, 32> buffer;
    return Take(Digits(value, buffer));
  }
  bool String(const char* text, size_t size, bool) { return Take({text, size}); }
  // An array.
  bool Default() { return false; }

 private:
  bool Take(std::string_view text) {
    if (outside_) return false;
    cells_.back().second = text;
    return true;
  }

  Cells& cells_;
  bool outside_ = true;
};

// {"$bytes": "…"}: a text that is no UTF-8.
std::optional<std::string> BytesIn(const std::string& json) {
  if (!json.starts_with("{\"$bytes\"")) return std::nullopt;
  JsonRecord record;
  if (!record.Read(json).empty() || record.members().size() != 1) return std::nullopt;
  const Value* text = record.Find(kBytes);
  const auto* bytes = text == nullptr ? nullptr : std::get_if<std::string>(text);
  return bytes == nullptr ? std::nullopt : std::optional(BytesOfLatin(*bytes));
}

// Lists and records stay as they were written.
Cells NestedCells(std::string_view json) {
  Cells cells;
  JsonRecord record;
  if (!record.Read(json).empty() || !record.is_object()) return cells;
  for (auto& [name, value] : record.members()) {
    std::string text;
    if (auto* string = std::get_if<std::string>(&value)) {
      text = std::move(*string);
    } else if (auto* nested = std::get_if<Json>(&value)) {
      auto bytes = BytesIn(nested->text);
      text = bytes ? std::move(*bytes) : std::move(nested->text);
    } else if (const auto* number = std::get_if<double>(&value)) {
      std::array<char, 32> buffer;
      text = Digits(*number, buffer);
    } else if (!std::holds_alternative<std::monostate>(value)) {
      std::visit(AppendValue{text}, value);
    }
    cells.emplace_back(name, std::move(text));
  }
  return cells;
}

}  // namespace

void JsonToCells(std::string_view json, Cells& cells) {
  cells.clear();
  ScalarCells scalars(cells);
  rapidjson::MemoryStream bytes(json.data(), json.size());
  rapidjson::EncodedInputStream<rapidjson::UTF8<>, rapidjson::MemoryStream> stream(bytes);
  // Making its stack takes as long as a short text.
  thread_local rapidjson::Reader reader;
  if (!reader.Parse<rapidjson::kParseNumbersAsStringsFlag>(stream, scalars)) {
    cells = NestedCells(json);
  }
}

}  // namespace cq
