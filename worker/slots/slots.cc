#include "worker/slots/slots.h"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <system_error>

#include "base/assert.h"
#include "cq/error.h"
#include "protocol/spans.h"

namespace cq {
namespace {

/// What a slot has that starts its program, or checks whether it can run any task.
constexpr AttemptSpan kNoTask{0, 0, 1};

void Signal(int fd) {
  const uint64_t one = 1;
  // An eventfd takes 8 bytes whole, or its counter is full and it is readable already.
  [[maybe_unused]] const ssize_t n = write(fd, &one, sizeof one);
}

void Empty(int fd) {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t n = read(fd, &count, sizeof count);
}

}  // namespace

Slots::Slots(uint64_t count, Clock clock, Capacity has, std::vector<std::string> gpus)
    : clock_(std::move(clock)),
      has_(std::move(has)),
      gpus_(std::move(gpus)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      slots_(count) {
  for (Slot& slot : slots_) slot.kill = Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  try {
    for (uint64_t i = 0; i < count; ++i) threads_.emplace_back([this, i] { Serve(i); });
  } catch (const std::system_error& error) {
    Join();
    throw Error(fmt::format("cannot start the threads of {} slots: {} ('ulimit -u', 'ulimit -v')",
                            count, error.code().message()));
  }
}

Slots::~Slots() { Join(); }

void Slots::Join() {
  Shut();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void Slots::Shut() {
  {
    const Lock lock(mutex_);
    closing_ = true;
    queue_.clear();
    queued_ = 0;
    for (Slot& slot : slots_) {
      slot.kill_all = true;
      KillSlot(slot);
    }
  }
  work_.NotifyAll();
}

void Slots::StartUntil(std::chrono::nanoseconds until) {
  {
    const Lock lock(mutex_);
    start_until_ = until;
  }
  work_.NotifyAll();
}

bool Slots::Idle() {
  const Lock lock(mutex_);
  return std::none_of(slots_.begin(), slots_.end(),
                      [](const Slot& slot) { return slot.given.has_value(); });
}

bool Slots::HasNothing() {
  const Lock lock(mutex_);
  return queue_.empty() && std::none_of(slots_.begin(), slots_.end(),
                                        [](const Slot& slot) { return slot.given.has_value(); });
}

void Slots::SetRun(std::shared_ptr<const RunContext> run) {
  const Lock lock(mutex_);
  run_ = std::move(run);
  contexts_.clear();
  work_.NotifyAll();
}

std::shared_ptr<const RunContext> Slots::run() {
  const Lock lock(mutex_);
  return run_;
}

void Slots::Push(std::vector<Task> tasks) {
  if (tasks.size() == 1 && Begin(tasks[0])) return;
  bool for_one = tasks.size() == 1 && watched_.empty();
  {
    const Lock lock(mutex_);
    // It is awake, and looks again before it sleeps long.
    owner_sleeps_ = false;
    const auto now = clock_();
    for (Task& task : tasks) {
      queued_ += task.count;
      queue_.push_back({std::move(task), now});
    }
    // The thread of a slot that is watched, or whose program is not ready, may leave it to another.
    for_one = for_one && run_ != nullptr && run_->text().program.empty();
  }
  for_one ? work_.NotifyOne() : work_.NotifyAll();
}

bool Slots::Begin(Task& task) {
  // More would make a long list to wait on; and tasks of groups choose their slots otherwise.
  constexpr size_t kWatchedMax = 4;
  if (watched_.size() == kWatchedMax || !task.group.empty() || !task.rows.empty()) return false;
  std::shared_ptr<const RunContext> run;
  Slot* slot = nullptr;
  {
    const Lock lock(mutex_);
    if (closing_ || check_ || !run_ || !queue_.empty() || clock_() > start_until_) return false;
    if (KeepsBook()) return false;
    run = run_;
    const auto free = std::find_if(slots_.begin(), slots_.end(), [&](const Slot& s) {
      return !s.given && s.program != nullptr && s.program->MayBegin(*run, task);
    });
    if (free == slots_.end()) return false;
    slot = &*free;
    watched_.push_back(slot);
    owner_sleeps_ = false;
    slot->group.clear();
    Occupy(*slot, {task});
    slot->given->by = By::kOwner;
  }
  if (slot->program->Begin(std::move(run), std::move(task), slot->listener)) return true;
  const Lock lock(mutex_);
  Unwatch(*slot, true);
  return true;
}

void Slots::Unwatch(Slot& slot, bool hand_over) {
  std::erase(watched_, &slot);
  if (hand_over) slot.given->by = By::kHandedOver;
  // Also for what its thread was asked for meanwhile.
  if (hand_over || check_ != nullptr || !queue_.empty()) work_.NotifyAll();
}

size_t Slots::Warm() const {
  return static_cast<size_t>(std::count_if(slots_.begin(), slots_.end(), [](const Slot& slot) {
    if (slot.given) return slot.given->current.task == kNoTask.task;
    return slot.program != nullptr && slot.program->ready();
  }));
}

bool Slots::AnyCold() const {
  return std::any_of(slots_.begin(), slots_.end(), [](const Slot& slot) {
    return !slot.given && slot.program != nullptr && !slot.program->ready();
  });
}

std::vector<int> Slots::watched_fds() const {
  std::vector<int> fds;
  for (const Slot* slot : watched_) {
    for (const int fd : slot->program->descriptors()) fds.push_back(fd);
  }
  return fds;
}

void Slots::LookAtPrograms() {
  // Those that have something to tell are watched no longer.
  const std::vector<Slot*> watched = watched_;
  for (Slot* slot : watched) {
    const auto seen = slot->program->Look();
    if (seen == ProgramRunner::Seen::kNothing) continue;
    const bool answered = seen == ProgramRunner::Seen::kAnswer;
    std::vector<CommandEnd> ended;
    if (answered) ended = slot->program->TakeAnswered();
    const Lock lock(mutex_);
    if (answered) {
      Keep(*slot, std::move(ended));
      Free(*slot);
    }
    Unwatch(*slot, !answered);
  }
}

std::vector<AttemptRef> Slots::TakeBack(const std::vector<AttemptRef>& attempts) {
  const std::set<AttemptRef> wanted(attempts.begin(), attempts.end());
  std::vector<AttemptRef> taken;
  const Lock lock(mutex_);
  std::deque<Queued> left;
  for (Queued& queued : queue_) {
    // Those of a span between two that are taken stay together.
    Task& tasks = queued.task;
    while (tasks.count > 0) {
      const auto next = wanted.lower_bound({tasks.task, 0});
      const uint64_t stay =
          next == wanted.end() ? tasks.count : std::min(tasks.count, next->task - tasks.task);
      if (stay > 0) left.push_back({CutFront(tasks, stay), queued.since});
      if (tasks.count == 0) break;
      Task one = CutFront(tasks, 1);
      if (wanted.contains(one.first())) {
        taken.push_back(one.first());
      } else {
        left.push_back({std::move(one), queued.since});
      }
    }
  }
  queue_ = std::move(left);
  queued_ -= taken.size();
  return taken;
}

void Slots::KillSlot(Slot& slot) {
  if (!slot.given) return;
  if (slot.given->by == By::kOwner) Unwatch(slot, true);
  slot.given->kill_sent = true;
  Signal(slot.kill.get());
}

void Slots::Kill(const std::vector<AttemptRef>& attempts) {
  const Lock lock(mutex_);
  const std::set<AttemptRef> wanted(attempts.begin(), attempts.end());
  for (Slot& slot : slots_) {
    if (!slot.given) continue;
    bool hit = wanted.contains(slot.given->current);
    for (const AttemptSpan& span : slot.given->attempts) {
      const auto end = wanted.lower_bound({span.task + span.count, 0});
      for (auto ref = wanted.lower_bound({span.task, 0}); ref != end; ++ref) {
        if (ref->attempt != span.attempt + (ref->task - span.task)) continue;
        slot.given->unwanted.insert(*ref);
        hit = true;
      }
    }
    if (hit) KillSlot(slot);
  }
}

void Slots::KillAll() {
  const Lock lock(mutex_);
  queue_.clear();
  queued_ = 0;
  for (Slot& slot : slots_) {
    slot.kill_all = true;
    KillSlot(slot);
  }
}

void Slots::Check(std::shared_ptr<const RunContext> check) {
  {
    const Lock lock(mutex_);
    run_.reset();
    const RunText& text = check->text();
    ahead_ = 0;
    // One that a task asks to be another would be started twice.
    if (!text.program.words.empty() && text.tasks > 0 && !check->rows_differ()) {
      const uint64_t places = has_.Places(check->RequestOf(Task()), slots_.size());
      ahead_ = std::max<uint64_t>(std::min<uint64_t>(text.tasks, places), 1) - 1;
      ahead_run_ = check;
    }
    check_ = std::move(check);
    contexts_.clear();
  }
  work_.NotifyAll();
}

std::string Slots::WaitsFor() {
  const Lock lock(mutex_);
  for (const Slot& slot : slots_) {
    if (!slot.waits_for.empty()) return slot.waits_for;
  }
  return {};
}

std::vector<OutputPart> Slots::TakeOutput() {
  std::vector<OutputPart> parts;
  const Lock lock(mutex_);
  for (Slot& slot : slots_) {
    if (auto part = slot.live.Take()) parts.push_back(std::move(*part));
  }
  return parts;
}

std::vector<CommandEnd> Slots::TakeEnded() {
  const Lock lock(mutex_);
  return std::exchange(ended_, {});
}

std::vector<RunningTask> Slots::Running() {
  std::vector<RunningTask> running;
  const Lock lock(mutex_);
  for (uint64_t i = 0; i < slots_.size(); ++i) {
    const auto& given = slots_[i].given;
    if (given) running.push_back({given->current, i, given->started});
  }
  return running;
}

bool Slots::OthersRun(uint64_t index, AttemptId attempt) {
  const Lock lock(mutex_);
  // What a program has started carries the number of its slot (ProgramRunner).
  if (attempt <= slots_.size()) return attempt != index + 1;
  for (uint64_t i = 0; i < slots_.size(); ++i) {
    const auto& given = slots_[i].given;
    if (i != index && given && given->current.attempt == attempt) return true;
  }
  return false;
}

bool Slots::Alone(uint64_t index) {
  const Lock lock(mutex_);
  for (uint64_t i = 0; i < slots_.size(); ++i) {
    if (i != index && slots_[i].given) return false;
  }
  return true;
}

void Slots::Wake() { Signal(wake_.get()); }

void Slots::ClearWake() { Empty(wake_.get()); }

void Slots::OwnerSleeps(bool for_long) {
  const Lock lock(mutex_);
  owner_sleeps_ = for_long;
  // What ended between the owner's look and this call must not wait for the end of a long sleep.
  if (for_long && !ended_.empty()) Wake();
}

void Slots::Serve(uint64_t index) {
  Slot& slot = SlotAt(index);
  const CommandRunner::Slot of_runners{index,
                                       slot.kill.get(),
                                       &adopted_,
                                       &oom_,
                                       &slot.live,
                                       [this, index](AttemptId a) { return OthersRun(index, a); },
                                       [this, index] { return Alone(index); },
                                       [this, &slot](const std::string& text) {
                                         const Lock lock(mutex_);
                                         slot.waits_for = text;
                                       }};
  CommandRunner runner(of_runners);
  ProgramRunner program(of_runners);

  const Lock lock(mutex_);
  slot.listener = ListenerOf(slot);
  slot.program = &program;
  for (;;) {
    while (!HasWork(slot)) work_.Wait(mutex_);
    if (slot.given) {
      slot.given->by = By::kThread;
      {
        const Unlock unlocked(mutex_);
        program.GoOn();
      }
      Free(slot);
    } else if (closing_) {
      return;
    } else if (check_ != nullptr) {
      RunCheck(slot, runner);
    } else if (MayStartAhead(slot)) {
      StartAhead(slot);
    } else {
      RunNext(slot, runner);
    }
  }
}

bool Slots::HasWork(const Slot& slot) const {
  if (slot.given) return slot.given->by == By::kHandedOver;
  if (closing_ || check_ != nullptr || MayStartAhead(slot)) return true;
  if (queue_.empty() || run_ == nullptr || clock_() > start_until_) return false;
  if (!Fits(queue_.front().task)) return false;
  // No program is started for what another slot is about to take.
  return slot.program->ready() || queued_ > Warm();
}

void Slots::RunCheck(Slot& slot, CommandRunner& runner) {
  auto run = std::exchange(check_, nullptr);
  Occupy(slot, {kNoTask});
  if (!run->text().program.empty()) run = ForStart(slot, run);
  if (std::exchange(owner_sleeps_, false)) Wake();
  {
    const Unlock unlocked(mutex_);
    std::vector<CommandEnd> ended(1);
    if (run->text().program.empty()) {
      ended[0] = runner.Run(*run, Task());
    } else {
      TaskResult& result = ended[0].result;
      std::string& error = result.details.Edit().error;
      error = slot.program->Prepare(*run);
      if (!error.empty()) result.outcome = Outcome::kError;
    }
    TasksEnded(slot, std::move(ended));
  }
  Free(slot);
}

bool Slots::MayStartAhead(const Slot& slot) const {
  if (ahead_ == 0 || slot.program->ready()) return false;
  return taken_.Leaves(has_, has_.Share(ahead_run_->RequestOf(Task())));
}

void Slots::StartAhead(Slot& slot) {
  --ahead_;
  Occupy(slot, {kNoTask});
  const auto run = ForStart(slot, ahead_run_);
  {
    const Unlock unlocked(mutex_);
    // Why it cannot be started its first task will tell.
    slot.program->Prepare(*run);
  }
  Free(slot);
  if (!queue_.empty()) work_.NotifyAll();
}

void Slots::RunNext(Slot& slot, CommandRunner& runner) {
  auto run = run_;
  const bool command = run->text().program.empty();
  // A fair share of what is there, so that no slot runs dry behind another's batch.
  const size_t share = queued_ / (2 * slots_.size()) + 1;
  const size_t chunk = run->text().chunk;
  const size_t most = command ? 1 : chunk > 0 ? chunk : std::min(slot.program->BatchSize(), share);
  std::vector<Task> work = TakeWork(slot, most);
  Occupy(slot, {work.begin(), work.end()});
  if (KeepsBook()) run = TakeShare(slot, *run, run->RequestOf(work[0]));
  // Those that had left it to this one.
  if (!queue_.empty() && slot.program->ready() && AnyCold()) work_.NotifyAll();
  if (std::exchange(owner_sleeps_, false)) Wake();
  {
    const Unlock unlocked(mutex_);
    if (command) {
      std::vector<CommandEnd> ended(1);
      ended[0] = runner.Run(*run, work[0]);
      TasksEnded(slot, std::move(ended));
    } else {
      slot.program->Run(*run, std::move(work), slot.listener);
    }
  }
  Free(slot);
}

void Slots::Occupy(Slot& slot, std::vector<AttemptSpan> attempts) {
  CQ_ASSERT(!slot.given, "a slot is given task {} and has task {}", attempts[0].task,
            slot.given->current.task);
  GivenTasks& given = slot.given.emplace();
  given.attempts = std::move(attempts);
  given.current = given.attempts[0].first();
  given.started = clock_();
  if (given.current.task == kNoTask.task) return;
  given.since = given.started;
  if (slot.idle_since) spent_.idle += given.started - *slot.idle_since;
}

void Slots::Free(Slot& slot) {
  const GivenTasks given = *std::exchange(slot.given, std::nullopt);
  ReturnShare(slot);
  // A kill that came as the task ended is not for the next one.
  if (given.kill_sent) Empty(slot.kill.get());
  if (!given.since) return;
  uint64_t tasks = 0;
  for (const AttemptSpan& span : given.attempts) tasks += span.count;
  slot.idle_since = clock_();
  const auto busy = *slot.idle_since - *given.since;
  spent_.spawn += std::max(busy - given.ran, std::chrono::nanoseconds(0));
  // In a batch each task waits for those before it: on average half of the others.
  spent_.queue += busy * static_cast<int64_t>(tasks - 1) / 2;
}

bool Slots::KeepsBook() const {
  return has_.cpus_of_task > 0 || has_.memory_of_task > 0 || (run_ != nullptr && run_->asks());
}

// What asks for more than there is, is the master's to know: here it runs alone.
bool Slots::Fits(const Task& task) const {
  if (!KeepsBook() || taken_ == Commitment()) return true;
  return taken_.Leaves(has_, has_.Share(run_->RequestOf(task)));
}

std::shared_ptr<const RunContext> Slots::TakeShare(Slot& slot, const RunContext& run,
                                                   const TaskRequest& request) {
  constexpr size_t kContextsMax = 64;
  slot.share = has_.Share(request);
  taken_.Add(slot.share);
  const auto gpus = slot.share.needs.find("gpu");
  ChooseGpus(slot, gpus == slot.share.needs.end() ? 0 : gpus->second);
  // A leak costs a task, and never the worker, which needs a little, too.
  uint64_t limit = request.memory_bytes;
  if (limit == 0 && run.text().memory_bytes == 0) limit = has_.memory_of_task / 20 * 19;
  if (contexts_.size() >= kContextsMax) contexts_.clear();
  auto& context = contexts_[{slot.share, limit, slot.gpus}];
  if (context == nullptr) {
    std::vector<std::string> names;
    for (const size_t gpu : slot.gpus) names.push_back(gpus_[gpu]);
    context = run.For(slot.share, limit, names);
  }
  return context;
}

// Those that it had last, if they are free: its program is on them. Else such that no other slot
// had last.
void Slots::ChooseGpus(Slot& slot, uint64_t count) {
  if (count == 0 && gpus_.empty()) return;
  std::set<size_t> taken;
  std::set<size_t> known;
  for (const Slot& other : slots_) {
    if (&other == &slot) continue;
    known.insert(other.gpus.begin(), other.gpus.end());
    if (other.share.needs.contains("gpu")) taken.insert(other.gpus.begin(), other.gpus.end());
  }
  const auto free = [&](size_t gpu) { return !taken.contains(gpu); };
  if (slot.gpus.size() == count && std::all_of(slot.gpus.begin(), slot.gpus.end(), free)) return;
  slot.gpus.clear();
  for (const bool anybodys : {false, true}) {
    for (size_t gpu = 0; gpu < gpus_.size() && slot.gpus.size() < count; ++gpu) {
      if (free(gpu) && known.contains(gpu) == anybodys) slot.gpus.push_back(gpu);
    }
  }
}

void Slots::ReturnShare(Slot& slot) {
  const TaskRequest share = std::exchange(slot.share, {});
  if (share.TakesNothing()) return;
  taken_.Remove(share);
  if (!queue_.empty()) work_.NotifyAll();
}

// A program that is started before its tasks is as they will have it.
std::shared_ptr<const RunContext> Slots::ForStart(Slot& slot,
                                                  const std::shared_ptr<const RunContext>& run) {
  if (run->rows_differ() || !(run->asks() || has_.cpus_of_task > 0 || has_.memory_of_task > 0)) {
    return run;
  }
  return TakeShare(slot, *run, run->RequestOf(Task()));
}

bool Slots::AnotherIsOn(const std::string& group, const Slot& slot) const {
  return std::any_of(slots_.begin(), slots_.end(),
                     [&](const Slot& other) { return &other != &slot && other.group == group; });
}

// The next one, and those of its group behind it; or the next span, or its first ones. A slot stays
// on its group; then it takes one that no other slot is on. It waits for neither.
std::vector<Task> Slots::TakeWork(Slot& slot, size_t most) {
  constexpr size_t kLookAhead = 4096;
  auto first = queue_.begin();
  if (!first->task.group.empty()) {
    const auto end = queue_.begin() + static_cast<ptrdiff_t>(std::min(queue_.size(), kLookAhead));
    while (first != end && (first->task.group != slot.group || !Fits(first->task))) ++first;
    if (first == end) {
      first = queue_.begin();
      while (first != end && (AnotherIsOn(first->task.group, slot) || !Fits(first->task))) ++first;
    }
    if (first == end) first = queue_.begin();
  }
  slot.group = first->task.group;
  const bool span = !first->task.rows.empty();
  const auto request = TakenBy(first->task.details->extras);
  const auto now = clock_();
  std::vector<Task> work;
  uint64_t taken = 0;
  while (first != queue_.end() && taken < most && first->task.group == slot.group) {
    if (!work.empty() && (span || !first->task.rows.empty())) break;
    if (TakenBy(first->task.details->extras) != request) break;
    work.push_back(CutFront(first->task, std::min<uint64_t>(first->task.count, most - taken)));
    taken += work.back().count;
    spent_.queue += static_cast<int64_t>(work.back().count) * (now - first->since);
    if (first->task.count == 0) first = queue_.erase(first);
  }
  queued_ -= taken;
  return work;
}

ProgramRunner::Listener Slots::ListenerOf(Slot& slot) {
  ProgramRunner::Listener listener;
  listener.begins = [this, &slot](const AttemptRef& ref) {
    const Lock lock(mutex_);
    slot.given->current = ref;
    slot.given->started = clock_();
  };
  listener.ended = [this, &slot](std::vector<CommandEnd> ended) {
    TasksEnded(slot, std::move(ended));
  };
  listener.unwanted = [this, &slot](const AttemptRef& ref) {
    const Lock lock(mutex_);
    return slot.kill_all || slot.given->unwanted.contains(ref);
  };
  return listener;
}

SlotLedger Slots::ledger() {
  const auto us = [](std::chrono::nanoseconds time) {
    return static_cast<uint64_t>(std::max<int64_t>(time.count() / 1000, 0));
  };
  const Lock lock(mutex_);
  return {spent_.tasks, us(spent_.idle), us(spent_.queue), us(spent_.spawn), us(spent_.run)};
}

void Slots::TasksEnded(Slot& slot, std::vector<CommandEnd> ended) {
  const Lock lock(mutex_);
  Keep(slot, std::move(ended));
  TellEnded();
}

void Slots::Keep(Slot& slot, std::vector<CommandEnd> ended) {
  for (const CommandEnd& end : ended) {
    if (end.result.task == 0 || !end.no_room.empty()) continue;
    const auto ran = std::chrono::microseconds(end.result.wall_us) - end.spawn;
    slot.given->ran += ran;
    spent_.run += ran;
    spent_.tasks += end.result.count;
  }
  std::move(ended.begin(), ended.end(), std::back_inserter(ended_));
}

void Slots::TellEnded() {
  const bool nearly_dry = queued_ <= slots_.size();
  if (std::exchange(owner_sleeps_, false) || nearly_dry) Wake();
}

}  // namespace cq
