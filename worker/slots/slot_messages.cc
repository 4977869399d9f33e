#include "worker/slots/slot_messages.h"

#include <fmt/compile.h>
#include <fmt/format.h>

#include <algorithm>
#include <boost/archive/iterators/binary_from_base64.hpp>
#include <boost/archive/iterators/transform_width.hpp>
#include <cmath>
#include <limits>
#include <msgpack.hpp>

#include "base/json.h"
#include "base/json_text.h"
#include "base/text.h"
#include "cq/error.h"
#include "protocol/column_types.h"
#include "protocol/json_record.h"
#include "protocol/limits.h"
#include "protocol/packed_values.h"
#include "protocol/pieces.h"
#include "protocol/pushed_rows.h"
#include "protocol/spans.h"

namespace cq {
namespace {

using Object = msgpack::object;
namespace type = msgpack::type;

constexpr size_t kHeadBytes = 4;
/// So much of the name of an unknown type is sent back.
constexpr size_t kTypeNameMax = 100;

const char* NameOf(SlotType t) {
  switch (t) {
    case SlotType::kResultsSince:
      return "results since";
    case SlotType::kPush:
      return "push";
    case SlotType::kProgress:
      return "progress";
    case SlotType::kLog:
      return "log";
    default:
      return "unknown";
  }
}

// ---- MessagePack: a length of four bytes, the highest first, then [type, id, field, …] ----

class FrameWriter {
 public:
  FrameWriter(SlotType t, uint64_t id, uint32_t fields) : packer_(buffer_) {
    buffer_.write("\0\0\0\0", kHeadBytes);
    packer_.pack_array(2 + fields);
    packer_.pack_uint64(static_cast<uint64_t>(t));
    packer_.pack_uint64(id);
  }
  void Text(std::string_view text) {
    packer_.pack_str(static_cast<uint32_t>(text.size()));
    packer_.pack_str_body(text.data(), static_cast<uint32_t>(text.size()));
  }
  void Put(const Value& value) { PackScalar(buffer_, value); }
  msgpack::sbuffer& buffer() { return buffer_; }
  msgpack::packer<msgpack::sbuffer>& packer() { return packer_; }
  std::string Take() {
    const size_t size = buffer_.size() - kHeadBytes;
    for (size_t i = 0; i < kHeadBytes; ++i) {
      buffer_.data()[i] = static_cast<char>(size >> (8 * (kHeadBytes - 1 - i)));
    }
    return {buffer_.data(), buffer_.size()};
  }

