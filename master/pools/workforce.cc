#include "master/pools/workforce.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace cq {

namespace {

/// How long a job may run before its worker connects. What runs before a worker may be long: a
/// container that is fetched, an environment on a slow file system.
constexpr Time kLaunchTimeout = std::chrono::minutes(10);

}  // namespace

Workforce::Workforce(const std::vector<PoolShare>& pools, bool warm) {
  for (const PoolShare& share : pools) {
    Member member(Scale({share.least.value_or(share.workers), share.workers, share.slots, warm}));
    if (share.least) member.idle_timeout = share.idle_timeout;
    member.pool = share.pool;
    member.workers = share.workers;
    member.at_most = share.at_most;
    members_.push_back(std::move(member));
    workers_ += share.workers;
  }
}

void Workforce::Open(const std::function<void(Word)>& say, int say_fd,
                     const std::function<bool(JournalRecord)>& write_durably) {
  for (size_t i = 0; i < members_.size(); ++i) {
    Pool::Callbacks callbacks;
    callbacks.event = [say, i](PoolEvent event) { say({i, std::move(event)}); };
    callbacks.event_fd = say_fd;
    callbacks.write_durably = write_durably;
    members_[i].pool->Open(std::move(callbacks));
    // Fewer than that are a matter of the work that there is.
    if (!members_[i].idle_timeout) Start(members_[i], members_[i].workers);
  }
}

void Workforce::Start(Member& member, unsigned workers) {
  member.supply.starting += workers;
  member.pool->Start(workers, member.supply.alive);
}

uint64_t Workforce::jobs() const {
  uint64_t jobs = 0;
  for (const Member& member : members_) jobs += member.supply.alive + member.supply.starting;
  return jobs;
}

uint64_t Workforce::pending() const {
  uint64_t pending = 0;
  for (const Member& member : members_) {
    pending += member.supply.pending.size() + member.unlisted + member.supply.starting;
  }
  return pending;
}

std::optional<std::string> Workforce::On(Time now, Word& word, Employer& core,
                                         RunObserver& observer, bool over) {
  Member& member = members_[word.pool];
  if (const auto* submitted = std::get_if<Submitted>(&word.event)) {
    return OnSubmitted(now, member, *submitted, observer);
  }
  if (const auto* query = std::get_if<QueryFailed>(&word.event)) {
    observer.Warning(fmt::format("the scheduler does not answer: {}", query->reason));
    pending_reason_ = query->reason;
    return std::nullopt;
  }
  if (const auto* notice = std::get_if<PoolNotice>(&word.event)) {
    observer.Warning(notice->text);
    return std::nullopt;
  }
  return OnStates(now, member, std::get<JobStates>(word.event), core, observer, over);
}

std::optional<std::string> Workforce::OnSubmitted(Time now, Member& member,
                                                  const Submitted& submitted,
                                                  RunObserver& observer) {
  member.supply.starting -= std::min<uint64_t>(member.supply.starting, submitted.wanted);
  member.supply.alive += submitted.workers;
  member.unlisted += submitted.workers;
  if (submitted.problem.empty()) {
    if (submitted.workers > 0) member.scale.OnAccepted();
    return std::nullopt;
  }
  last_death_ = submitted.problem;
  if (submitted.temporary) {
    const Time until = member.scale.OnRefused(now, submitted.wanted);
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(until - now).count();
    observer.Warning(fmt::format("{}; asked again in {} s", submitted.problem, seconds));
    return std::nullopt;
  }
  member.scale.Stop(submitted.problem);
  if (jobs() == 0) return submitted.problem;
  observer.Warning(submitted.problem);
  return std::nullopt;
}

