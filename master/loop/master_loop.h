#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/mailbox.h"
#include "cq/run_observer.h"
#include "master/core/core.h"
#include "master/input/task_source.h"
#include "master/journal/record_writer.h"
#include "master/loop/asking.h"
#include "master/loop/transport.h"
#include "master/loop/worker_port.h"
#include "master/pools/workforce.h"

namespace cq {

/// The event loop around the core: reads what arrived, tells the core, does what the core decided.
/// One thread.
class MasterLoop {
 public:
  struct Options {
    int signal_fd = -1;
    /// At SIGHUP end workers that live without us, too.
    bool stop_on_hangup = false;
    /// Where workers leave results that no master took.
    std::string spool;
    /// Where copies of the journal are made for those who ask: paths begin so.
    std::string copies;
    /// Called about every 10 s while the run lives.
    std::function<void()> keep_alive;
    /// Called with what has become durable.
    std::function<void(const Committed&)> committed = {};
    /// Called when nothing more will be done, before workers and journal are closed.
    std::function<void(const std::string& reason)> ending;
    /// None: the run has no proposer.
    ReadyProposer proposer = {};
  };
  MasterLoop(Options options, Core core, Transport transport, TaskSource& tasks,
             Workforce& workforce, const MakeRecordWriter& make_writer, RunObserver& observer);
  MasterLoop(const MasterLoop&) = delete;
  MasterLoop& operator=(const MasterLoop&) = delete;
  ~MasterLoop();

  struct End {
    /// 0 finished, 1 its proposer waits for ever, 3 could not go on, 130 interrupted.
    int status = 0;
    std::string reason;
    /// The rule that ended it, of those that finished.
    std::optional<Halt> halted = {};
  };
  /// Returns when all is in the journal. Workers that were told to leave may still be leaving,
  /// which takes a scheduler a while: time to export the results.
  End Run();
  /// Returns when no worker is left and the journal is closed.
  void Close();
  /// Has the loop's thread do something between two turns. Thread-safe.
  void Post(std::function<void(Core&, Time)> event) { mail_.Put(std::move(event)); }
  /// Ends the run from any thread; what is out stays without outcome.
  void Stop(std::string reason) { mail_.Put(StopOrder{std::move(reason)}); }

  const Counts& counts() { return core_.counts(); }
  Ledger ledger() const { return core_.ledger(); }
  /// From Run to the first result; zero without one.
  std::chrono::nanoseconds first_result() const { return first_result_; }

 private:
  struct JournalFailed {
    std::string reason;
  };
  struct Copied {
    std::string path;
    std::string problem;
  };
  using Event = std::function<void(Core&, Time)>;
  struct StopOrder {
    std::string reason;
  };
  using Mail = std::variant<Committed, JournalFailed, Copied, Workforce::Word, Event, StopOrder,
                            ProposerAnswer>;
  using Clock = std::chrono::steady_clock;

  std::chrono::nanoseconds Now() const { return Clock::now() - origin_; }
  void Turn();
  void ReadAll();
  void ReadMail();
  void ReadSpool();
  void OnMail(Committed& committed);
  void OnMail(JournalFailed& failed);
  void OnMail(Copied& copied);
  void OnMail(Workforce::Word& word);
  void OnMail(Event& event) { event(core_, Now()); }
  void OnMail(StopOrder& order);
  void OnMail(ProposerAnswer& answer);
  void OnSignals();
  void OnRequest(ConnectionId from, const Request& request);
  void OnAdd(ConnectionId from, const Request& request);
  void Answer(ConnectionId to, Reply reply);
  void StopNow(const std::string& reason);
  void DrainNow(const std::string& reason);
  void Act();
  void Do(Send& send);
  void Do(struct Give& give);
  Task TaskOf(Give::Grant& grant);
  void Do(Write& write);
  void Do(Note& note);
  void Do(EndJob& job) { workforce_.EndSilent(job.allocation); }
  void Do(AvoidHost& avoid);
  void Push(JournalRecord record);
  void Do(Finished&);
  void Fail(const std::string& reason);
  void TellDropped();
  void ShowProgress();

  Options options_;
  Clock::time_point origin_ = Clock::now();
  Core core_;
  WorkerPort port_;
  TaskSource& tasks_;
  Workforce& workforce_;
  RunObserver& observer_;
  Mailbox<Mail> mail_;
  std::unique_ptr<RecordWriter> writer_;
  std::optional<Asking> asking_;
  /// Why it cannot be gone on with.
  std::string proposer_problem_;

  uint64_t failed_before_ = 0;
  std::optional<End> end_;
  bool finished_ = false;
  bool interrupted_ = false;
  /// kTold once the core came to its end by itself.
  WorkerSource::End leave_ = WorkerSource::End::kNow;
  std::chrono::nanoseconds first_result_{};
  std::chrono::nanoseconds last_progress_{};
  std::chrono::nanoseconds last_keep_alive_{};
  /// As RunProgress::left, and when that was.
  std::optional<std::pair<double, double>> left_;
  std::chrono::nanoseconds last_left_{};
  std::set<std::string> spool_read_;
  /// Copies of the journal that are being made, and who waits for them.
  std::map<std::string, ConnectionId> copies_;
  /// Who waits for the rows that they add.
  std::map<uint64_t, ConnectionId> adding_;
  uint64_t adds_ = 0;
  uint64_t copies_made_ = 0;
};

}  // namespace cq
