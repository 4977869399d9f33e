#include "master/pools/pool.h"

#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "base/files.h"
#include "cq/error.h"
#include "protocol/limits.h"
#include "schedulers/registry.h"
#include "schedulers/scheduler.h"

namespace cq {
namespace {

constexpr std::chrono::seconds kLateEvery{1};
constexpr const char* kMayStillCome =
    "a submission that an earlier master was making may still come: waiting for it, a minute at "
    "most";

LeftSubmission LeftOf(const OpenAllocation& open) {
  return {open.token, open.job, static_cast<unsigned>(open.workers), open.allocations, open.age};
}

std::string MakeToken() {
  std::random_device random;
  return fmt::format("cq-{:08x}{:08x}", random(), random());
}

WorkerLaunch LaunchOf(const PoolOptions& options) {
  WorkerLaunch launch;
  launch.program = options.program;
  launch.connection_file = options.run_dir + "/connect.json";
  launch.run_dir = options.run_dir;
  launch.log_dir = options.run_dir + "/logs";
  launch.slots = options.slots;
  if (options.named) launch.pool = options.name;
  launch.first_number = options.first_number;
  launch.worker_init = options.worker_init;
  launch.set = options.template_values;
  launch.priority = options.priority;
  if (options.template_file.empty()) return launch;
  try {
    launch.template_text = ReadStream(options.template_file);
  } catch (const Error& error) {
    throw UsageError(fmt::format("--template: {}", error.what()));
  }
  launch.template_name = options.template_file;
  if (launch.template_text.empty()) {
    throw UsageError(fmt::format("--template: '{}' is empty", options.template_file));
  }
  return launch;
}

std::unique_ptr<Scheduler> CheckedScheduler(const PoolOptions& options) {
  const bool by_hand = TraitsOf(options.scheduler).by_hand;
  if ((options.workers == 0 && !by_hand) || options.slots == 0) {
    throw UsageError("--workers and --slots are at least 1");
  }
  if (options.slots > kSlotsMax) {
    throw UsageError(fmt::format("--slots {}: at most {}", options.slots, kSlotsMax));
  }
  return MakeScheduler(options.scheduler, LaunchOf(options));
}

}  // namespace

Pool::Pool(const PoolOptions& options)
    : scheduler_(CheckedScheduler(options)),
      name_(options.scheduler),
      traits_(TraitsOf(options.scheduler)),
      place_(options.place),
      closing_(eventfd(0, EFD_CLOEXEC)) {
  if (!closing_) throw Error("the system has no descriptor left for a pool of workers");
  scheduler_->HurryAt(closing_.get());
}

bool CancelAllocation(OpenAllocation left, const std::string& run_dir,
                      const std::function<void(const std::string&)>& say) {
  PoolOptions options;
  options.scheduler = left.scheduler;
  options.run_dir = run_dir;
  std::unique_ptr<Scheduler> made;
  try {
    if (!TraitsOf(left.scheduler).outlives_master) return false;
    made = MakeScheduler(left.scheduler, LaunchOf(options));
  } catch (const UsageError&) {
    // Of a pool that there is not any more: what still lives there leaves by itself.
    return false;
  }
  left.workers = 1;
  auto adopted = made->Adopt(LeftOf(left));
  if (adopted == Scheduler::Adopted::kUnknown) say(kMayStillCome);
  while (adopted == Scheduler::Adopted::kUnknown) {
    std::this_thread::sleep_for(kLateEvery);
    left.age += kLateEvery;
    adopted = made->Adopt(LeftOf(left));
  }
  if (adopted == Scheduler::Adopted::kGone) return false;
  made->CancelAll();
  return true;
}

std::string Pool::allocations() const { return scheduler_->Terms().allocations; }

std::string Pool::Script(unsigned workers) const { return scheduler_->Script(workers); }

Pool::~Pool() {
  Close(End::kNow);
  Wait();
}

bool Pool::ControllerAtLoopback() { return scheduler_->ControllerAtLoopback(); }

void Pool::HoldOpen(int fd) { scheduler_->HoldOpen(fd); }

void Pool::KeepDescriptorLimit(uint64_t limit) { scheduler_->KeepDescriptorLimit(limit); }

void Pool::Open(Callbacks callbacks) {
  callbacks_ = std::move(callbacks);
  thread_ = std::thread([this] { Work(); });
}

void Pool::Start(unsigned workers, uint64_t known) { commands_.Put(StartCommand{workers, known}); }

void Pool::Adopt(OpenAllocation left) { commands_.Put(AdoptCommand{std::move(left)}); }

void Pool::PollSoon() { commands_.Put(PollCommand{}); }

void Pool::Want(uint64_t workers) { commands_.Put(WantCommand{workers}); }

void Pool::EndSilent(const std::string& allocation) {
  if (traits_.ends_silent || traits_.lends) EndJob(allocation);
}

void Pool::EndJob(const std::string& allocation) { commands_.Put(EndCommand{allocation}); }

void Pool::Withdraw(std::vector<std::string> allocations) {
  commands_.Put(WithdrawCommand{std::move(allocations)});
}

void Pool::Avoid(const std::string& host) { commands_.Put(AvoidCommand{host}); }

void Pool::Close(End how) {
  commands_.Put(CloseCommand{how});
  // What is to stay is submitted in its own time.
  if (how != End::kStay) eventfd_write(closing_.get(), 1);
}

std::string Pool::Wait() {
  if (thread_.joinable()) thread_.join();
  return std::exchange(close_error_, {});
}

// What did not succeed shows in the states of the jobs; why, the user is told.
template <class F>
void Pool::Try(const F& order) {
  try {
    order();
  } catch (const Error& error) {
    callbacks_.event(PoolNotice{error.what()});
  }
}

// Soon after something changed, then ever less often, up to what the scheduler wants.
void Pool::WaitForWork() {
  const bool young = any_pending_ || expecting_ ||
                     std::chrono::steady_clock::now() - changed_ < std::chrono::minutes(2);
  const auto soon = std::chrono::milliseconds(1000u << std::min(polls_unchanged_, 6u));
  auto interval = std::min(scheduler_->PollInterval(young), soon);
  if (!late_.empty()) interval = std::min<std::chrono::milliseconds>(interval, kLateEvery);
  std::vector<pollfd> fds{{commands_.fd(), POLLIN, 0}};
  for (const int fd : scheduler_->WatchFds()) fds.push_back({fd, POLLIN, 0});
  poll(fds.data(), fds.size(), static_cast<int>(interval.count()));
}

// Whoever knocks at the master's port takes descriptors, too: the pipes of a scheduler's commands
// have a table of their own, with nothing in it that others mean to close. Where the system does
// not allow that, they share.
void Pool::KeepOwnDescriptors() const {
  if (unshare(CLONE_FILES) != 0) return;
  std::vector<int> kept{2, commands_.fd(), callbacks_.event_fd, closing_.get()};
  std::sort(kept.begin(), kept.end());
  for (size_t i = 0; i < kept.size(); ++i) {
    const unsigned first = static_cast<unsigned>(kept[i]) + 1;
    const unsigned last = i + 1 < kept.size() ? static_cast<unsigned>(kept[i + 1]) - 1 : ~0u;
    if (first <= last) close_range(first, last, 0);
  }
}

void Pool::Work() {
  // Local workers' descriptors are closed by another thread.
  if (traits_.outlives_master) KeepOwnDescriptors();
  for (;;) {
    WaitForWork();
    for (const Command& command : commands_.TakeAll()) {
      if (const auto* start = std::get_if<StartCommand>(&command)) {
        Bring(*start);
      } else if (const auto* adopt = std::get_if<AdoptCommand>(&command)) {
        if (!TakeOver(adopt->left)) {
          if (late_.empty()) callbacks_.event(PoolNotice{kMayStillCome});
          late_.push_back({adopt->left, std::chrono::steady_clock::now()});
        }
      } else if (std::holds_alternative<PollCommand>(command)) {
        // Something happened to its workers: the scheduler may know of it a little later only.
        changed_ = std::chrono::steady_clock::now();
        polls_unchanged_ = 0;
      } else if (const auto* end = std::get_if<EndCommand>(&command)) {
        Try([&] { scheduler_->End(end->allocation); });
      } else if (const auto* withdraw = std::get_if<WithdrawCommand>(&command)) {
        Try([&] { scheduler_->Withdraw(withdraw->allocations); });
        polls_unchanged_ = 0;
      } else if (const auto* want = std::get_if<WantCommand>(&command)) {
        scheduler_->Want(want->workers);
      } else if (const auto* avoid = std::get_if<AvoidCommand>(&command)) {
        scheduler_->Avoid(avoid->host);
      } else if (const auto* close = std::get_if<CloseCommand>(&command)) {
        if (close->how == End::kStay && traits_.outlives_master) return scheduler_->LetGo();
        // Its workers may have come and done all that there was.
        TakeOverLateOnes();
        try {
          close->how == End::kTold ? scheduler_->Finish() : scheduler_->CancelAll();
        } catch (const Error& error) {
          close_error_ = error.what();
        }
        for (const Uncertain& uncertain : uncertain_) {
          try {
            scheduler_->CancelSubmission(uncertain.token);
          } catch (const Error& error) {
            close_error_ = error.what();
          }
        }
        // What could not be cancelled is still there for `cq cancel`.
        if (traits_.outlives_master && close_error_.empty()) {
          for (const std::string& token : tokens_) {
            const bool uncertain =
                std::any_of(uncertain_.begin(), uncertain_.end(),
                            [&](const Uncertain& one) { return one.token == token; });
            if (uncertain) continue;
            callbacks_.write_durably(cq::AllocationEnded{token});
          }
        }
        return;
      }
    }
    TakeOverLateOnes();
    if (deferred_.workers > 0 && late_.empty()) {
      Bring(std::exchange(deferred_, {}));
    } else {
      Report();
    }
  }
}

bool Pool::TakeOver(const OpenAllocation& left) {
  try {
    switch (scheduler_->Adopt(LeftOf(left))) {
      case Scheduler::Adopted::kYes:
        tokens_.push_back(left.token);
        adopted_ = true;
        changed_ = std::chrono::steady_clock::now();
        return true;
      case Scheduler::Adopted::kGone:
        callbacks_.write_durably(cq::AllocationEnded{left.token});
        return true;
      case Scheduler::Adopted::kUnknown:
        return false;
    }
  } catch (const Error& error) {
    if (++failed_adoptions_ == 3) callbacks_.event(QueryFailed{error.what()});
  }
  return false;
}

void Pool::TakeOverLateOnes() {
  const auto now = std::chrono::steady_clock::now();
  std::erase_if(late_, [&](const Late& late) {
    OpenAllocation left = late.left;
    left.age += std::chrono::duration_cast<std::chrono::seconds>(now - late.asked);
    return TakeOver(left);
  });
}

// While nobody knows how many of the adopted ones live, nothing is submitted beside them.
void Pool::Bring(StartCommand start) {
  const unsigned workers = start.workers;
  std::optional<unsigned> alive = 0;
  if (late_.empty() && adopted_) alive = Report();
  if (!late_.empty() || !alive) {
    deferred_ = {deferred_.workers + workers, start.known};
    return;
  }
  const bool adopted = std::exchange(adopted_, false);
  const uint64_t news = adopted && *alive > start.known ? *alive - start.known : 0;
  unsigned left = workers - static_cast<unsigned>(std::min<uint64_t>(workers, news));
  unsigned wanted = workers;
  const unsigned most = left > 1 ? scheduler_->AtOnce() : 1;
  for (; left > most; left -= most, wanted -= most) {
    if (Submit(most, most)) continue;
    // The others are not even asked for.
    callbacks_.event(Submitted{wanted - most, 0, {}});
    return;
  }
  Submit(wanted, left);
}

// Whether something came of submissions that were not answered, or may come yet: nothing is
// submitted beside it.
Pool::Uncertainty Pool::AskAboutUncertain() {
  bool came = false;
  std::erase_if(uncertain_, [&](const Uncertain& one) {
    const auto age = std::chrono::duration_cast<std::chrono::seconds>(
        std::chrono::steady_clock::now() - one.asked);
    try {
      const auto adopted = scheduler_->Adopt({one.token, {}, one.workers, {}, age});
      came = came || adopted == Scheduler::Adopted::kYes;
      return adopted != Scheduler::Adopted::kUnknown;
    } catch (const Error&) {
      return false;
    }
  });
  if (!uncertain_.empty()) return Uncertainty::kMayCome;
  return came ? Uncertainty::kCame : Uncertainty::kNone;
}

// The intent is durable before the submission is made and the id after: a master that dies between
// the two finds its job again by the token.
bool Pool::Submit(unsigned wanted, unsigned workers) {
  if (workers == 0) {
    callbacks_.event(Submitted{wanted, 0, {}});
    return true;
  }
  switch (AskAboutUncertain()) {
    case Uncertainty::kNone:
      break;
    case Uncertainty::kCame:
      // They are told of first.
      Report();
      callbacks_.event(Submitted{wanted, 0, {}});
      return false;
    case Uncertainty::kMayCome:
      callbacks_.event(Submitted{wanted, 0,
                                 "the scheduler has not said what became of the last submission",
                                 Submitted::Refusal::kForNow});
      return false;
  }
  const bool outlives = traits_.outlives_master;
  const std::string token = MakeToken();
  if (outlives && !callbacks_.write_durably(AllocationIntent{token, name_, place_, workers})) {
    return false;
  }
  tokens_.push_back(token);
  try {
    const std::string job = scheduler_->Submit(workers, token);
    changed_ = std::chrono::steady_clock::now();
    polls_unchanged_ = 0;
    if (outlives) callbacks_.write_durably(AllocationSubmitted{token, job});
  } catch (const UncertainSubmission& error) {
    uncertain_.push_back({token, workers, std::chrono::steady_clock::now()});
    callbacks_.event(Submitted{wanted, 0, error.what(), Submitted::Refusal::kUncertain});
    return false;
  } catch (const Error& error) {
    tokens_.pop_back();
    if (outlives) callbacks_.write_durably(cq::AllocationEnded{token});
    const bool temporary = dynamic_cast<const TemporaryRefusal*>(&error) != nullptr;
    callbacks_.event(
        Submitted{wanted, 0, error.what(),
                  temporary ? Submitted::Refusal::kForNow : Submitted::Refusal::kForGood});
    return false;
  }
  // What is lent comes when it comes.
  callbacks_.event(Submitted{wanted, traits_.lends ? 0 : workers, {}});
  return true;
}

std::optional<unsigned> Pool::Report() {
  JobStates states;
  try {
    states.jobs = scheduler_->Poll();
    failed_queries_ = 0;
  } catch (const Error& error) {
    // A query that failed says nothing about the workers; the next one will.
    if (++failed_queries_ == 3) callbacks_.event(QueryFailed{error.what()});
    return std::nullopt;
  }
  std::vector<std::pair<std::string, std::string>> now;
  any_pending_ = false;
  for (const WorkerJob& job : states.jobs) {
    if (job.ended()) states.last_words[job.allocation] = LogTail(job.log_file);
    any_pending_ = any_pending_ || job.waits();
    now.emplace_back(job.allocation, fmt::format("{}{}", static_cast<int>(job.state), job.reason));
  }
  // A resume looks for them no more.
  for (const std::string& token : scheduler_->TakeEnded()) {
    callbacks_.write_durably(cq::AllocationEnded{token});
    std::erase(tokens_, token);
  }
  ++polls_unchanged_;
  if (now != last_) {
    last_ = std::move(now);
    changed_ = std::chrono::steady_clock::now();
    polls_unchanged_ = 0;
  }
  states.terms = scheduler_->Terms();
  const auto alive = std::count_if(states.jobs.begin(), states.jobs.end(),
                                   [](const WorkerJob& job) { return !job.ended(); });
  callbacks_.event(std::move(states));
  return static_cast<unsigned>(alive);
}

}  // namespace cq
