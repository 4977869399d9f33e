#include "master/pools/workforce.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace cq {

Workforce::Workforce(const std::vector<PoolShare>& pools) {
  for (const PoolShare& share : pools) {
    Member member;
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
    Start(members_[i], members_[i].workers);
  }
}

void Workforce::Start(Member& member, unsigned workers) {
  member.starting += workers;
  member.pool->Start(workers);
}

uint64_t Workforce::jobs() const {
  uint64_t jobs = 0;
  for (const Member& member : members_) jobs += member.alive + member.starting;
  return jobs;
}

uint64_t Workforce::pending() const {
  uint64_t pending = 0;
  for (const Member& member : members_) pending += member.pending + member.starting;
  return pending;
}

std::optional<std::string> Workforce::On(Time now, Word& word, Employer& core,
                                         RunObserver& observer, bool over) {
  Member& member = members_[word.pool];
  if (const auto* submitted = std::get_if<Submitted>(&word.event)) {
    return OnSubmitted(member, *submitted, observer);
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

std::optional<std::string> Workforce::OnSubmitted(Member& member, const Submitted& submitted,
                                                  RunObserver& observer) {
  member.starting -= std::min<uint64_t>(member.starting, submitted.wanted);
  member.alive += submitted.workers;
  member.pending += submitted.workers;
  if (submitted.problem.empty()) return std::nullopt;
  last_death_ = submitted.problem;
  if (jobs() == 0) return submitted.problem;
  observer.Warning(submitted.problem);
  return std::nullopt;
}

std::optional<std::string> Workforce::OnStates(Time now, Member& member, const JobStates& states,
                                               Employer& core, RunObserver& observer, bool over) {
  member.alive = 0;
  member.pending = 0;
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
    ++member.alive;
    if (!job.pending) {
      member.started.insert(job.allocation);
      continue;
    }
    ++member.pending;
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
  if (waits.empty() || member.alive > 0 || waits != member.waits) {
    member.waits = member.alive > 0 ? "" : waits;
    member.waits_since = now;
    member.told = false;
  } else if (!member.told && now - member.waits_since >= kLong) {
    member.told = true;
    observer.Warning(waits);
  }
}

std::optional<std::string> Workforce::OnEnded(Time now, Member& member, const JobState& job,
                                              Employer& core, RunObserver& observer) {
  const auto& traits = member.pool->traits();
  const bool connected = core.HasSession(job.allocation);
  if (traits.lends && job.explained && connected) {
    // What was lent goes back again and again.
    core.OnAllocationEnded(now, job.allocation, job.reason, true);
    return std::nullopt;
  }
  last_death_ =
      fmt::format("{}{}\n{}", job.reason, connected ? "" : " before it connected", job.log_tail);
  // The last one is told with the end of the run.
  if (!connected && jobs() > 0) observer.Warning(fmt::format("a worker was lost: {}", last_death_));
  core.OnAllocationEnded(now, job.allocation, job.reason, job.explained);
  if ((!traits.lends && !traits.replaces) || core.draining()) return std::nullopt;
  // A replacement only as long as something gets done between the losses.
  const uint64_t done = core.progress();
  deaths_in_a_row_ = done == done_at_last_death_ ? deaths_in_a_row_ + 1 : 1;
  done_at_last_death_ = done;
  if (deaths_in_a_row_ > 3 * workers_ + 3) {
    return fmt::format("{} workers were lost in a row without a single result; the last: {}",
                       deaths_in_a_row_, last_death_);
  }
  if (traits.replaces) Start(member, 1);
  return std::nullopt;
}

std::optional<std::string> Workforce::Problem(Employer& core, bool interrupted) const {
  const bool may_come = std::any_of(members_.begin(), members_.end(), [](const Member& member) {
    return member.pool->traits().lends && member.over.empty();
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

void Workforce::Want(uint64_t workers) {
  for (Member& member : members_) {
    if (!member.pool->traits().lends) continue;
    // Beyond what it may have at most, the number is all the same to it.
    const uint64_t most =
        member.at_most ? member.workers : std::max<uint64_t>(member.workers, member.lends);
    const uint64_t wanted = std::min(workers, most);
    if (std::exchange(member.wanted, wanted) != wanted) member.pool->Want(wanted);
  }
}

bool Workforce::outlives() const {
  return std::all_of(members_.begin(), members_.end(),
                     [](const Member& member) { return member.pool->traits().outlives_master; });
}

void Workforce::PollSoon() {
  for (const Member& member : members_) member.pool->PollSoon();
}

void Workforce::EndJob(const std::string& allocation) {
  for (const Member& member : members_) member.pool->EndJob(allocation);
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
