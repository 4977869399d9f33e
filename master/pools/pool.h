#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "base/files.h"
#include "base/mailbox.h"
#include "master/core/open_allocation.h"
#include "master/core/records.h"
#include "master/pools/worker_source.h"
#include "protocol/task_request.h"
#include "schedulers/traits.h"
#include "schedulers/worker_job.h"

namespace cq {

class Scheduler;

/// The workers of a pool and where they come from.
struct PoolOptions {
  /// One of SchedulerNames.
  std::string scheduler = "local";
  std::string name = "default";
  /// Its place among the pools that its run has had, by which the journal names it.
  unsigned place = 0;
  /// The run has several, or this one has a name: its workers say of which they are.
  bool named = false;
  /// What each worker has for its tasks, as far as that was said; and how long it lives, 0: that
  /// was not.
  Capacity capacity = {};
  std::chrono::milliseconds time{};
  unsigned workers = 1;
  /// Fewer than that as long as there is less work, but so many; none: always as many. And how long
  /// one without work stays then.
  std::optional<unsigned> least = {};
  std::chrono::milliseconds idle_timeout = std::chrono::minutes(5);
  /// How long a job may run before its worker connects. What runs before a worker may be long: a
  /// container that is fetched, an environment on a slow file system.
  std::chrono::milliseconds launch_timeout = std::chrono::minutes(10);
  /// After so many tasks each makes room for a fresh one; 0: it does not.
  uint64_t tasks_of_worker = 0;
  /// What each has is its part of this machine, or all of it.
  bool divided = false;
  /// Of one that lends: no more than that, though it may have more.
  bool at_most = false;
  unsigned slots = 1;
  /// The first words of a worker's command (WorkerLaunch) and the run's directory, as the workers'
  /// machines see them.
  std::vector<std::string> program;
  std::string run_dir;
  std::string worker_init;
  /// Of local workers: the first one's number; no two pools of a run have the same numbers.
  unsigned first_number = 1;
  /// The user's own template; empty: the scheduler's.
  std::string template_file;
  std::map<std::string, std::string> template_values;
  /// Of slots that are borrowed: larger ones first.
  int64_t priority = 0;
};

/// Cancels one submission of an earlier master of the run in this directory. False if there is
/// nothing of it any more. Waits, and says so, while it may still come. Throws Error.
bool CancelAllocation(OpenAllocation left, const std::string& run_dir,
                      const std::function<void(const std::string&)>& say);

/// The carrier of one pool of workers: asks the scheduler, on a thread of its own since schedulers
/// take their time, and reports. With a run's own job (master/run/master_job.h)
/// the only place of the master that knows schedulers.
class Pool final : public WorkerSource {
 public:
  /// Throws UsageError for a launch that cannot work. Starts nothing.
  explicit Pool(const PoolOptions& options);
  ~Pool() override;

  /// The submission script for so many workers, as filled; empty where there is none.
  std::string Script(unsigned workers) const;
  /// Whether the workers' side of the scheduler is at this machine's loopback.
  bool ControllerAtLoopback();
  const SchedulerTraits& traits() const override { return traits_; }
  const std::string& scheduler() const override { return name_; }
  unsigned place() const { return place_; }
  /// Before Open.
  void set_place(unsigned place) { place_ = place; }
  /// What its workers' allocations begin with, if it lends; else empty.
  std::string allocations() const;

  /// A descriptor that local workers inherit and hold as long as they live. Before Open.
  void HoldOpen(int fd);
  /// Local workers, and so their tasks, get this soft limit of descriptors, not the master's.
  /// Before Open.
  void KeepDescriptorLimit(uint64_t limit);
  /// Starts the thread.
  void Open(Callbacks callbacks) override;
  void Start(unsigned workers, uint64_t known) override;
  /// Takes over a submission of an earlier master. Before the first Start.
  void Adopt(OpenAllocation left);
  void PollSoon() override;
  void Want(uint64_t workers) override;
  void EndSilent(const std::string& allocation) override;
  void EndJob(const std::string& allocation) override;
  void Withdraw(std::vector<std::string> allocations) override;
  void Avoid(const std::string& host) override;
  void Expect(bool expecting) override { expecting_ = expecting; }
  void Close(End how) override;
  std::string Wait() override;

 private:
  struct StartCommand {
    unsigned workers = 0;
    uint64_t known = 0;
  };
  struct AdoptCommand {
    OpenAllocation left;
  };
  struct PollCommand {};
  struct CloseCommand {
    End how = End::kNow;
  };
  struct WantCommand {
    uint64_t workers = 0;
  };
  struct EndCommand {
    std::string allocation;
  };
  struct WithdrawCommand {
    std::vector<std::string> allocations;
  };
  struct AvoidCommand {
    std::string host;
  };
  using Command = std::variant<StartCommand, AdoptCommand, PollCommand, WantCommand, EndCommand,
                               WithdrawCommand, AvoidCommand, CloseCommand>;

  void Work();
  template <class F>
  void Try(const F& order);
  /// False if none are on their way.
  bool Submit(unsigned wanted, unsigned workers);
  /// False while it may still come.
  bool TakeOver(const OpenAllocation& left);
  void TakeOverLateOnes();
  enum class Uncertainty { kNone, kCame, kMayCome };
  Uncertainty AskAboutUncertain();
  void Bring(StartCommand start);
  /// Returns how many workers' jobs live, if the scheduler said so.
  std::optional<unsigned> Report();
  void WaitForWork();
  void KeepOwnDescriptors() const;

  std::unique_ptr<Scheduler> scheduler_;
  const std::string name_;
  const SchedulerTraits traits_;
  unsigned place_;
  Callbacks callbacks_;
  Mailbox<Command> commands_;
  /// Readable once the workers are to end, too.
  const Fd closing_;
  /// Of submissions that are there, or may be.
  std::vector<std::string> tokens_;
  /// Those of them that the scheduler did not answer about.
  struct Uncertain {
    std::string token;
    unsigned workers = 0;
    std::chrono::steady_clock::time_point asked;
  };
  std::vector<Uncertain> uncertain_;
  struct Late {
    OpenAllocation left;
    std::chrono::steady_clock::time_point asked;
  };
  /// Submissions of an earlier master that may still come.
  std::vector<Late> late_;
  /// Submissions were adopted since the last start.
  bool adopted_ = false;
  /// Workers that are wanted once the scheduler has answered.
  StartCommand deferred_;
  /// The jobs as last reported, and since when and how many polls they have not changed.
  std::vector<std::pair<std::string, std::string>> last_;
  std::chrono::steady_clock::time_point changed_{};
  unsigned polls_unchanged_ = 0;
  bool any_pending_ = false;
  unsigned failed_queries_ = 0;
  unsigned failed_adoptions_ = 0;
  std::atomic<bool> expecting_ = true;
  std::string close_error_;
  std::thread thread_;
};

}  // namespace cq