std::optional<std::string> Workforce::OnStates(Time now, Member& member, const JobStates& states,
                                               Employer& core, RunObserver& observer, bool over) {
  member.supply.alive = 0;
  member.supply.pending.clear();
  member.unlisted = 0;
  member.scale.OnLook();
  pending_reason_ = states.waits;
  member.over = states.over;
  member.lends = states.slots;
  if (!states.over.empty()) last_death_ = states.over;
  if (!states.allocations.empty()) {
    core.OnLimit(states.allocations, states.limit.value_or(std::numeric_limits<uint64_t>::max()),
                 states.spared);
  }
  for (const JobState& job : states.jobs) {
    if (job.ended) continue;
    ++member.supply.alive;
    if (!job.pending) {
      member.started.insert(job.allocation);
      if (!over) LookForSilent(now, member, job, core, observer);
      continue;
    }
    member.supply.pending.push_back(job.allocation);
    if (!over) LookForHopeless(member, job, observer);
    // It ran before: its worker is gone, and no task has to answer for it.
    if (member.started.erase(job.allocation) > 0) {
      core.OnAllocationEnded(now, job.allocation, "its job was requeued", true);
    }
    if (job.reason != "None") pending_reason_ = job.reason;
  }
  if (!over) TellOfWaiting(now, member, states.waits, observer);
  for (const JobState& job : states.jobs) {
    if (!job.ended || over) continue;
    if (auto problem = OnEnded(now, member, job, core, observer)) return problem;
  }
  member.pool->Expect(std::any_of(
      states.jobs.begin(), states.jobs.end(),
      [&core](const JobState& job) { return !job.ended && !core.HasSession(job.allocation); }));
  return std::nullopt;
}

// Whoever has no slot for long is told why, once.
void Workforce::TellOfWaiting(Time now, Member& member, const std::string& waits,
                              RunObserver& observer) {
  constexpr Time kLong = std::chrono::seconds(10);
  if (waits.empty() || member.supply.alive > 0 || waits != member.waits) {
    member.waits = member.supply.alive > 0 ? "" : waits;
    member.waits_since = now;
    member.told = false;
  } else if (!member.told && now - member.waits_since >= kLong) {
    member.told = true;
    observer.Warning(waits);
  }
}

// One that runs and is not heard is no worker: its place is another's, after a while. If nobody is
// heard, it may be us whom nobody reaches.
void Workforce::LookForSilent(Time now, Member& member, const JobState& job, Employer& core,
                              RunObserver& observer) {
  if (core.IsConnected(job.allocation)) {
    member.unheard.erase(job.allocation);
    member.scale.OnConnected();
    return;
  }
  const Time since = member.unheard.try_emplace(job.allocation, now).first->second;
  const bool never = !core.HasSession(job.allocation);
  if (now - since < kLaunchTimeout || (!never && core.workers() == 0)) return;
  observer.Warning(
      fmt::format("{} runs, and its worker {} for {} min: it is ended", job.allocation,
                  never ? "has not connected" : "was not heard",
                  std::chrono::duration_cast<std::chrono::minutes>(now - since).count()));
  // Unless it ends, that is said again.
  member.unheard[job.allocation] = now;
  member.pool->EndJob(job.allocation);
}

void Workforce::LookForHopeless(Member& member, const JobState& job, RunObserver& observer) {
  if (!job.hopeless) {
    member.hopeless.erase(job.allocation);
    return;
  }
  if (++member.hopeless[job.allocation] != Scale::kLooks) return;
  last_death_ = fmt::format("{} can never start: {}", job.allocation, job.reason);
  member.scale.OnWithdrawn(job.allocation);
  member.pool->Withdraw({job.allocation});
  Stop(member, last_death_, observer);
}

void Workforce::Stop(Member& member, const std::string& reason, RunObserver& observer) {
  if (member.scale.stopped()) return;
  member.scale.Stop(reason);
  if (jobs() > 0) observer.Warning(fmt::format("no further worker is started: {}", reason));
}

std::optional<std::string> Workforce::OnEnded(Time now, Member& member, const JobState& job,
                                              Employer& core, RunObserver& observer) {
  const auto& traits = member.pool->traits();
  const bool connected = core.HasSession(job.allocation);
  const bool explained = Explains(job.ending);
  member.unheard.erase(job.allocation);
  member.hopeless.erase(job.allocation);
  if (!connected && member.scale.WasWithdrawn(job.allocation)) return std::nullopt;
  // What was lent goes back again and again, and workers leave that were told to.
  if (connected && ((traits.lends && explained) || job.ending == JobEnding::kLeft)) {
    core.OnAllocationEnded(now, job.allocation, job.reason, explained);
    return std::nullopt;
  }
  last_death_ =
      fmt::format("{}{}\n{}", job.reason, connected ? "" : " before it connected", job.log_tail);
  // The last one is told with the end of the run.
  if (!connected && jobs() > 0) observer.Warning(fmt::format("a worker was lost: {}", last_death_));
  core.OnAllocationEnded(now, job.allocation, job.reason, explained);
  if (core.draining()) return std::nullopt;
  if (!connected && !explained && !traits.lends) {
    member.scale.OnDeadLaunch(last_death_);
    return std::nullopt;
  }
  // Who ends all of them at once means it.
  if (job.ending == JobEnding::kCancelled && core.staying() == 0 && pending() == 0) {
    Stop(member, job.reason, observer);
  }
  // The cluster may take its machines back as often as it likes.
  if (explained && job.ending != JobEnding::kTimeLimit) return std::nullopt;
  // A replacement only as long as something gets done between the losses.
  const uint64_t done = core.progress();
  deaths_in_a_row_ = done == done_at_last_death_ ? deaths_in_a_row_ + 1 : 1;
  done_at_last_death_ = done;
  if (deaths_in_a_row_ > 3 * workers_ + 3) {
    return fmt::format("{} workers were lost in a row without a single result; the last: {}",
                       deaths_in_a_row_, last_death_);
  }
  return std::nullopt;
}

