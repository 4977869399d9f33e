#include "worker/slots/slot_host.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <msgpack.hpp>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/files.h"
#include "base/text.h"
#include "cq/error.h"
#include "cq/function.h"
#include "protocol/bundle.h"
#include "protocol/column_types.h"
#include "protocol/function_libraries.h"
#include "protocol/limits.h"
#include "protocol/pieces.h"
#include "protocol/pushed_rows.h"
#include "protocol/seeds.h"
#include "protocol/spans.h"
#include "protocol/value_codec.h"
#include "worker/slots/answer_writer.h"
#include "worker/slots/function_library.h"
#include "worker/slots/propose_host.h"
#include "worker/slots/slot_messages.h"

namespace cq {
namespace {

using Clock = std::chrono::steady_clock;
using Object = msgpack::object;
namespace type = msgpack::type;

/// With what stands around it, it is a frame that the worker takes.
constexpr size_t kValueBytesMax = kSlotFrameMax - 4096;
/// A bundle whose results are larger than that, or which takes longer, is not worked on any
/// further.
constexpr size_t kBundleBytes = 1u << 20;
constexpr std::chrono::milliseconds kBundleTime{5};

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

// Serves one function of a library with the rows of a CSV or, without one, this program's own
// functions with calls of a program that embeds a master.
class SlotHost final : public detail::ConstantSource, public detail::RowSink {
 public:
  /// `refusal`: why it cannot serve this run; empty: it can.
  SlotHost(int in, int out, const Function* function, std::string refusal = {})
      : in_(in), slot_(out), function_(function), refusal_(std::move(refusal)) {
    for (detail::Library* library : LoadedLibraries()) {
      library->task = &current_;
      library->constants = this;
      if (function != nullptr) library->rows = this;
    }
  }
  int Serve() {
    slot_.Say(SlotType::kHello, 0, 2, [](auto& packer) {
      packer.pack_uint64(kSlotProtocolVersion);
      PackText(packer, "cq slot");
    });
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
        slot_.Say(SlotType::kUnsupported, id, 1, [](auto& packer) { PackText(packer, "unknown"); });
      }
    }
    return 0;
  }

