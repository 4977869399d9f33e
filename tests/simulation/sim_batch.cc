#include "tests/simulation/sim_batch.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace cq::sim {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

/// From a job's end on until there must be another: the batch system's word for it, a poll, and a
/// submission.
constexpr Time kReplacedWithin = seconds(45);
/// The same after a refusal or a worker that died at its start: the longest pause, and that.
constexpr Time kTriedAgainWithin = minutes(10) + kReplacedWithin;

SchedulerTraits TraitsOfBatch() {
  SchedulerTraits traits;
  traits.outlives_master = traits.explains_late = true;
  return traits;
}

}  // namespace

SimBatch::SimBatch(const World& world, Random& random, Timeline& timeline, Hooks hooks)
    : world_(world),
      random_(random),
      timeline_(timeline),
      hooks_(std::move(hooks)),
      traits_(TraitsOfBatch()),
      room_(world.workers) {}

void SimBatch::Begin() {
  timeline_.At(now_ + seconds(1), [this] { Turn(); });
}

uint64_t SimBatch::Alive() const {
  return static_cast<uint64_t>(
      std::count_if(jobs_.begin(), jobs_.end(), [](const Job& job) { return !job.ended(); }));
}

uint64_t SimBatch::Running() const {
  return static_cast<uint64_t>(std::count_if(jobs_.begin(), jobs_.end(), [](const Job& job) {
    return job.state == Job::State::kRunning;
  }));
}

void SimBatch::Later(Time delay, std::function<void()> run) {
  timeline_.At(now_ + delay, [this, master = master_, run = std::move(run)] {
    if (master == master_ && !over_) run();
  });
}

SimBatch::Job* SimBatch::Find(const std::string& allocation) {
  const auto found = std::find_if(jobs_.begin(), jobs_.end(),
                                  [&](const Job& job) { return job.allocation == allocation; });
  return found == jobs_.end() ? nullptr : &*found;
}

// ---- what a master asks for ----

void SimBatch::Open(Callbacks callbacks) {
  callbacks_ = std::move(callbacks);
  ++master_;
  adopted_ = !jobs_.empty();
  hindered_ = uncertain_ > 0;
  enough_at_ = now_;
  taken_back_ = gone_ = 0;
  for (Job& job : jobs_) {
    job.news = job.ended() ? Job::News::kOld : Job::News::kNews;
  }
  PollForEver(master_);
}

void SimBatch::PollForEver(uint64_t master) {
  timeline_.At(now_ + seconds(1) + random_.Within(seconds(7)), [this, master] {
    if (master != master_ || over_) return;
    Report();
    PollForEver(master);
  });
}

void SimBatch::Start(unsigned workers, uint64_t known) {
  Later(random_.Within(seconds(2)), [this, workers, known] { Bring(workers, known); });
}

// As Pool does it.
void SimBatch::Bring(unsigned workers, uint64_t known) {
  if (uncertain_ > 0 && adopted_) {
    Later(seconds(1), [this, workers, known] { Bring(workers, known); });
    return;
  }
  uint64_t news = 0;
  const uint64_t master = master_;
  if (std::exchange(adopted_, false)) {
    const uint64_t alive = Report();
    if (master != master_) return;
    news = alive > known ? alive - known : 0;
  }
  const unsigned left = workers - static_cast<unsigned>(std::min<uint64_t>(workers, news));
  if (left == 0) return Answer(workers, 0);
  if (std::exchange(came_, false)) {
    Report();
    return master == master_ ? Answer(workers, 0) : void();
  }
  if (uncertain_ > 0) return Answer(workers, 0, "nobody knows what became of the last submission");
  if (!quiet() && random_.Chance(world_.uncertain)) {
    uncertain_ = left;
    uncertain_until_ = now_ + random_.Within(seconds(60));
    return Answer(workers, 0, "Socket timed out", Submitted::Refusal::kUncertain);
  }
  if (!quiet() && random_.Chance(world_.refuse)) {
    return Answer(workers, 0, "QOSMaxSubmitJobPerUserLimit");
  }
  Add(left);
  Answer(workers, left);
}

void SimBatch::Answer(unsigned wanted, unsigned workers, const std::string& problem,
                      Submitted::Refusal refusal) {
  if (!problem.empty()) hindered_ = true;
  callbacks_.event(Submitted{wanted, workers, problem, refusal});
}

void SimBatch::Add(unsigned workers) {
  hooks_.say(fmt::format("{} jobs are submitted", workers));
  changed_at_ = now_;
  for (unsigned i = 0; i < workers; ++i) {
    Job job;
    job.allocation = fmt::format("slurm {}", ++named_);
    job.starts = now_ + random_.Within(world_.queue_wait);
    jobs_.push_back(std::move(job));
  }
  if (Alive() > world_.workers)
    throw Broken{fmt::format("{} jobs live, and {} may", Alive(), world_.workers)};
}

void SimBatch::EndJob(const std::string& allocation) {
  Later(random_.Within(seconds(1)), [this, allocation] {
    Job* job = Find(allocation);
    if (job != nullptr && !job->ended()) Kill(*job, JobEnding::kCancelled);
  });
}

void SimBatch::Withdraw(std::vector<std::string> allocations) {
  Later(random_.Within(seconds(1)), [this, allocations = std::move(allocations)] {
    for (const std::string& allocation : allocations) {
      Job* job = Find(allocation);
      if (job == nullptr || job->state != Job::State::kPending) continue;
      EndOne(*job, JobEnding::kCancelled, Time{});
      // As many as there may be, and again for each that was there and ended.
      if (++taken_back_ <= world_.workers * (1 + gone_)) continue;
      throw Broken{fmt::format("{} jobs are taken back that were submitted, and {} ended",
                               taken_back_, gone_)};
    }
  });
}

