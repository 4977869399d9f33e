#include "protocol/packed_values.h"

#include <cmath>

#include "base/json.h"
#include "base/json_text.h"
#include "cq/error.h"
#include "protocol/msgpack_double.h"
#include "protocol/pieces.h"
#include "protocol/spans.h"

namespace cq {
namespace {

using Object = msgpack::object;
namespace type = msgpack::type;

void PackText(msgpack::packer<msgpack::sbuffer>& packer, std::string_view text) {
  packer.pack_str(static_cast<uint32_t>(text.size()));
  packer.pack_str_body(text.data(), static_cast<uint32_t>(text.size()));
}

// Nested values go on as JSON text.
OrderedJson JsonOf(const Object& o) {
  switch (o.type) {
    case type::NIL:
      return nullptr;
    case type::BOOLEAN:
      return o.via.boolean;
    case type::POSITIVE_INTEGER:
      return o.via.u64;
    case type::NEGATIVE_INTEGER:
      return o.via.i64;
    case type::FLOAT32:
    case type::FLOAT64:
      return std::isfinite(o.via.f64) ? OrderedJson(o.via.f64)
                                      : OrderedJson(NonFiniteName(o.via.f64));
    case type::STR:
      return std::string(o.via.str.ptr, o.via.str.size);
    case type::ARRAY: {
      OrderedJson list = OrderedJson::array();
      for (const Object& entry : o.via.array) list.push_back(JsonOf(entry));
      return list;
    }
    case type::MAP: {
      OrderedJson record = OrderedJson::object();
      for (const auto& [name, value] : o.via.map) {
        if (name.type != type::STR) throw Error("a record whose names are no text");
        record[std::string(name.via.str.ptr, name.via.str.size)] = JsonOf(value);
      }
      return record;
    }
    default:
      throw Error("a value of a type that is not in the protocol");
  }
}

// Points into `packed`.
msgpack::object_handle UnpackWhole(std::string_view packed) {
  try {
    const auto reference = [](type::object_type, size_t, void*) { return true; };
    const size_t most = packed.size();
    const msgpack::unpack_limit limit(most, most, most, most, 0, kJsonLevelsMax);
    size_t end = 0;
    auto handle = msgpack::unpack(packed.data(), packed.size(), end, reference, nullptr, limit);
    if (end != packed.size()) throw Error("bytes after the end of a value");
    return handle;
  } catch (const msgpack::unpack_error& error) {
    throw Error(std::string("a value that is no MessagePack: ") + error.what());
  }
}

Value ValueOf(const Object& o) {
  switch (o.type) {
    case type::NIL:
      return std::monostate{};
    case type::BOOLEAN:
      return o.via.boolean;
    case type::POSITIVE_INTEGER:
      if (o.via.u64 > INT64_MAX) return Json{std::to_string(o.via.u64)};
      return static_cast<int64_t>(o.via.u64);
    case type::NEGATIVE_INTEGER:
      return o.via.i64;
    case type::FLOAT32:
    case type::FLOAT64:
      return o.via.f64;
    case type::STR:
      return std::string(o.via.str.ptr, o.via.str.size);
    default:
      return Json{ShownJson(JsonOf(o))};
  }
}

}  // namespace

NamedValues ValuesOf(const Object& o) {
  NamedValues values;
  if (o.type != type::MAP) {
    values.emplace_back("result", ValueOf(o));
    return values;
  }
  for (const auto& [name, value] : o.via.map) {
    if (name.type != type::STR) throw Error("a record whose names are no text");
    values.emplace_back(std::string(name.via.str.ptr, name.via.str.size), ValueOf(value));
  }
  return values;
}

NamedValues UnpackValues(std::string_view packed) { return ValuesOf(UnpackWhole(packed).get()); }

void PackValues(msgpack::sbuffer& buffer, const NamedValues& values) {
  if (values.size() == 1 && values[0].first == "result")
    return PackScalar(buffer, values[0].second);
  msgpack::packer<msgpack::sbuffer> packer(buffer);
  packer.pack_map(static_cast<uint32_t>(values.size()));
  for (const auto& [name, value] : values) {
    PackText(packer, name);
    PackScalar(buffer, value);
  }
}

void UnpackAnswer(TaskResult& result) {
  const std::string answers = std::exchange(result.answers, {});
  std::string_view left = answers;
  Answer answer;
  if (TakeAnswer(left, answer)) result.values = UnpackValues(answer.value);
}

void UnpackRow(Task& task) {
  const std::string rows = std::exchange(task.rows, {});
  std::string_view left = rows;
  std::string_view row;
  TakePiece(left, row);
  const auto handle = UnpackWhole(row);
  const Object& o = handle.get();
  if (o.type != type::ARRAY || o.via.array.size != 5) throw Error("a row has 5 fields");
  const Object* field = o.via.array.ptr;
  if (field[2].type != type::POSITIVE_INTEGER) throw Error("a row's seed is an unsigned integer");
  if (field[4].type != type::ARRAY) throw Error("a row's values are a list");
  task.seed = field[2].via.u64;
  for (const Object& value : field[4].via.array) {
    if (value.type != type::STR) throw Error("a row's values are texts");
    task.values.emplace_back(value.via.str.ptr, value.via.str.size);
  }
}

void PackScalar(msgpack::sbuffer& buffer, const Value& value) {
  msgpack::packer<msgpack::sbuffer> packer(buffer);
  if (std::holds_alternative<std::monostate>(value)) packer.pack_nil();
  if (const auto* b = std::get_if<bool>(&value)) *b ? packer.pack_true() : packer.pack_false();
  if (const auto* i = std::get_if<int64_t>(&value)) packer.pack_int64(*i);
  if (const auto* d = std::get_if<double>(&value)) WriteDouble(buffer, *d);
  if (const auto* s = std::get_if<std::string>(&value)) PackText(packer, *s);
  if (const auto* j = std::get_if<Json>(&value)) PackText(packer, j->text);
}

void PackRowHead(msgpack::sbuffer& buffer, const Task& task, size_t values) {
  msgpack::packer<msgpack::sbuffer> packer(buffer);
  packer.pack_array(5);
  packer.pack_uint64(task.task);
  packer.pack_uint64(task.attempt_number);
  packer.pack_uint64(task.seed);
  PackText(packer, task.group);
  packer.pack_array(static_cast<uint32_t>(values));
}

}  // namespace cq
