#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "master/pools/worker_source.h"
#include "tests/simulation/sim_worker.h"
#include "tests/simulation/timeline.h"
#include "tests/simulation/world.h"

namespace cq::sim {

/// A batch system of the simulated world, where a run's workers are jobs: it takes submissions or
/// refuses them, starts jobs when there is room, ends some of them as it likes, and tells of all
/// that late. It outlives masters.
class SimBatch final : public WorkerSource {
 public:
  struct Hooks {
    /// A job's worker starts; its process is killed.
    std::function<SimWorker&(const std::string& allocation)> start;
    std::function<void(SimWorker&)> kill;
    std::function<void(const std::string&)> say;
  };
  SimBatch(const World& world, Random& random, Timeline& timeline, Hooks hooks);
  SimBatch(const SimBatch&) = delete;
  SimBatch& operator=(const SimBatch&) = delete;

  void Begin();
  /// Nothing happens any more.
  void Finish() { over_ = true; }
  void OnMasterGone() { ++master_; }
  /// The process of a job's worker is gone.
  void OnWorkerGone(const SimWorker& worker, JobEnding ending);
  /// Throws Broken if for long there are fewer jobs than `needed`, which is what a master wants
  /// that does want some; none: it does not.
  void CheckEnough(std::optional<uint64_t> needed);

  // ---- as the master's workforce sees it ----
  const SchedulerTraits& traits() const override { return traits_; }
  const std::string& scheduler() const override { return name_; }
  void Open(Callbacks callbacks) override;
  void Start(unsigned workers, uint64_t known) override;
  void PollSoon() override {}
  void Want(uint64_t) override {}
  void EndSilent(const std::string&) override {}
  void EndJob(const std::string& allocation) override;
  void Withdraw(std::vector<std::string> allocations) override;
  void Avoid(const std::string&) override {}
  void Expect(bool) override {}
  void Close(End how) override;
  std::string Wait() override { return {}; }

 private:
  struct Job {
    std::string allocation;
    enum class State { kPending, kRunning, kEnded } state = State::kPending;
    /// When it starts, if there is room; when it started.
    Time starts{};
    JobEnding ending = JobEnding::kItself;
    /// When the batch system says that it has ended.
    Time known{};
    /// What the present master is told of its end: that it ended before that master began, or as
    /// news; once.
    enum class News { kOld, kNews, kTold } news = News::kNews;
    SimWorker* worker = nullptr;
    bool ended() const { return state == State::kEnded; }
  };

  bool quiet() const { return now_ >= world_.quiet_after; }
  uint64_t Alive() const;
  uint64_t Running() const;
  /// Runs it for the present master, if that is there then.
  void Later(Time delay, std::function<void()> run);
  Job* Find(const std::string& allocation);
  void Bring(unsigned workers, uint64_t known);
  void Answer(unsigned wanted, unsigned workers, const std::string& problem = {},
              Submitted::Refusal refusal = Submitted::Refusal::kForNow);
  void Add(unsigned workers);
  uint64_t Report();
  void PollForEver(uint64_t master);
  void Turn();
  void StartJob(Job& job);
  void EndOne(Job& job, JobEnding ending, Time known_after);
  void Kill(Job& job, JobEnding ending);
  void HappenToOne();

  const World& world_;
  Random& random_;
  Timeline& timeline_;
  const Time& now_ = timeline_.now();
  const Hooks hooks_;
  const SchedulerTraits traits_;
  const std::string name_ = "slurm";
  bool over_ = false;

  std::vector<Job> jobs_;
  uint64_t named_ = 0;
  /// How many run at once.
  uint64_t room_ = 0;
  /// Of a submission that was not answered: so many may come until then; whether they came.
  unsigned uncertain_ = 0;
  Time uncertain_until_{};
  bool came_ = false;

  // Of the present master.
  uint64_t master_ = 0;
  Callbacks callbacks_;
  bool adopted_ = false;
  bool hindered_ = false;
  /// When there were last as many jobs as were needed, and when one last came or ended.
  Time enough_at_{};
  Time changed_at_{};
  /// Jobs that it took back, and such as ended otherwise.
  uint64_t taken_back_ = 0;
  uint64_t gone_ = 0;
};

}  // namespace cq::sim