 private:
  msgpack::sbuffer buffer_;
  msgpack::packer<msgpack::sbuffer> packer_;
};

std::string TextOf(const Object& o) {
  if (o.type != type::STR && o.type != type::BIN) throw Error("a text was expected");
  return {o.via.str.ptr, o.via.str.size};
}

uint64_t NumberOf(const Object& o) {
  if (o.type != type::POSITIVE_INTEGER) throw Error("an unsigned integer was expected");
  return o.via.u64;
}

void SetError(TaskResult& answer, std::string_view message, std::string_view traceback) {
  answer.outcome = Outcome::kError;
  ResultDetails& details = answer.details.Edit();
  details.exit = 1;
  details.error = CutText(message, kErrorTextMax);
  details.err = CutText(traceback, kErrorTextMax);
}

void SetBlob(TaskResult& answer, std::string format, std::string bytes) {
  if (!format.empty() || !bytes.empty()) answer.blob.Edit() = {std::move(format), std::move(bytes)};
}

// The rows that a task pushes travel with its values, as those of a command do.
void SetPushed(TaskResult& answer, Value rows) {
  const bool twice = std::any_of(answer.values.begin(), answer.values.end(),
                                 [](const auto& value) { return value.first == kPushName; });
  if (twice) {
    SetError(answer, fmt::format("it pushed rows and returned '{}', too", kPushName), {});
  } else {
    answer.values.emplace_back(kPushName, std::move(rows));
  }
}

// [task, ok, value or message, µs, blob format or traceback, blob, rows]
TaskResult AnswerOf(const Object& o) {
  if (o.type != type::ARRAY || o.via.array.size < 6 || o.via.array.size > 7) {
    throw Error("a result has 6 or 7 fields");
  }
  const Object* field = o.via.array.ptr;
  TaskResult answer;
  answer.task = NumberOf(field[0]);
  if (field[1].type != type::BOOLEAN) throw Error("whether a task is ok is a Boolean");
  answer.wall_us = NumberOf(field[3]);
  if (field[1].via.boolean) {
    answer.values = ValuesOf(field[2]);
    SetBlob(answer, TextOf(field[4]), TextOf(field[5]));
    if (o.via.array.size == 7) {
      // Of a map there might be nothing to take.
      if (field[6].type != type::ARRAY) throw Error("the rows that a task pushes are a list");
      SetPushed(answer, ValuesOf(field[6])[0].second);
    }
  } else {
    SetError(answer, TextOf(field[2]), TextOf(field[4]));
  }
  return answer;
}

// [type, id, first task, count, pieces]: of tasks that returned values and nothing else.
TaskResult AnswersOf(const Object* field) {
  TaskResult span;
  span.task = NumberOf(field[2]);
  span.count = NumberOf(field[3]);
  span.answers = TextOf(field[4]);
  if (!IsWhole(span)) throw Error("a span of answers that is not whole");
  span.wall_us = WallOf(span.answers);
  return span;
}

// ---- JSON lines ----

// A value as JSON says it, which has no NaN and no infinities: {"$number": "NaN"}, "Inf", "-Inf".
void AppendLineValue(std::string& line, const Value& value) {
  std::array<char, 32> buffer;
  if (const auto* b = std::get_if<bool>(&value)) {
    line += *b ? "true" : "false";
  } else if (const auto* i = std::get_if<int64_t>(&value)) {
    line += Digits(*i, buffer);
  } else if (const auto* s = std::get_if<std::string>(&value)) {
    AppendJsonText(line, *s);
  } else if (const auto* d = std::get_if<double>(&value); d != nullptr && std::isfinite(*d)) {
    AppendJsonNumber(line, *d);
  } else if (d != nullptr) {
    line += fmt::format(R"({{"$number":"{}"}})", NonFiniteName(*d));
  } else {
    line += "null";
  }
}

std::string Base64(const std::string& text) {
  using namespace boost::archive::iterators;
  using Decoded = transform_width<binary_from_base64<std::string::const_iterator>, 8, 6>;
  const size_t end = text.find_last_not_of("=\n");
  const std::string digits = end == std::string::npos ? "" : text.substr(0, end + 1);
  try {
    std::string bytes;
    auto at = Decoded(digits.begin());
    for (size_t i = 0; i < digits.size() * 6 / 8; ++i) bytes += static_cast<char>(*at++);
    return bytes;
  } catch (const std::exception&) {
    throw Error("a blob that is no base64");
  }
}

// ---- the members of a line ----

const std::string* TextIn(const JsonRecord& line, std::string_view name) {
  const Value* value = line.Find(name);
  return value == nullptr ? nullptr : std::get_if<std::string>(value);
}

std::string TextOr(const JsonRecord& line, std::string_view name, const char* otherwise) {
  const std::string* text = TextIn(line, name);
  return text == nullptr ? otherwise : *text;
}

uint64_t NumberIn(const JsonRecord& line, std::string_view name) {
  const Value* value = line.Find(name);
  const auto* number = value == nullptr ? nullptr : std::get_if<int64_t>(value);
  if (number == nullptr || *number < 0) {
    throw Error(fmt::format("'{}' must be an unsigned integer of 63 bits", name));
  }
  return static_cast<uint64_t>(*number);
}

// A record's members, or the value itself under the name `result`. What cannot be kept is the
// task's error.
void SetValues(TaskResult& answer, Value value) {
  const auto* json = std::get_if<Json>(&value);
  if (json == nullptr || !json->text.starts_with('{')) {
    answer.values.emplace_back("result", std::move(value));
    return;
  }
  JsonRecord record;
  const std::string problem = record.Read(json->text);
  if (problem.empty()) {
    answer.values = std::move(record.members());
  } else {
    SetError(answer, fmt::format("it returned a value that cannot be kept: {}", problem), {});
  }
}

TaskResult AnswerOf(JsonRecord& line) {
  TaskResult answer;
  answer.task = NumberIn(line, "task");
  if (line.Find("us") != nullptr) answer.wall_us = NumberIn(line, "us");
  if (line.Find("error") != nullptr) {
    SetError(answer, TextOr(line, "error", "?"), TextOr(line, "traceback", ""));
    return answer;
  }
  if (const Value* value = line.Find("value")) SetValues(answer, *value);
  if (const std::string* blob = TextIn(line, "blob")) {
    SetBlob(answer, TextOr(line, "format", "bytes"), Base64(*blob));
  }
  const bool ok = answer.outcome == Outcome::kOk;
  if (const Value* rows = ok ? line.Find("push") : nullptr) SetPushed(answer, *rows);
  return answer;
}

}  // namespace

void ProgramReader::Drop(size_t bytes) {
  begin_ += bytes;
  if (begin_ < buffer_.size() / 2 && begin_ < (1 << 20)) return;
  buffer_.erase(0, begin_);
  begin_ = 0;
}

std::optional<FromProgram> ProgramReader::Next() {
  if (!ready_.empty()) {
    FromProgram next = std::move(ready_.front());
    ready_.pop_front();
    return next;
  }
  if (begin_ == buffer_.size()) return std::nullopt;
  if (!known_) {
    known_ = true;
    format_ = buffer_[begin_] == '{' ? SlotFormat::kJson : SlotFormat::kMessagePack;
  }
  return format_ == SlotFormat::kJson ? NextLine() : NextFrame();
}

std::optional<FromProgram> ProgramReader::NextLine() {
  const size_t end = buffer_.find('\n', begin_);
  const size_t size = (end == std::string::npos ? buffer_.size() : end) - begin_;
  if (size > kSlotFrameMax) throw Error("a line of more than 16 MiB");
  if (end == std::string::npos) return std::nullopt;
  const std::string_view text(buffer_.data() + begin_, size);
  JsonRecord line;
  const std::string problem = line.Read(text);
  const std::string* name = TextIn(line, "type");
  if (!problem.empty() || !line.is_object() || name == nullptr) {
    throw Error(fmt::format("a line that is no JSON object with a type{}{}: {}",
                            problem.empty() ? "" : ", since ", problem, CutText(text, 100)));
  }
  FromProgram message;
  if (*name == "hello") {
    message = SlotHello{TextOr(line, "helper", "")};
  } else if (*name == "ready") {
    message = SlotReady{};
  } else if (*name == "refuse") {
    message = SlotRefuse{TextOr(line, "message", "")};
  } else if (*name == "result") {
    message = AnswerOf(line);
  } else {
    message = SlotOther{line.Find("id") != nullptr ? NumberIn(line, "id") : 0,
                        std::string(CutText(*name, kTypeNameMax))};
  }
  Drop(end + 1 - begin_);
  return message;
}

std::optional<FromProgram> ProgramReader::NextFrame() {
  if (buffer_.size() - begin_ < kHeadBytes) return std::nullopt;
  size_t size = 0;
  for (size_t i = 0; i < kHeadBytes; ++i) {
    size = size << 8 | static_cast<unsigned char>(buffer_[begin_ + i]);
  }
  if (size > kSlotFrameMax) throw Error("a frame of more than 16 MiB");
  if (buffer_.size() - begin_ < kHeadBytes + size) return std::nullopt;
  try {
    const auto reference = [](type::object_type, size_t, void*) { return true; };
    size_t end = 0;
    const msgpack::unpack_limit limit(kSlotFrameMax, kSlotFrameMax, kSlotFrameMax, kSlotFrameMax, 0,
                                      kJsonLevelsMax);
    const auto handle =
        msgpack::unpack(buffer_.data() + begin_ + kHeadBytes, size, end, reference, nullptr, limit);
    const Object& o = handle.get();
    if (o.type != type::ARRAY || o.via.array.size < 2) throw Error("a frame that is no array");
    const Object* field = o.via.array.ptr;
    const uint32_t fields = o.via.array.size;
    const uint64_t id = NumberOf(field[1]);
    const auto number = static_cast<SlotType>(NumberOf(field[0]));
    if (number == SlotType::kHello && fields == 4) {
      ready_.emplace_back(SlotHello{TextOf(field[3])});
    } else if (number == SlotType::kReady) {
      ready_.emplace_back(SlotReady{});
    } else if (number == SlotType::kRefuse && fields == 3) {
      ready_.emplace_back(SlotRefuse{TextOf(field[2])});
    } else if (number == SlotType::kAnswers && fields == 5) {
      ready_.emplace_back(AnswersOf(field));
    } else if (number == SlotType::kResults && fields == 3 && field[2].type == type::ARRAY) {
      for (const Object& answer : field[2].via.array) ready_.emplace_back(AnswerOf(answer));
    } else {
      ready_.emplace_back(SlotOther{id, NameOf(number)});
    }
  } catch (const msgpack::unpack_error& error) {
    throw Error(fmt::format("a frame that is no MessagePack: {}", error.what()));
  }
  Drop(kHeadBytes + size);
  return Next();
}

std::string EncodeStart(SlotFormat format, uint64_t id, const Program& program,
                        const std::vector<std::string>& wide) {
  if (format == SlotFormat::kJson) {
    OrderedJson types = OrderedJson::array();
    for (const ColumnType t : program.types) types.push_back(cq::NameOf(t));
    OrderedJson constants = OrderedJson::object();
    for (const auto& [name, text] : program.constants) {
      std::string value;
      AppendLineValue(value, TypedValue(text, TypeOf(text)));
      // Bytes that are not UTF-8 are replaced below.
      constants[name] = IsUtf8(text) ? ParseJson(value) : OrderedJson(text);
    }
    OrderedJson json = {{"type", "start"},
                        {"id", id},
                        {"protocol", kSlotProtocolVersion},
                        {"columns", program.columns},
                        {"types", types},
                        {"constants", constants}};
    if (!wide.empty()) json["wide"] = wide;
    return ShownJson(json) + "\n";
  }
  FrameWriter frame(SlotType::kStart, id, 4);
  frame.packer().pack_uint64(kSlotProtocolVersion);
  frame.packer().pack_array(static_cast<uint32_t>(program.columns.size()));
  for (const auto& column : program.columns) frame.Text(column);
  frame.packer().pack_array(static_cast<uint32_t>(program.types.size()));
  for (const ColumnType t : program.types) frame.packer().pack_uint64(static_cast<uint64_t>(t));
  frame.packer().pack_map(static_cast<uint32_t>(program.constants.size()));
  for (const auto& [name, text] : program.constants) {
    frame.Text(name);
    program.calls ? frame.Text(text) : frame.Put(TypedValue(text, TypeOf(text)));
  }
  return frame.Take();
}

void AppendJsonRow(std::string& out, const NamedValues& row) {
  out += '{';
  for (const auto& [name, value] : row) {
    if (out.back() != '{') out += ',';
    AppendJsonText(out, name);
    out += ':';
    const auto* nested = std::get_if<Json>(&value);
    nested != nullptr ? void(out += nested->text) : AppendLineValue(out, value);
  }
  out += '}';
}

std::string EncodeTasks(SlotFormat format, uint64_t id, const Program& program,
                        const std::vector<const Task*>& tasks, bool mark) {
  const auto value_of = [&](const Task& task, size_t column) {
    return TypedValue(task.values[column], program.types[column]);
  };
  if (format == SlotFormat::kJson) {
    // Written without a tree: in a batch of short tasks that was half of a slot's time.
    std::string line =
        fmt::format(R"({{"type":"tasks","id":{},{}"tasks":[)", id, mark ? R"("mark":true,)" : "");
    for (const Task* task : tasks) {
      fmt::format_to(std::back_inserter(line), FMT_COMPILE("{}[{},{},{},"),
                     task == tasks[0] ? "" : ",", task->task, task->attempt_number, task->seed);
      AppendJsonText(line, task->group);
      line += ",[";
      for (size_t i = 0; i < program.types.size(); ++i) {
        if (i > 0) line += ',';
        AppendLineValue(line, value_of(*task, i));
      }
      line += "]]";
    }
    return line + "]}\n";
  }
  FrameWriter frame(SlotType::kTasks, id, 1);
  uint64_t count = 0;
  for (const Task* task : tasks) count += task->count;
  frame.packer().pack_array(static_cast<uint32_t>(count));
  for (const Task* task : tasks) {
    std::string_view rows = task->rows;
    for (std::string_view row; TakePiece(rows, row);) frame.buffer().write(row.data(), row.size());
    if (!task->rows.empty()) continue;
    PackRowHead(frame.buffer(), *task, task->values.size());
    for (size_t i = 0; i < task->values.size(); ++i) {
      program.calls ? frame.Text(task->values[i]) : frame.Put(value_of(*task, i));
    }
  }
  return frame.Take();
}

std::string EncodeUnsupported(SlotFormat format, const SlotOther& what) {
  if (format == SlotFormat::kJson) {
    return JsonText(OrderedJson{{"type", "unsupported"}, {"id", what.id}, {"what", what.type}}) +
           "\n";
  }
  FrameWriter frame(SlotType::kUnsupported, what.id, 1);
  frame.Text(what.type);
  return frame.Take();
}

}  // namespace cq