void SimBatch::Close(End how) {
  if (how == End::kStay) return;
  for (Job& job : jobs_) {
    if (job.ended() || (how == End::kTold && job.state == Job::State::kRunning)) continue;
    Kill(job, JobEnding::kCancelled);
  }
}

// ---- what it tells ----

uint64_t SimBatch::Report() {
  JobStates states;
  uint64_t alive = 0;
  for (Job& job : jobs_) {
    WorkerJob told;
    told.allocation = job.allocation;
    if (job.state == Job::State::kPending) {
      told.state = WorkerJob::State::kPending;
      told.reason = "Resources";
    } else if (!job.ended() || now_ < job.known) {
      told.state = WorkerJob::State::kRunning;
      if (world_.life > Time{}) {
        const Time left = std::max(job.starts + world_.life - now_, Time{});
        told.time = {std::chrono::duration_cast<seconds>(left),
                     std::chrono::duration_cast<seconds>(world_.life)};
      }
    } else {
      const auto news = std::exchange(job.news, Job::News::kTold);
      if (news == Job::News::kTold) continue;
      told.state = news == Job::News::kOld ? WorkerJob::State::kOver : WorkerJob::State::kEnded;
      told.ending = job.ending;
      told.reason = "its job ended";
      states.last_words[job.allocation] = "";
    }
    alive += told.ended() ? 0 : 1;
    states.jobs.push_back(std::move(told));
  }
  callbacks_.event(std::move(states));
  return alive;
}

// ---- what happens there ----

void SimBatch::Turn() {
  if (over_) return;
  if (uncertain_ > 0 && now_ >= uncertain_until_) {
    came_ = random_.Chance(500);
    const unsigned workers = std::exchange(uncertain_, 0);
    if (came_) Add(workers);
  }
  if (quiet()) {
    room_ = world_.workers;
  } else if (random_.Chance(20)) {
    room_ = random_.Below(world_.workers + 1);
  }
  for (size_t i = 0; i < jobs_.size() && Running() < room_; ++i) {
    if (jobs_[i].state == Job::State::kPending && now_ >= jobs_[i].starts) StartJob(jobs_[i]);
  }
  if (!quiet()) HappenToOne();
  timeline_.At(now_ + seconds(1), [this] { Turn(); });
}

void SimBatch::StartJob(Job& job) {
  job.state = Job::State::kRunning;
  job.starts = now_;
  if (!quiet() && random_.Chance(world_.dead_launch)) {
    hindered_ = true;
    hooks_.say(fmt::format("{} dies at its start", job.allocation));
    // Or it runs, and its worker never connects.
    if (random_.Chance(500)) EndOne(job, JobEnding::kItself, random_.Within(seconds(20)));
    return;
  }
  timeline_.At(
      now_ + random_.Within(seconds(5)), [this, allocation = job.allocation, started = job.starts] {
        Job* starting = Find(allocation);
        if (over_ || starting->state != Job::State::kRunning || starting->starts != started) {
          return;
        }
        SimWorker& worker = hooks_.start(allocation);
        Find(allocation)->worker = &worker;
      });
}

void SimBatch::EndOne(Job& job, JobEnding ending, Time known_after) {
  job.state = Job::State::kEnded;
  job.ending = ending;
  job.known = now_ + known_after;
  changed_at_ = now_;
}

void SimBatch::Kill(Job& job, JobEnding ending) {
  EndOne(job, ending, random_.Within(seconds(5)));
  if (job.worker != nullptr) hooks_.kill(*job.worker);
}

void SimBatch::OnWorkerGone(const SimWorker& worker, JobEnding ending) {
  for (Job& job : jobs_) {
    if (job.worker != &worker || job.ended()) continue;
    // It may not have connected.
    if (ending == JobEnding::kItself) hindered_ = true;
    ++gone_;
    EndOne(job, ending, random_.Within(seconds(20)));
  }
}

// Somebody cancels it, or it is taken off its machine, to start again.
void SimBatch::HappenToOne() {
  if (jobs_.empty() || !random_.Chance(world_.meddle)) return;
  Job& job = jobs_[random_.Below(jobs_.size())];
  if (job.ended()) return;
  ++gone_;
  if (job.state == Job::State::kPending || random_.Chance(500)) {
    hooks_.say(fmt::format("somebody cancels {}", job.allocation));
    return Kill(job, JobEnding::kCancelled);
  }
  hooks_.say(fmt::format("{} is requeued", job.allocation));
  SimWorker* worker = std::exchange(job.worker, nullptr);
  job.state = Job::State::kPending;
  job.starts = now_ + seconds(10) + random_.Within(world_.queue_wait);
  if (worker != nullptr) hooks_.kill(*worker);
}

void SimBatch::CheckEnough(std::optional<uint64_t> needed) {
  if (!needed || Alive() + uncertain_ >= *needed) enough_at_ = now_;
  const Time since = now_ - std::max(enough_at_, changed_at_);
  if (since <= (hindered_ ? kTriedAgainWithin : kReplacedWithin)) return;
  throw Broken{fmt::format("for {} s there are {} jobs alive, and there is work for {}",
                           since / seconds(1), Alive(), *needed)};
}

}  // namespace cq::sim
