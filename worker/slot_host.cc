#include "worker/slot_host.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <msgpack.hpp>
#include <optional>
#include <vector>

#include "cq/error.h"
#include "cq/function.h"
#include "protocol/column_types.h"
#include "protocol/files.h"
#include "protocol/msgpack_double.h"
#include "worker/slot_messages.h"

namespace cq {
namespace {

using Clock = std::chrono::steady_clock;
using Object = msgpack::object;
namespace type = msgpack::type;

/// Answers are sent once so much time has passed since the last ones, or the batch is done.
constexpr std::chrono::milliseconds kFlushEvery{5};

class ResultEncoder final : public Encoder {
 public:
  explicit ResultEncoder(msgpack::sbuffer& buffer) : buffer_(buffer), packer_(buffer) {}
  void Missing() override { packer_.pack_nil(); }
  void Bool(bool value) override { value ? packer_.pack_true() : packer_.pack_false(); }
  void Integer(int64_t value) override { packer_.pack_int64(value); }
  void Unsigned(uint64_t value) override { packer_.pack_uint64(value); }
  void Number(double value) override { WriteDouble(buffer_, value); }
  void Text(const char* bytes, size_t size) override {
    packer_.pack_str(static_cast<uint32_t>(size));
    packer_.pack_str_body(bytes, static_cast<uint32_t>(size));
  }
  void List(size_t count) override { packer_.pack_array(static_cast<uint32_t>(count)); }
  void Record(size_t count) override { packer_.pack_map(static_cast<uint32_t>(count)); }

 private:
  msgpack::sbuffer& buffer_;
  msgpack::packer<msgpack::sbuffer> packer_;
};

// The arguments of one call, in the order of the parameters; nested ones in theirs.
class ArgumentDecoder final : public Decoder {
 public:
  void Start(std::vector<const Object*> arguments) {
    stack_ = std::move(arguments);
    std::reverse(stack_.begin(), stack_.end());
  }
  Kind Next() override {
    switch (Top().type) {
      case type::BOOLEAN:
        return Kind::kBool;
      case type::POSITIVE_INTEGER:
      case type::NEGATIVE_INTEGER:
        return Kind::kInteger;
      case type::FLOAT32:
      case type::FLOAT64:
        return Kind::kNumber;
      case type::STR:
        return Kind::kText;
      case type::ARRAY:
        return Kind::kList;
      case type::MAP:
        return Kind::kRecord;
      default:
        return Kind::kMissing;
    }
  }
  void Missing() override { Pop(); }
  bool Bool() override { return Pop().via.boolean; }
  bool FitsInteger() override {
    return Top().type == type::NEGATIVE_INTEGER || Top().via.u64 <= INT64_MAX;
  }
  int64_t Integer() override { return Pop().via.i64; }
  uint64_t Unsigned() override { return Pop().via.u64; }
  double Number() override { return Pop().via.f64; }
  const char* Text(size_t* size) override {
    const Object& o = Pop();
    *size = o.via.str.size;
    return o.via.str.ptr;
  }
  size_t List() override {
    const Object& o = Pop();
    for (uint32_t i = o.via.array.size; i > 0; --i) stack_.push_back(&o.via.array.ptr[i - 1]);
    return o.via.array.size;
  }
  size_t Record() override {
    const Object& o = Pop();
    for (uint32_t i = o.via.map.size; i > 0; --i) {
      stack_.push_back(&o.via.map.ptr[i - 1].val);
      stack_.push_back(&o.via.map.ptr[i - 1].key);
    }
    return o.via.map.size;
  }

 private:
  const Object& Top() const { return *stack_.back(); }
  const Object& Pop() {
    const Object& top = *stack_.back();
    stack_.pop_back();
    return top;
  }
  std::vector<const Object*> stack_;
};

bool Takes(const ParameterInfo& parameter, ColumnType column) {
  switch (parameter.kind) {
    case Kind::kText:
      return true;
    case Kind::kBool:
      return column == ColumnType::kBool;
    case Kind::kInteger:
      return column == ColumnType::kInteger;
    case Kind::kNumber:
      return column == ColumnType::kInteger || column == ColumnType::kNumber;
    default:
      return false;
  }
}

class SlotHost {
 public:
  SlotHost(int in, int out, const Function& function) : in_(in), out_(out), function_(function) {}