 private:
  // ---- frames ----

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
    const std::string problem = !refusal_.empty()      ? refusal_
                                : function_ == nullptr ? KeepConstants(field[5])
                                                       : Match(field);
    if (problem.empty()) return slot_.Say(SlotType::kReady, id, 0, [](auto&) {});
    slot_.Say(SlotType::kRefuse, id, 1, [&](auto& packer) { PackText(packer, problem); });
  }

  // Finds the column, or the constant, that feeds each parameter.
  std::string Match(const Object* field) {
    std::vector<std::string> names;
    for (const Object& name : field[3].via.array) names.push_back(name.as<std::string>());
    const auto& types = field[4].via.array;
    const std::string shown = Joined(names, ", ");
    const Function& function = *function_;
    const ParameterInfo* parameters = function.parameters;
    const bool named = function.parameter_count > 0 && parameters[0].name != nullptr;
    if (!named && function.parameter_count != names.size()) {
      return fmt::format(
          "'{}' takes {} parameters in order, the input has {} columns ({}): "
          "CQ_FUNCTION({}, \"COLUMN\", ...) names those that it takes",
          function.name, function.parameter_count, names.size(), shown, function.name);
    }
    for (uint32_t i = 0; i < function.parameter_count; ++i) {
      const ParameterInfo& parameter = parameters[i];
      size_t at = i;
      if (named) {
        if (parameter.name == nullptr) {
          return fmt::format("'{}' takes {} parameters, CQ_FUNCTION names {} columns",
                             function.name, function.parameter_count, i);
        }
        at = static_cast<size_t>(std::find(names.begin(), names.end(), parameter.name) -
                                 names.begin());
        if (at == names.size() && KeepConstant(field[5], parameter)) continue;
        if (at == names.size()) {
          return fmt::format("'{}' takes a column '{}'; the columns are: {}", function.name,
                             parameter.name, shown);
        }
      }
      const auto column = static_cast<ColumnType>(types.ptr[at].via.u64);
      if (!Takes(parameter, column)) {
        return fmt::format("parameter {} of '{}' is {}, column '{}' is {}", i + 1, function.name,
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

  // Those of a program that embeds its master are packed values.
  std::string KeepConstants(const Object& constants) {
    for (const auto& [name, value] : constants.via.map) {
      const auto bytes = value.as<std::string>();
      constants_.push_back(
          std::make_unique<msgpack::object_handle>(msgpack::unpack(bytes.data(), bytes.size())));
      packed_constants_[name.as<std::string>()] = &constants_.back()->get();
    }
    return {};
  }

  Decoder* Find(const char* name) override {
    const auto found = packed_constants_.find(name);
    if (found == packed_constants_.end()) return nullptr;
    constant_reader_.Start(*found->second);
    return &constant_reader_;
  }

  // ---- rows that the function pushes ----

  Encoder& Next() override {
    if (std::this_thread::get_id() != thread_) {
      throw std::runtime_error("cq::push: a function pushes rows on the thread that called it");
    }
    if (pushed_count_ == kPushedMax || pushed_.size() > kValueBytesMax) {
      throw std::runtime_error(fmt::format("cq::push: a task may push {} rows, of {} MiB",
                                           kPushedMax, kResultBytesMax >> 20));
    }
    ++pushed_count_;
    return row_writer_;
  }

  // ok, value, µs, no blob, rows
  void AnswerWithRows(uint64_t task) {
    const auto append = [](auto& packer, const msgpack::sbuffer& packed) {
      packer.pack_str_body(packed.data(), static_cast<uint32_t>(packed.size()));
    };
    const auto pack = [&](auto& packer) {
      append(packer, value_);
      packer.pack_uint64(took_us_);
      PackText(packer, "");
      PackText(packer, "");
      packer.pack_array(pushed_count_);
      append(packer, pushed_);
    };
    slot_.Answer(task, true, now_, pack, 7);
  }

  // ---- tasks ----

  // [task, attempt, seed, group, values]
  void RunTasks(uint64_t id, const msgpack::object_array& tasks) {
    now_ = Clock::now();
    slot_.BeginBatch(id, tasks.size > 1, now_);
    for (uint32_t i = 0; i < tasks.size; ++i) RunTask(tasks.ptr[i].via.array.ptr);
    slot_.EndBatch();
  }

  void RunTask(const Object* field) {
    const std::string group = field[3].as<std::string>();
    const TaskInfo task{field[0].via.u64, field[1].via.u64, field[2].via.u64, group.c_str()};
    const auto& values = field[4].via.array;
    function_ == nullptr ? Call(task, values) : CallWithRow(task, values);
  }

  void CallWithRow(const TaskInfo& task, const msgpack::object_array& values) {
    arguments_.clear();
    for (const Source& source : sources_) {
      arguments_.push_back(source.constant != nullptr ? source.constant
                                                      : &values.ptr[source.column]);
    }
    const bool ok = Run(*function_, task);
    if (ok && pushed_count_ > 0) return AnswerWithRows(task.task);
    if (ok) return slot_.Value(task.task, took_us_, ValueText(), now_);
    // ok, message, µs, traceback, blob
    slot_.Answer(task.task, false, now_, [this](auto& packer) {
      PackText(packer, reason_);
      packer.pack_uint64(took_us_);
      PackText(packer, "");
      PackText(packer, "");
    });
  }

  // [name, arguments, …] (protocol/bundle.h); the answer is the packed result, as a blob.
  void Call(const TaskInfo& task, const msgpack::object_array& values) {
    const std::string_view name = TextOf(values.ptr[0]);
    const Function* function = FunctionNamed(name);
    const bool bundle = values.size == kValuesOfBundle;
    bool ok = false;
    took_us_ = 0;
    if (function == nullptr) {
      reason_ = fmt::format(
          "this worker's program has no function '{}' registered with CQ_FUNCTION", name);
    } else if (bundle) {
      RunBundle(*function, task, values);
      ok = true;
    } else {
      TaskInfo call = task;
      if (values.size == kValuesOfNumberedCall) call.task = NumberOf(values.ptr[2]);
      ok = RunPacked(*function, call, TextOf(values.ptr[1]));
    }
    // ok, value or message, µs, blob format, blob
    slot_.Answer(task.task, ok, now_, [&](auto& packer) {
      ok ? void(packer.pack_map(0)) : PackText(packer, reason_);
      packer.pack_uint64(took_us_);
      PackText(packer, !ok ? "" : bundle ? kBundleFormat : kPackedFormat);
      PackText(packer, !ok ? std::string_view() : bundle ? results_ : ValueText());
    });
  }

  // Leaves their results, and how long all of them took. What takes longer than was thought, or
  // returns much, is left to the master.
  void RunBundle(const Function& function, const TaskInfo& task,
                 const msgpack::object_array& values) {
    const uint64_t first = NumberOf(values.ptr[2]);
    const uint64_t count = NumberOf(values.ptr[3]);
    const uint64_t seed = NumberOf(values.ptr[4]);
    std::string_view bundle = TextOf(values.ptr[1]);
    std::string_view arguments;
    results_.clear();
    const auto begin = now_;
    for (uint64_t i = 0; i < count && TakePiece(bundle, arguments); ++i) {
      TaskInfo call = task;
      call.task = first + i;
      call.seed = SeedOfTask(seed, call.task);
      const bool ok = RunPacked(function, call, arguments);
      piece_.assign(1, ok ? kPieceOk : kPieceError);
      piece_ += ok ? ValueText() : std::string_view(reason_);
      AppendPiece(results_, piece_);
      if (results_.size() > kBundleBytes || now_ - begin > kBundleTime) break;
    }
    took_us_ = static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(now_ - begin).count());
  }

  bool RunPacked(const Function& function, const TaskInfo& task, std::string_view packed) {
    arguments_.clear();
    for (const Object& argument : unpacker_.Unpack(packed).via.array) {
      arguments_.push_back(&argument);
    }
    return Run(function, task);
  }

  static std::string_view TextOf(const Object& o) { return {o.via.str.ptr, o.via.str.size}; }
  static uint64_t NumberOf(const Object& o) {
    return std::strtoull(std::string(TextOf(o)).c_str(), nullptr, 10);
  }
  std::string_view ValueText() const { return {value_.data(), value_.size()}; }

  const Function* FunctionNamed(std::string_view name) {
    if (last_ != nullptr && name == last_->name) return last_;
    for (const Function* function : FunctionsFromTheStart()) {
      if (name == function->name) return last_ = function;
    }
    return nullptr;
  }

  // Leaves the value or the reason.
  bool Run(const Function& function, const TaskInfo& task) {
    reader_.Start(arguments_);
    value_.clear();
    pushed_.clear();
    pushed_count_ = 0;
    current_ = task;
    bool ok = function.call(
        reader_, writer_,
        [](void* context, const char* bytes, size_t size) {
          static_cast<std::string*>(context)->assign(bytes, size);
        },
        &reason_);
    const size_t bytes = value_.size() + pushed_.size();
    if (ok && bytes > kValueBytesMax) {
      reason_ = fmt::format(
          "it returned, and pushed, {} bytes; a result may have {} ({} MiB): write it to a file",
          bytes, kValueBytesMax, kResultBytesMax >> 20);
    }
    ok = ok && bytes <= kValueBytesMax;
    if (reason_.size() > kErrorTextMax) reason_.resize(kErrorTextMax);
    // Since the one before: what lies between two calls is less than what a clock costs.
    const auto begin = std::exchange(now_, Clock::now());
    took_us_ = static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(now_ - begin).count());
    return ok;
  }

  /// What feeds a parameter.
  struct Source {
    size_t column = 0;
    const Object* constant = nullptr;
  };

  const int in_;
  AnswerWriter slot_;
  const Function* const function_;
  const std::string refusal_;
  std::vector<Source> sources_;
  std::vector<std::unique_ptr<msgpack::object_handle>> constants_;
  std::map<std::string, const Object*> packed_constants_;
  ValueReader constant_reader_;
  /// Of calls: the function that the last one named.
  const Function* last_ = nullptr;
  /// What functions see as cq::task().
  TaskInfo current_;
  Unpacker unpacker_;
  std::vector<const Object*> arguments_;
  ValueReader reader_;
  msgpack::sbuffer value_;
  ValueWriter writer_{value_};
  /// Records, one after the other.
  msgpack::sbuffer pushed_;
  uint32_t pushed_count_ = 0;
  const std::thread::id thread_ = std::this_thread::get_id();
  ValueWriter row_writer_{pushed_};
  std::string reason_;
  /// Of a bundle, and of the call that has just been made.
  std::string results_;
  std::string piece_;
  uint64_t took_us_ = 0;
  /// When the last call ended, or its batch came.
  Clock::time_point now_{};
};

}  // namespace

int ServeLibrary(const std::string& name) {
  if (IsProposer()) return ServeProposer(name);
  const auto [in, out] = TakePipes("CQ_SLOT_IN", "CQ_SLOT_OUT");
  const Function& function = LoadFunction(name, FunctionRole::kTasks);
  std::string refusal;
  const char* proposes = getenv("CQ_PROPOSES");
  if ((proposes == nullptr || *proposes == '\0') && HasProposer(name)) {
    refusal = fmt::format("'{}' has a proposer (CQ_PROPOSE): cq run --propose", function.name);
  }
  return SlotHost(in, out, &function, refusal).Serve();
}

int ServeOwnFunctions() {
  const auto [in, out] = TakePipes("CQ_SLOT_IN", "CQ_SLOT_OUT");
  return SlotHost(in, out, nullptr).Serve();
}

}  // namespace cq
