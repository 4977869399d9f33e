// Scenario files: what happens to the master's core, and what it decides, as prose. Each block of
// tests/master/core/scenarios/*.txt is a line of input, "----", and what came of it. With
// CQ_REWRITE=1 in the environment the files are written anew, to be reviewed as a diff.
//
//   start tasks=4 [epoch= retries= crash_limit= max_failures= mark= fence explained_late]
//   join C worker=W slots=S [unrecorded] [held=TASK:EPOCH.SERIAL:running|queued|finished ...]
//   started C TASK...      result C TASK [error|timeout|memory|cancelled]      unstartable C TASK
//   returned C TASK...     leaving C     goodbye C      cut C
//   job W ended [explained|memory]     commit     pass SECONDS     drain     expect WORKERS
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "master/core/core.h"

namespace cq {
namespace {

using std::chrono::seconds;
constexpr RunId kRun = 9;

std::string Name(uint64_t serial) {
  return fmt::format("{}.{}", EpochOf(serial), serial & ((uint64_t{1} << kSerialBits) - 1));
}

class Scenario {
 public:
  std::string Do(const std::string& line) {
    out_.clear();
    std::istringstream words(line);
    std::string verb;
    words >> verb;
    arguments_.clear();
    for (std::string word; words >> word;) arguments_.push_back(word);
    if (verb == "start") {
      Start();
    } else if (verb == "join") {
      Join();
    } else if (verb == "pass") {
      for (int i = 0; i < std::stoi(Word(0)); ++i) {
        now_ += seconds(1);
        core_->OnTick(now_);
        Flush();
      }
    } else if (verb == "commit") {
      Commit();
    } else if (verb == "job") {
      core_->OnAllocationEnded(now_, "job " + Word(0), "its job ended",
                               Has("explained") ? Blame::kNobody
                               : Has("memory")  ? Blame::kMemory
                                                : Blame::kFinal);
    } else if (verb == "expect") {
      core_->OnExpected(std::stoull(Word(0)));
    } else if (verb == "drain") {
      core_->OnDrain(now_, "told to");
    } else if (verb == "cut") {
      core_->OnUnreachable(now_, Connection());
    } else {
      Report(verb);
    }
    Flush();
    return out_.empty() ? "nothing\n" : out_;
  }

 private:
  std::string Word(size_t i) const { return arguments_.at(i); }
  ConnectionId Connection() const { return std::stoull(Word(0)); }
  bool Has(const std::string& word) const {
    return std::find(arguments_.begin(), arguments_.end(), word) != arguments_.end();
  }
  uint64_t Value(const std::string& name, uint64_t otherwise) const {
    for (const std::string& word : arguments_) {
      if (word.starts_with(name + "=")) return std::stoull(word.substr(name.size() + 1));
    }
    return otherwise;
  }

  void Start() {
    CoreOptions options;
    options.text.run = kRun;
    options.gather_acks = {};
    options.text.fence = Has("fence");
    options.explained_late = Has("explained_late");
    options.tasks = Value("tasks", 1);
    options.epoch = Value("epoch", 1);
    options.retries = static_cast<uint32_t>(Value("retries", 0));
    options.crash_limit = static_cast<uint32_t>(Value("crash_limit", 3));
    if (const uint64_t most = Value("max_failures", 0); most > 0) {
      options.halts = {{Halt::Of::kFailed, static_cast<double>(most), false, false, ""}};
    }
    Recovered recovered;
    recovered.mark = Value("mark", 0);
    if (const uint64_t awaited = Value("awaits", 0); awaited > 0) {
      KnownWorker known;
      known.number = 1;
      known.id = {static_cast<uint8_t>(awaited)};
      known.host = fmt::format("h{}", awaited);
      known.allocation = fmt::format("job {}", awaited);
      known.watched = true;
      recovered.workers = {known};
      recovered.last_worker = 1;
    }
    core_ = std::make_unique<Core>(options, std::move(recovered));
    core_->OnTick(now_);
    Flush();
    Commit();
  }

  void Join() {
    const ConnectionId from = Connection();
    Hello hello;
    hello.run = kRun;
    const auto worker = static_cast<uint8_t>(Value("worker", 1));
    hello.worker = {worker};
    hello.host = fmt::format("h{}", worker);
    hello.allocation = fmt::format("job {}", worker);
    hello.slots = Value("slots", 1);
    hello.capacity = hello.slots * 100;
    for (const std::string& word : arguments_) {
      if (word.starts_with("held=")) hello.held.push_back(ParseHeld(word.substr(5)));
    }
    core_->OnMessage(now_, from, {0, 0}, hello);
    for (const Action& action : core_->TakeActions()) {
      if (const auto* send = std::get_if<Send>(&action)) session_[from] = send->session;
    }
    sequence_[from] = 0;
    core_->OnMessage(now_, from, {session_[from], 0}, hello);
    Flush();
    if (!Has("unrecorded")) Commit();
  }