  int Serve() {
    Begin(SlotType::kHello, 0, 2);
    packer_.pack_uint64(kSlotProtocolVersion);
    PackText("cq slot");
    Flush();
    while (const auto frame = ReadFrame()) {
      size_t end = 0;
      const auto reference = [](type::object_type, size_t, void*) { return true; };
      const auto handle = msgpack::unpack(frame->data(), frame->size(), end, reference);
      const auto& array = handle.get().via.array;
      const auto number = static_cast<SlotType>(array.ptr[0].via.u64);
      const uint64_t id = array.ptr[1].via.u64;
      if (number == SlotType::kStart) {
        Start(id, array.ptr);
      } else if (number == SlotType::kTasks) {
        RunTasks(id, array.ptr[2].via.array);
      } else if (number != SlotType::kUnsupported) {
        Begin(SlotType::kUnsupported, id, 1);
        PackText("unknown");
        Flush();
      }
    }
    return 0;
  }

 private:
  // ---- frames ----

  void Begin(SlotType t, uint64_t id, uint32_t fields) {
    buffer_.clear();
    buffer_.write("\0\0\0\0", 4);
    packer_.pack_array(2 + fields);
    packer_.pack_uint64(static_cast<uint64_t>(t));
    packer_.pack_uint64(id);
  }
  void PackText(std::string_view text) {
    packer_.pack_str(static_cast<uint32_t>(text.size()));
    packer_.pack_str_body(text.data(), static_cast<uint32_t>(text.size()));
  }
  void Flush() {
    const size_t size = buffer_.size() - 4;
    for (size_t i = 0; i < 4; ++i) buffer_.data()[i] = static_cast<char>(size >> (8 * (3 - i)));
    if (!WriteAll(out_, {buffer_.data(), buffer_.size()})) _exit(0);
  }

  std::optional<std::string> ReadFrame() {
    std::string head(4, '\0');
    if (!Fill(head)) return std::nullopt;
    size_t size = 0;
    for (const char c : head) size = size << 8 | static_cast<unsigned char>(c);
    std::string frame(size, '\0');
    if (!Fill(frame)) return std::nullopt;
    return frame;
  }
  bool Fill(std::string& bytes) const {
    for (size_t have = 0; have < bytes.size();) {
      const ssize_t n = read(in_, bytes.data() + have, bytes.size() - have);
      if (n == 0 || (n < 0 && errno != EINTR)) return false;
      if (n > 0) have += static_cast<size_t>(n);
    }
    return true;
  }

  // ---- the run ----

  void Start(uint64_t id, const Object* field) {
    const std::string problem = Match(field);
    Begin(problem.empty() ? SlotType::kReady : SlotType::kRefuse, id, problem.empty() ? 0 : 1);
    if (!problem.empty()) PackText(problem);
    Flush();
  }

  // Finds the column, or the constant, that feeds each parameter.
  std::string Match(const Object* field) {
    std::vector<std::string> names;
    for (const Object& name : field[3].via.array) names.push_back(name.as<std::string>());
    const auto& types = field[4].via.array;
    const std::string shown = fmt::format("{}", fmt::join(names, ", "));
    const ParameterInfo* parameters = function_.parameters;
    const bool named = function_.parameter_count > 0 && parameters[0].name != nullptr;
    if (!named && function_.parameter_count != names.size()) {
      return fmt::format(
          "'{}' takes {} parameters in order, the input has {} columns ({}): "
          "CQ_FUNCTION({}, \"COLUMN\", ...) names those that it takes",
          function_.name, function_.parameter_count, names.size(), shown, function_.name);
    }
    for (uint32_t i = 0; i < function_.parameter_count; ++i) {
      const ParameterInfo& parameter = parameters[i];
      size_t at = i;
      if (named) {
        if (parameter.name == nullptr) {
          return fmt::format("'{}' takes {} parameters, CQ_FUNCTION names {} columns",
                             function_.name, function_.parameter_count, i);
        }
        at = static_cast<size_t>(std::find(names.begin(), names.end(), parameter.name) -
                                 names.begin());
        if (at == names.size() && KeepConstant(field[5], parameter)) continue;
        if (at == names.size()) {
          return fmt::format("'{}' takes a column '{}'; the columns are: {}", function_.name,
                             parameter.name, shown);
        }
      }
      const auto column = static_cast<ColumnType>(types.ptr[at].via.u64);
      if (!Takes(parameter, column)) {
        return fmt::format("parameter {} of '{}' is {}, column '{}' is {}", i + 1, function_.name,
                           detail::NameOf(parameter.kind), names[at], NameOf(column));
      }
      sources_.push_back({at, nullptr});
    }
    return {};
  }

  bool KeepConstant(const Object& constants, const ParameterInfo& parameter) {
    for (const auto& [name, value] : constants.via.map) {
      if (name.as<std::string>() != parameter.name) continue;
      constants_.push_back(std::make_unique<msgpack::object_handle>(msgpack::clone(value)));
      sources_.push_back({0, &constants_.back()->get()});
      return true;
    }
    return false;
  }

