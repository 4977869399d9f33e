#include "master/pools/workforce.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "base/files.h"
#include "cq/error.h"

namespace cq {

namespace {

/// So many times the launch time-out.
constexpr int kUnreached = 3;
constexpr size_t kFew = 256;
constexpr Time kLookEvery = std::chrono::milliseconds(100);

Blame BlameOf(JobEnding ending) {
  if (Explains(ending)) return Blame::kNobody;
  return ending == JobEnding::kMemory ? Blame::kMemory : Blame::kFinal;
}

}  // namespace

Workforce::Workforce(const std::vector<PoolShare>& pools, bool open) {
  for (const PoolShare& share : pools) {
    Member member(Scale({share.least.value_or(share.workers), share.workers, share.slots, open}));
    member.slots = share.slots;
    member.name = share.name;
    member.idle_timeout_asked = share.idle_timeout;
    member.launch_timeout = share.launch_timeout;
    if (share.divided) member.divided_among = share.workers;
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
    WorkerSource::Callbacks callbacks;
    callbacks.event = [say, i](PoolEvent event) { say({i, std::move(event)}); };
    callbacks.event_fd = say_fd;
    callbacks.write_durably = write_durably;
    members_[i].pool->Open(std::move(callbacks));
    // Fewer than that are a matter of the work that there is.
    if (!members_[i].idle_timeout) Start(members_[i], members_[i].workers);
  }
}

void Workforce::Start(Member& member, unsigned workers) {
  // Processes of this machine, a few at a time: between two of these other bounds, or the end, are
  // heard.
  constexpr unsigned kAtOnce = 64;
  if (member.pool->traits().same_host) workers = std::min(workers, kAtOnce);
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
  began_ = began_ || submitted.workers > 0;
  member.unlisted += submitted.workers;
  if (submitted.problem.empty()) {
    if (submitted.workers > 0) member.scale.OnAccepted();
    return std::nullopt;
  }
  last_death_ = submitted.problem;
  // Where nothing has ever come of it, that is no hiccup.
  const bool uncertain = submitted.refusal == Submitted::Refusal::kUncertain;
  if ((uncertain && began_) || submitted.refusal == Submitted::Refusal::kForNow) {
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
  member.reasons.clear();
  member.unlisted = 0;
  pending_reason_ = states.terms.waits;
  member.over = states.terms.over;
  member.lends = states.terms.slots;
  if (!states.terms.over.empty()) last_death_ = states.terms.over;
  if (!states.terms.allocations.empty()) {
    core.OnLimit(states.terms.allocations,
                 states.terms.limit.value_or(std::numeric_limits<uint64_t>::max()),
                 states.terms.spared);
  }
  for (const WorkerJob& job : states.jobs) {
    if (job.ended()) continue;
    began_ = true;
    ++member.supply.alive;
    Life& life = member.lives[job.allocation];
    if (!job.waits()) {
      life.started = true;
      if (job.time) core.OnTimeLeft(now, job.allocation, job.time->left, job.time->all);
      if (!over) LookForSilent(now, member, job, core, observer);
      continue;
    }
    member.supply.pending.push_back(job.allocation);
    ++member.reasons[job.reason];
    life.unheard.reset();
    // It ran before: its worker is gone, and no task has to answer for it.
    if (std::exchange(life.started, false)) {
      core.OnAllocationEnded(now, job.allocation, "its job was requeued", Blame::kNobody);
    }
    if (job.reason != "None") pending_reason_ = job.reason;
  }
  for (const std::string& allocation : states.terms.leaving) {
    // One that has not said hello is told at a later look.
    if (member.lives.contains(allocation) && core.HasSession(allocation)) {
      LetGo(member, allocation, "the worker of the pool that it is on leaves", core);
    }
  }
  if (!over) LookForHopeless(now, member, states.jobs, observer);
  if (!over) TellOfWaiting(now, member, states.terms.waits, observer);
  for (const WorkerJob& job : states.jobs) {
    if (!job.ended() || over) continue;
    const std::string& last_words = states.last_words.at(job.allocation);
    if (auto problem = OnEnded(now, member, job, last_words, core, observer)) return problem;
  }
  member.pool->Expect(std::any_of(
      states.jobs.begin(), states.jobs.end(),
      [&core](const WorkerJob& job) { return !job.ended() && !core.HasSession(job.allocation); }));
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
// heard, it may be us whom nobody reaches: that may take longer, and not for ever.
void Workforce::LookForSilent(Time now, Member& member, const WorkerJob& job, Employer& core,
                              RunObserver& observer) {
  Life& life = member.lives[job.allocation];
  if (core.IsConnected(job.allocation)) {
    life.unheard.reset();
    if (!std::exchange(life.connected, true)) member.scale.OnConnected();
    return;
  }
  if (!life.unheard) life.unheard = now;
  const Time silence = now - *life.unheard;
  const bool never = !core.HasSession(job.allocation) && !life.connected;
  const bool nobody = !never && core.workers() == 0;
  if (silence < member.launch_timeout * (nobody ? kUnreached : 1)) return;
  observer.Warning(fmt::format("{} runs, and its worker {} for {} min: it is ended", job.allocation,
                               never ? "has not connected" : "was not heard",
                               std::chrono::duration_cast<std::chrono::minutes>(silence).count()));
  // Unless it ends, that is said again.
  life.unheard = now;
  life.given_up = true;
  member.pool->EndJob(job.allocation);
}

void Workforce::LookForHopeless(Time now, Member& member, const std::vector<WorkerJob>& jobs,
                                RunObserver& observer) {
  std::vector<std::string> hopeless;
  for (const WorkerJob& job : jobs) {
    if (job.ended()) continue;
    auto& since = member.lives[job.allocation].hopeless;
    if (job.state != WorkerJob::State::kHopeless) {
      since.reset();
      continue;
    }
    if (!since) since = now;
    if (now - *since < Scale::kSteady) continue;
    // Unless it is taken back, that is tried again.
    since = now;
    hopeless.push_back(job.allocation);
    member.scale.OnWithdrawn(job.allocation);
    last_death_ = fmt::format("{} can never start: {}", job.allocation, job.reason);
  }
  if (hopeless.empty()) return;
  member.pool->Withdraw(std::move(hopeless));
  Stop(member, last_death_, observer);
}

void Workforce::Stop(Member& member, const std::string& reason, RunObserver& observer) {
  if (member.scale.stopped()) return;
  member.scale.Stop(reason);
  if (jobs() > 0) observer.Warning(fmt::format("no further worker is started: {}", reason));
}

std::optional<std::string> Workforce::OnEnded(Time now, Member& member, const WorkerJob& job,
                                              const std::string& last_words, Employer& core,
                                              RunObserver& observer) {
  const Life life = std::exchange(member.lives[job.allocation], {});
  member.lives.erase(job.allocation);
  if (life.dismissed) --member.leaving;
  const bool lends = member.pool->traits().lends;
  const bool connected = core.HasSession(job.allocation) || life.connected;
  const bool explained = Explains(job.ending);
  // It is cancelled, or nobody knows it any more. One that had started was left alone.
  const bool withdrawn = member.scale.WasWithdrawn(job.allocation) &&
                         (!connected || job.ending == JobEnding::kCancelled);
  // What was lent goes back again and again; what ended under an earlier master is no news.
  const bool old = job.state == WorkerJob::State::kOver;
  if (life.dismissed || withdrawn || old || (lends && explained && connected)) {
    core.OnAllocationEnded(now, job.allocation, job.reason, BlameOf(job.ending));
    return std::nullopt;
  }
  last_death_ =
      fmt::format("{}{}\n{}", job.reason, connected ? "" : " before it connected", last_words);
  // The last one is told with the end of the run.
  if (!connected && jobs() > 0) observer.Warning(fmt::format("a worker was lost: {}", last_death_));
  core.OnAllocationEnded(now, job.allocation, job.reason, BlameOf(job.ending));
  if (core.draining()) return std::nullopt;
  if (!connected && (!explained || life.given_up) && !lends) {
    member.scale.OnDeadLaunch(now, last_death_, core.workers() > 0);
    return std::nullopt;
  }
  // Who ends all of them at once means it.
  if (job.ending == JobEnding::kCancelled && !life.given_up && core.staying() == 0 &&
      pending() == 0) {
    Stop(member, job.reason, observer);
  }
  // The cluster may take its machines back as often as it likes; and who had nothing to do has not
  // failed to do it.
  const bool idle = Nothing(core);
  if (explained && (idle || job.ending != JobEnding::kTimeLimit)) return std::nullopt;
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
    const SchedulerTraits& traits = member.pool->traits();
    return traits.by_hand || (traits.lends ? member.over.empty() : !member.scale.stopped());
  });
  if (jobs() == 0 && core.workers() == 0 && !may_come && !interrupted) {
    std::string text = "no worker is left";
    if (!last_death_.empty()) text += "; the last: " + last_death_;
    for (const Member& member : members_) {
      const auto& why = member.scale.stopped();
      if (why && last_death_.find(*why) == std::string::npos) {
        text += fmt::format("; no other was started: {}", *why);
      }
    }
    return text;
  }
  const bool by_hand = std::any_of(members_.begin(), members_.end(), [](const Member& member) {
    return member.pool->traits().by_hand;
  });
  // One that has not connected yet may still be a better one.
  if (by_hand) return std::nullopt;
  const std::string problem = core.CommonProblem();
  if (!problem.empty() && core.workers() >= jobs()) {
    return fmt::format("no worker can take a task: {}", problem);
  }
  return std::nullopt;
}

// There is no work for anybody.
bool Workforce::Nothing(Employer& core) const {
  for (size_t i = 0; i < members_.size(); ++i) {
    if (core.demand(i).tasks > 0) return false;
  }
  return true;
}

// What the others of the pools can do is none of its work.
Scale::Demand Workforce::DemandOf(size_t pool, Employer& core) const {
  const WorkLeft left = core.demand(pool);
  uint64_t elsewhere = 0;
  for (const size_t other : left.with) {
    if (other == pool) continue;
    for (const auto& [allocation, life] : members_[other].lives) {
      elsewhere += life.connected ? members_[other].slots : 0;
    }
  }
  return {left.slots - std::min(left.shared, elsewhere), left.mean};
}

void Workforce::Steer(Time now, Employer& core) {
  for (size_t i = 0; i < members_.size(); ++i) {
    Member& member = members_[i];
    if (member.pool->traits().lends) {
      Lend(member, core.demand(i).slots);
      continue;
    }
    const bool closed = member.scale.stopped().has_value();
    if (std::exchange(member.closed, closed) != closed) core.OnPool(i, closed);
    if (core.draining()) continue;
    const Scale::Demand demand = DemandOf(i, core);
    const uint64_t gone = member.resized ? std::min(member.supply.alive, member.leaving) : 0;
    member.supply.alive -= gone;
    Scale::Step step = member.scale.Next(now, demand, member.supply);
    member.supply.alive += gone;
    if (step.start > 0) Start(member, step.start);
    if (!step.withdraw.empty()) member.pool->Withdraw(std::move(step.withdraw));
    LetSomeGo(now, member, demand, core);
  }
}

// Of more than may be, those with least to do; and who has nothing to do for long, but not who
// would be missed at once.
void Workforce::LetSomeGo(Time now, Member& member, const Scale::Demand& demand, Employer& core) {
  // Of thousands that takes a while: not at every turn.
  if (member.looked && member.lives.size() > kFew && now - *member.looked < kLookEvery) return;
  member.looked = now;
  const uint64_t leaving = member.leaving;
  const uint64_t there = member.supply.alive + member.supply.starting;
  const uint64_t running = member.supply.alive - member.supply.pending.size() - member.unlisted;
  const uint64_t most = member.scale.bounds().max;
  if (running > most + leaving) {
    uint64_t beyond = running - most - leaving;
    for (const std::string& allocation : core.Emptiest()) {
      if (beyond == 0 || !member.lives.contains(allocation)) continue;
      --beyond;
      LetGo(member, allocation, fmt::format("{} workers are enough", most), core);
    }
    return;
  }
  if (!member.idle_timeout) return;
  uint64_t surplus = there;
  const uint64_t needed = member.scale.Wanted(demand) + leaving;
  surplus -= std::min(surplus, needed);
  if (surplus == 0) return;
  const double limit = std::chrono::duration<double>(*member.idle_timeout).count();
  for (const std::string& allocation : core.Idle(now, *member.idle_timeout)) {
    if (surplus == 0) return;
    const auto life = member.lives.find(allocation);
    if (life == member.lives.end() || life->second.dismissed) continue;
    --surplus;
    LetGo(member, allocation, fmt::format("it had nothing to do for {:g} s", limit), core);
  }
}

void Workforce::LetGo(Member& member, const std::string& allocation, const std::string& reason,
                      Employer& core) {
  if (std::exchange(member.lives[allocation].dismissed, true)) return;
  ++member.leaving;
  core.OnDismissed(allocation, reason);
}

std::vector<PoolView> Workforce::Look() const {
  std::vector<PoolView> views;
  for (const Member& member : members_) {
    PoolView view;
    view.name = member.name;
    view.scheduler = member.pool->scheduler();
    view.most = member.workers;
    view.least = member.idle_timeout ? member.scale.bounds().min : member.workers;
    view.alive = member.supply.alive + member.supply.starting;
    view.pending = member.reasons;
    const uint64_t asked = member.unlisted + member.supply.starting;
    if (asked > 0) view.pending["being submitted"] += asked;
    view.stopped = member.scale.stopped().value_or(member.over);
    views.push_back(std::move(view));
  }
  return views;
}

std::string Workforce::Resize(const std::string& pool, uint64_t least, uint64_t most) {
  constexpr uint64_t kMost = 1'000'000;
  if (most == 0 || most > kMost || least > most) {
    return fmt::format("{} to {} workers: it must be MIN:MAX, and MAX from 1 to {}", least, most,
                       kMost);
  }
  std::string names;
  for (const Member& one : members_) names += (names.empty() ? "'" : ", '") + one.name + "'";
  if (pool.empty() && members_.size() > 1) {
    return fmt::format("it has several pools: --pool says which one, of {}", names);
  }
  const auto member = std::find_if(members_.begin(), members_.end(), [&](const Member& one) {
    return pool.empty() || one.name == pool;
  });
  if (member == members_.end()) return fmt::format("it has no pool '{}', it has {}", pool, names);
  if (member->pool->traits().by_hand) {
    return "its workers are started by hand: cq worker --connect, as often as you like";
  }
  if (member->pool->traits().lends && least < most) {
    return "of a pool's slots it has as many as it can use: -w N says how many at most";
  }
  if (member->divided_among && most > *member->divided_among) {
    return fmt::format(
        "its workers share what this machine has, each a {}th: more would give it away twice; 'cq "
        "resume' with another -w divides it anew",
        *member->divided_among);
  }
  const uint64_t others = workers_ - member->workers;
  try {
    RequireDescriptors(kDescriptorsOfWorker * (others + most), "fewer workers");
  } catch (const Error& error) {
    return error.what();
  }
  if (member->pool->traits().lends) member->at_most = true;
  workers_ = others + most;
  member->workers = static_cast<unsigned>(most);
  member->resized = true;
  member->idle_timeout.reset();
  if (least < most) member->idle_timeout = member->idle_timeout_asked;
  member->scale.SetBounds(static_cast<unsigned>(least), static_cast<unsigned>(most));
  return {};
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
  return std::all_of(members_.begin(), members_.end(), [](const Member& member) {
    const SchedulerTraits& traits = member.pool->traits();
    return traits.outlives_master || traits.by_hand;
  });
}

void Workforce::PollSoon() {
  for (const Member& member : members_) member.pool->PollSoon();
}

void Workforce::EndSilent(const std::string& allocation) {
  for (const Member& member : members_) member.pool->EndSilent(allocation);
}

bool Workforce::Avoid(const std::string& host) {
  const auto here = [](const Member& member) {
    return member.pool->traits().same_host && !member.pool->traits().lends;
  };
  const bool elsewhere = !std::all_of(members_.begin(), members_.end(), here);
  for (Member& member : members_) {
    if (!here(member)) {
      member.pool->Avoid(host);
    } else if (elsewhere) {
      member.scale.Stop(fmt::format("tasks fail on {}, and elsewhere they do not", host));
    }
  }
  return elsewhere;
}

void Workforce::Close(WorkerSource::End how) {
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