  static Held ParseHeld(const std::string& text) {
    Held held;
    unsigned long long task = 0;
    unsigned long long epoch = 0;
    unsigned long long serial = 0;
    char state[16] = {};
    std::sscanf(text.c_str(), "%llu:%llu.%llu:%15s", &task, &epoch, &serial, state);
    held.run = kRun;
    held.task = task;
    held.attempt = MakeSerial(epoch, serial);
    held.state = std::string(state) == "running"    ? HeldState::kRunning
                 : std::string(state) == "finished" ? HeldState::kFinished
                                                    : HeldState::kQueued;
    return held;
  }

  // The newest attempt at the task that this connection was given, or holds.
  AttemptId AttemptOf(ConnectionId from, TaskId task) {
    const auto found = given_.find({from, task});
    return found == given_.end() ? MakeSerial(1, task) : found->second;
  }

  void Report(const std::string& verb) {
    const ConnectionId from = Connection();
    const Envelope envelope{session_[from], ++sequence_[from]};
    std::vector<AttemptRef> refs;
    for (size_t i = 1; i < arguments_.size(); ++i) {
      if (std::isdigit(arguments_[i][0]) == 0) continue;
      const TaskId task = std::stoull(arguments_[i]);
      refs.push_back({task, AttemptOf(from, task)});
    }
    if (verb == "started") {
      Started message{kRun, {}};
      for (const AttemptRef& ref : refs)
        message.attempts.push_back({ref.task, ref.attempt, message.attempts.size()});
      core_->OnMessage(now_, from, envelope, message);
    } else if (verb == "returned") {
      Returned message{kRun, {}};
      for (const AttemptRef& ref : refs) {
        message.attempts.push_back({ref.task, ref.attempt, ReturnReason::kRetracted, 0, ""});
      }
      core_->OnMessage(now_, from, envelope, message);
    } else if (verb == "result" || verb == "unstartable") {
      Results message{kRun, {}, {}};
      for (const AttemptRef& ref : refs)
        message.results.push_back(Result(ref, verb == "unstartable"));
      core_->OnMessage(now_, from, envelope, message);
    } else if (verb == "heartbeat") {
      // What it says of itself needs no numbers.
      core_->OnMessage(
          now_, from, envelope,
          WorkerHeartbeat{0, Has("problem") ? 0u : 100u, Has("problem") ? "no cwd" : "",
                          Has("waits") ? "its program" : ""});
    } else if (verb == "leaving") {
      core_->OnMessage(now_, from, envelope, Leaving{"SIGTERM"});
    } else if (verb == "goodbye") {
      core_->OnMessage(now_, from, envelope, Goodbye{"SIGTERM"});
    } else {
      FAIL() << "unknown: " << verb;
    }
  }

  TaskResult Result(const AttemptRef& ref, bool unstartable) const {
    TaskResult result;
    result.task = ref.task;
    result.attempt = ref.attempt;
    result.wall_us = 1'000'000;
    result.unstartable = unstartable;
    result.outcome = Has("error") || unstartable ? Outcome::kError
                     : Has("timeout")            ? Outcome::kTimeout
                     : Has("memory")             ? Outcome::kMemory
                     : Has("cancelled")          ? Outcome::kCancelled
                                                 : Outcome::kOk;
    return result;
  }

  void Commit() {
    Committed committed;
    for (const JournalRecord& record : std::exchange(pending_, {})) committed.Add(record);
    core_->OnCommitted(now_, committed);
    Flush();
  }

  void Flush() {
    core_->Flush(now_);
    core_->CheckInvariants();
    for (const Action& action : core_->TakeActions()) {
      std::visit([this](const auto& a) { Say(a); }, action);
    }
  }

  template <class T>
  static std::string List(const std::vector<T>& attempts) {
    std::string text;
    for (const T& attempt : attempts) {
      text += fmt::format(" {}({})", attempt.task, Name(attempt.attempt));
    }
    return text;
  }