  // ---- tasks ----

  struct Answers {
    uint32_t count = 0;
    Clock::time_point since = Clock::now();
  };

  // [task, attempt, seed, group, values]
  void RunTasks(uint64_t id, const msgpack::object_array& tasks) {
    // The count of a gathered list is known at its end only: a list of 32-bit length is patched.
    BeginAnswers(id);
    for (uint32_t i = 0; i < tasks.size; ++i) {
      RunTask(tasks.ptr[i].via.array.ptr);
      const auto now = Clock::now();
      if (i + 1 < tasks.size && now - answers_.since < kFlushEvery && buffer_.size() < (1 << 20)) {
        continue;
      }
      FlushAnswers();
      if (i + 1 < tasks.size) BeginAnswers(id);
    }
  }

  void BeginAnswers(uint64_t id) {
    Begin(SlotType::kResults, id, 1);
    count_at_ = buffer_.size();
    buffer_.write("\xdd\0\0\0\0", 5);
    answers_ = {};
  }
  void FlushAnswers() {
    for (size_t i = 0; i < 4; ++i) {
      buffer_.data()[count_at_ + 1 + i] = static_cast<char>(answers_.count >> (8 * (3 - i)));
    }
    std::fflush(stdout);
    std::fflush(stderr);
    Flush();
  }

  void RunTask(const Object* field) {
    const std::string group = field[3].as<std::string>();
    const TaskInfo task{field[0].via.u64, field[1].via.u64, field[2].via.u64, group.c_str()};
    const auto& values = field[4].via.array;
    std::vector<const Object*> arguments;
    for (const Source& source : sources_) {
      arguments.push_back(source.constant != nullptr ? source.constant
                                                     : &values.ptr[source.column]);
    }
    decoder_.Start(std::move(arguments));
    msgpack::sbuffer value;
    ResultEncoder encoder(value);
    std::string reason;
    const auto begin = Clock::now();
    const bool ok = function_.call(
        task, decoder_, encoder,
        [](void* context, const char* bytes, size_t size) {
          static_cast<std::string*>(context)->assign(bytes, size);
        },
        &reason);
    const auto took = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begin);
    packer_.pack_array(6);
    packer_.pack_uint64(task.task);
    ok ? packer_.pack_true() : packer_.pack_false();
    ok ? void(buffer_.write(value.data(), value.size())) : PackText(reason);
    packer_.pack_uint64(static_cast<uint64_t>(took.count()));
    PackText("");
    PackText("");
    ++answers_.count;
  }

  /// What feeds a parameter.
  struct Source {
    size_t column = 0;
    const Object* constant = nullptr;
  };

  const int in_;
  const int out_;
  const Function& function_;
  std::vector<Source> sources_;
  std::vector<std::unique_ptr<msgpack::object_handle>> constants_;
  msgpack::sbuffer buffer_;
  msgpack::packer<msgpack::sbuffer> packer_{buffer_};
  ArgumentDecoder decoder_;
  Answers answers_;
  size_t count_at_ = 0;
};

int Number(const char* name) {
  const char* text = getenv(name);
  return text == nullptr ? -1 : std::atoi(text);
}

const Function& Load(const std::string& name) {
  const size_t colon = name.rfind(':');
  if (colon == std::string::npos) throw Error(fmt::format("'{}' is no LIBRARY:NAME", name));
  const std::string library = name.substr(0, colon);
  const std::string symbol = "cq_function_" + name.substr(colon + 1);
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) throw Error(fmt::format("the library cannot be loaded: {}", dlerror()));
  auto* get = reinterpret_cast<const Function* (*)()>(dlsym(handle, symbol.c_str()));
  if (get == nullptr) {
    throw Error(fmt::format("'{}' has no function '{}' registered with CQ_FUNCTION({})", library,
                            name.substr(colon + 1), name.substr(colon + 1)));
  }
  const Function* function = get();
  if (function->version != 1) {
    throw Error(
        fmt::format("'{}' was built with another <cq/function.h>, of version {}; here it is 1",
                    library, function->version));
  }
  return *function;
}

}  // namespace

int ServeLibrary(const std::string& name) {
  const int in = Number("CQ_SLOT_IN");
  const int out = Number("CQ_SLOT_OUT");
  if (in < 0 || out < 0) throw UsageError("cq slot is started by workers: use cq run --function");
  return SlotHost(in, out, Load(name)).Serve();
}

}  // namespace cq