std::optional<std::string> Workforce::Problem(Employer& core, bool interrupted) const {
  const bool may_come = std::any_of(members_.begin(), members_.end(), [](const Member& member) {
    return member.pool->traits().lends ? member.over.empty() : !member.scale.stopped();
  });
  if (jobs() == 0 && core.workers() == 0 && !may_come && !interrupted) {
    return fmt::format("no worker is left{}",
                       last_death_.empty() ? "" : "; the last: " + last_death_);
  }
  // One that has not connected yet may still be a better one.
  const std::string problem = core.CommonProblem();
  if (!problem.empty() && core.workers() >= jobs()) {
    return fmt::format("no worker can take a task: {}", problem);
  }
  return std::nullopt;
}

void Workforce::Steer(Time now, Employer& core) {
  const Scale::Demand demand{core.demand(), core.mean_task_time()};
  for (Member& member : members_) {
    if (member.pool->traits().lends) {
      Lend(member, demand.tasks);
      continue;
    }
    if (core.draining()) continue;
    Scale::Step step = member.scale.Next(now, demand, member.supply);
    if (step.start > 0) Start(member, step.start);
    if (!step.withdraw.empty()) member.pool->Withdraw(std::move(step.withdraw));
    LetIdleGo(now, member, demand, core);
  }
}

// Those that run are never more than may be; they go as they have nothing to do for long.
void Workforce::LetIdleGo(Time now, Member& member, const Scale::Demand& demand, Employer& core) {
  if (!member.idle_timeout) return;
  uint64_t surplus = member.supply.alive + member.supply.starting;
  surplus -= std::min(surplus, member.scale.Least(demand));
  for (const std::string& allocation : core.Idle(now, *member.idle_timeout)) {
    if (surplus == 0) return;
    if (!member.started.contains(allocation)) continue;
    --surplus;
    core.OnDismissed(
        allocation,
        fmt::format("it had nothing to do for {} s",
                    std::chrono::ceil<std::chrono::seconds>(*member.idle_timeout).count()));
  }
}

// For how many workers there is work.
void Workforce::Lend(Member& member, uint64_t workers) {
  // Beyond what it may have at most, the number is all the same to it.
  const uint64_t most =
      member.at_most ? member.workers : std::max<uint64_t>(member.workers, member.lends);
  const uint64_t wanted = std::min(workers, most);
  if (std::exchange(member.wanted, wanted) != wanted) member.pool->Want(wanted);
}

bool Workforce::outlives() const {
  return std::all_of(members_.begin(), members_.end(),
                     [](const Member& member) { return member.pool->traits().outlives_master; });
}

void Workforce::PollSoon() {
  for (const Member& member : members_) member.pool->PollSoon();
}

void Workforce::EndSilent(const std::string& allocation) {
  for (const Member& member : members_) member.pool->EndSilent(allocation);
}

bool Workforce::Avoid(const std::string& host) {
  bool elsewhere = false;
  for (const Member& member : members_) {
    if (member.pool->traits().same_host && !member.pool->traits().lends) continue;
    elsewhere = true;
    member.pool->Avoid(host);
  }
  return elsewhere;
}

void Workforce::Close(Pool::End how) {
  for (const Member& member : members_) member.pool->Close(how);
}

std::string Workforce::Wait() {
  std::string left;
  for (const Member& member : members_) {
    const std::string one = member.pool->Wait();
    if (!one.empty()) left += (left.empty() ? "" : "; ") + one;
  }
  return left;
}

}  // namespace cq