  void Say(const Send& send) {
    struct {
      std::string operator()(const Ack& m) { return "ack" + List(m.attempts); }
      std::string operator()(const cq::Retract& m) { return "retract" + List(m.attempts); }
      std::string operator()(const Cancel& m) { return "cancel" + List(m.attempts); }
      std::string operator()(const Drain& m) { return "drain: " + m.reason; }
      std::string operator()(const Stop& m) { return "stop: " + m.reason; }
      std::string operator()(const cq::Refuse& m) { return "refuse: " + m.text; }
      std::string operator()(const Who&) { return "who"; }
      std::string operator()(const Welcome&) { return "welcome"; }
      std::string operator()(const RunText&) { return {}; }
      std::string operator()(const Assign&) { return {}; }
      std::string operator()(const MasterHeartbeat&) { return {}; }
      std::string operator()(const Reply&) { return {}; }
    } name;
    const std::string text = std::visit(name, send.message);
    if (!text.empty()) out_ += fmt::format("to {}: {}\n", send.to, text);
  }
  void Say(const Give& give) {
    out_ += fmt::format("to {}: assign", give.to);
    for (const auto& [span, number, dangerous, of] : give.grants) {
      given_[{give.to, span.task}] = span.attempt;
      out_ += fmt::format(" {}({}){}", span.task, Name(span.attempt),
                          number > 1 ? fmt::format(" try {}", number) : "");
    }
    out_ += "\n";
  }
  void Say(const Write& write) {
    for (const JournalRecord& record : write.records) SayRecord(record);
  }
  void SayRecord(const JournalRecord& record) {
    pending_.push_back(record);
    if (const auto* result = std::get_if<ResultRecord>(&record)) {
      constexpr const char* kNames[] = {"ok",     "error",     "crashed", "timeout",
                                        "memory", "cancelled", "skipped"};
      out_ += fmt::format("journal: task {} is {} after {} attempts\n", result->result.task,
                          kNames[static_cast<size_t>(result->result.outcome)], result->attempts);
    } else if (const auto* failure = std::get_if<FailureRecord>(&record)) {
      constexpr const char* kKinds[] = {"charge taken back", "charged provisionally", "charged",
                                        "failed"};
      out_ +=
          fmt::format("journal: {}({}) {}\n", failure->attempt.task, Name(failure->attempt.attempt),
                      kKinds[static_cast<size_t>(failure->kind)]);
    } else if (const auto* mark = std::get_if<MarkRecord>(&record)) {
      out_ += fmt::format("journal: mark {}\n", mark->mark);
    } else if (const auto* end = std::get_if<WorkerEndRecord>(&record)) {
      out_ += fmt::format("journal: worker {} ended\n", end->worker);
    } else if (const auto* worker = std::get_if<WorkerRecord>(&record)) {
      out_ += fmt::format("journal: worker {}\n", worker->worker);
    }
  }
  void Say(const Note& note) { out_ += "note: " + note.text + "\n"; }
  void Say(const EndJob& end) { out_ += "end " + end.allocation + "\n"; }
  void Say(const AvoidHost& avoid) { out_ += "avoid " + avoid.host + "\n"; }
  void Say(const Finished&) { out_ += "finished\n"; }

  std::unique_ptr<Core> core_;
  Time now_ = seconds(100);
  std::vector<std::string> arguments_;
  std::string out_;
  std::vector<JournalRecord> pending_;
  std::map<ConnectionId, SessionId> session_;
  std::map<ConnectionId, uint64_t> sequence_;
  std::map<std::pair<ConnectionId, TaskId>, AttemptId> given_;
};

// The file with what each line leads to now; comments and blank lines stay.
std::string Replay(const std::string& text) {
  Scenario scenario;
  std::istringstream lines(text);
  std::string replayed;
  bool expectation = false;
  for (std::string line; std::getline(lines, line);) {
    if (expectation && !line.empty()) continue;
    expectation = false;
    if (line.empty() || line.starts_with('#')) {
      replayed += line + "\n";
      continue;
    }
    if (line == "----") {
      expectation = true;
      continue;
    }
    replayed += line + "\n----\n" + scenario.Do(line);
  }
  return replayed;
}

TEST(ScenarioTest, EveryFileHappensAsWritten) {
  const std::string directory = std::string(CQ_SOURCE_DIR) + "/tests/master/core/scenarios";
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.path().extension() != ".txt") continue;
    ++files;
    std::ifstream file(entry.path());
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const std::string replayed = Replay(text);
    if (getenv("CQ_REWRITE") != nullptr) {
      std::ofstream(entry.path()) << replayed;
    } else {
      EXPECT_EQ(replayed, text) << entry.path() << ": CQ_REWRITE=1 writes it anew";
    }
  }
  EXPECT_GE(files, 6);
}

}  // namespace
}  // namespace cq
