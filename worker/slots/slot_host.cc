#include "worker/slots/slot_host.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <msgpack.hpp>
#include <mutex>
#include <optional>
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
#include "protocol/seeds.h"
#include "protocol/spans.h"
#include "protocol/value_codec.h"
#include "worker/slots/slot_messages.h"

namespace cq {
namespace {

using Clock = std::chrono::steady_clock;
using Object = msgpack::object;
namespace type = msgpack::type;

/// Answers are sent once so much time has passed since the last ones, or the batch is done.
constexpr std::chrono::milliseconds kFlushEvery{5};
/// With what stands around it, it is a frame that the worker takes.
constexpr size_t kValueBytesMax = kSlotFrameMax - 4096;
/// A bundle whose results are larger than that is not worked on any further.
constexpr size_t kBundleBytes = 1u << 20;

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
class SlotHost final : public detail::ConstantSource {
 public:
  SlotHost(int in, int out, const Function* function) : in_(in), out_(out), function_(function) {
    for (detail::Library* library : LoadedLibraries()) {
      library->task = &current_;
      library->constants = this;
    }
  }
  ~SlotHost() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_one();
    if (flusher_.joinable()) flusher_.join();
  }

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
    const std::string problem = function_ == nullptr ? KeepConstants(field[5]) : Match(field);
    Begin(problem.empty() ? SlotType::kReady : SlotType::kRefuse, id, problem.empty() ? 0 : 1);
    if (!problem.empty()) PackText(problem);
    Flush();
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
    constant_reader_.Start({found->second});
    return &constant_reader_;
  }

  // ---- tasks ----

  // [task, attempt, seed, group, values]
  void RunTasks(uint64_t id, const msgpack::object_array& tasks) {
    now_ = Clock::now();
    {
      const std::lock_guard lock(mutex_);
      BeginAnswers(id, now_);
    }
    if (tasks.size > 1) ArmFlusher();
    for (uint32_t i = 0; i < tasks.size; ++i) RunTask(tasks.ptr[i].via.array.ptr);
    const std::lock_guard lock(mutex_);
    armed_ = false;
    FlushAnswers();
  }

  // ---- answers: gathered, but none is kept for long, whatever the next task does ----

  struct Answers {
    uint64_t id = 0;
    Clock::time_point since{};
    /// Those in `buffer_`.
    uint32_t count = 0;
    /// After them, values of tasks that follow each other.
    uint64_t first = 0;
    uint64_t values = 0;
    std::string packed;
  };

  // The count of a gathered list is known at its end only: a list of 32-bit length is patched.
  void BeginAnswers(uint64_t id, Clock::time_point now) {
    Begin(SlotType::kResults, id, 1);
    count_at_ = buffer_.size();
    buffer_.write("\xdd\0\0\0\0", 5);
    answers_.id = id;
    answers_.since = now;
    answers_.count = 0;
  }
  void FlushAnswers() {
    std::fflush(stdout);
    std::fflush(stderr);
    if (answers_.count > 0) {
      for (size_t i = 0; i < 4; ++i) {
        buffer_.data()[count_at_ + 1 + i] = static_cast<char>(answers_.count >> (8 * (3 - i)));
      }
      Flush();
      answers_.count = 0;
    }
    if (answers_.values > 0) {
      Begin(SlotType::kAnswers, answers_.id, 3);
      packer_.pack_uint64(answers_.first);
      packer_.pack_uint64(answers_.values);
      PackText(answers_.packed);
      Flush();
      answers_.values = 0;
      answers_.packed.clear();
    }
  }
  // Sends what cannot stand in one frame with what is next.
  void StartAnew() {
    if (answers_.count + answers_.values == 0) return;
    FlushAnswers();
    BeginAnswers(answers_.id, now_);
  }
  void FlushIfDue(Clock::time_point now, Clock::duration age) {
    if (answers_.count + answers_.values == 0) return;
    if (now - answers_.since < age && buffer_.size() + answers_.packed.size() < (1 << 20)) return;
    FlushAnswers();
    BeginAnswers(answers_.id, now);
  }

  void ArmFlusher() {
    bool wake = false;
    {
      const std::lock_guard lock(mutex_);
      armed_ = true;
      wake = asleep_;
      if (!flusher_.joinable()) flusher_ = std::thread([this] { SendInTime(); });
    }
    if (wake) wake_.notify_one();
  }

  // While batches follow each other it looks every few milliseconds; to be woken by each would cost
  // more than they do.
  void SendInTime() {
    std::unique_lock lock(mutex_);
    while (!stopping_) {
      int idle = 0;
      while (!stopping_ && idle < 20) {
        wake_.wait_for(lock, kFlushEvery, [this] { return stopping_; });
        idle = armed_ ? 0 : idle + 1;
        if (armed_) FlushIfDue(Clock::now(), kFlushEvery / 2);
      }
      asleep_ = true;
      wake_.wait(lock, [this] { return stopping_ || armed_; });
      asleep_ = false;
    }
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
    const std::lock_guard lock(mutex_);
    if (ok) {
      PutValue(task.task);
    } else {
      BeginAnswer(task, ok);
      PackText(reason_);
      packer_.pack_uint64(took_us_);
      PackText("");
      PackText("");
    }
    FlushIfDue(now_, kFlushEvery);
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
    const std::lock_guard lock(mutex_);
    BeginAnswer(task, ok);
    ok ? void(packer_.pack_map(0)) : PackText(reason_);
    packer_.pack_uint64(took_us_);
    PackText(!ok ? "" : bundle ? kBundleFormat : kPackedFormat);
    PackText(!ok ? std::string_view() : bundle ? results_ : ValueText());
    FlushIfDue(now_, kFlushEvery);
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
      if (results_.size() > kBundleBytes || now_ - begin > kFlushEvery) break;
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
    current_ = task;
    bool ok = function.call(
        reader_, writer_,
        [](void* context, const char* bytes, size_t size) {
          static_cast<std::string*>(context)->assign(bytes, size);
        },
        &reason_);
    if (ok && value_.size() > kValueBytesMax) {
      reason_ =
          fmt::format("it returned {} bytes; a result may have {} ({} MiB): write it to a file",
                      value_.size(), kValueBytesMax, kResultBytesMax >> 20);
    }
    ok = ok && value_.size() <= kValueBytesMax;
    if (reason_.size() > kErrorTextMax) reason_.resize(kErrorTextMax);
    // Since the one before: what lies between two calls is less than what a clock costs.
    const auto begin = std::exchange(now_, Clock::now());
    took_us_ = static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(now_ - begin).count());
    return ok;
  }

  void PutValue(uint64_t task) {
    const bool next = answers_.count == 0 && task == answers_.first + answers_.values &&
                      answers_.values < kBatchMax;
    if (!next) StartAnew();
    if (answers_.values++ == 0) answers_.first = task;
    AppendAnswer(answers_.packed, took_us_, ValueText());
  }

  // [task, ok, value or message, µs, blob format or traceback, blob]
  void BeginAnswer(const TaskInfo& task, bool ok) {
    if (answers_.values > 0) StartAnew();
    packer_.pack_array(6);
    packer_.pack_uint64(task.task);
    ok ? packer_.pack_true() : packer_.pack_false();
    ++answers_.count;
  }

  /// What feeds a parameter.
  struct Source {
    size_t column = 0;
    const Object* constant = nullptr;
  };

  const int in_;
  const int out_;
  const Function* const function_;
  std::vector<Source> sources_;
  std::vector<std::unique_ptr<msgpack::object_handle>> constants_;
  std::map<std::string, const Object*> packed_constants_;
  ValueReader constant_reader_;
  /// Of calls: the function that the last one named.
  const Function* last_ = nullptr;
  /// What functions see as cq::task().
  TaskInfo current_;
  msgpack::sbuffer buffer_;
  msgpack::packer<msgpack::sbuffer> packer_{buffer_};
  Unpacker unpacker_;
  std::vector<const Object*> arguments_;
  ValueReader reader_;
  msgpack::sbuffer value_;
  ValueWriter writer_{value_};
  std::string reason_;
  /// Of a bundle, and of the call that has just been made.
  std::string results_;
  std::string piece_;
  uint64_t took_us_ = 0;
  /// When the last call ended, or its batch came.
  Clock::time_point now_{};

  /// Guards what is written while a batch runs: `buffer_` and what follows.
  std::mutex mutex_;
  std::condition_variable wake_;
  Answers answers_;
  size_t count_at_ = 0;
  /// A batch of several is being worked on.
  bool armed_ = false;
  bool asleep_ = false;
  bool stopping_ = false;
  std::thread flusher_;
};

std::pair<int, int> Pipes() {
  const char* in = getenv("CQ_SLOT_IN");
  const char* out = getenv("CQ_SLOT_OUT");
  if (in == nullptr || out == nullptr) {
    throw UsageError("cq slot is started by workers: use cq run --function");
  }
  const std::pair<int, int> pipes(std::atoi(in), std::atoi(out));
  for (const int fd : {pipes.first, pipes.second}) {
    struct stat status {};
    if (fstat(fd, &status) != 0 || !S_ISFIFO(status.st_mode)) {
      throw UsageError(fmt::format(
          "the descriptor {}, over which the worker speaks, is closed or is another's", fd));
    }
    // What a function starts has no business there.
    fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
  return pipes;
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
  if (function->version != kFunctionVersion) {
    throw Error(
        fmt::format("'{}' was built with another <cq/function.h>, of version {}; here it is {}",
                    library, function->version, kFunctionVersion));
  }
  return *function;
}

}  // namespace

int ServeLibrary(const std::string& name) {
  const auto [in, out] = Pipes();
  return SlotHost(in, out, &Load(name)).Serve();
}

int ServeOwnFunctions() {
  const auto [in, out] = Pipes();
  return SlotHost(in, out, nullptr).Serve();
}

}  // namespace cq
