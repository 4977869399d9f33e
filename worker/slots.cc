#include "worker/slots.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

namespace cq {
namespace {

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

Slots::Slots(uint64_t count, Clock clock)
    : clock_(std::move(clock)), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), slots_(count) {
  for (uint64_t i = 0; i < count; ++i) {
    slots_[i].kill = Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    slots_[i].thread = std::thread([this, i] { Work(i); });
  }
}

Slots::~Slots() {
  Shut();
  for (Slot& slot : slots_) slot.thread.join();
}

void Slots::Shut() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    queue_.clear();
    for (Slot& slot : slots_) {
      slot.kill_all = true;
      KillSlot(slot);
    }
  }
  work_.notify_all();
}

void Slots::StartUntil(std::chrono::nanoseconds until) {
  {
    const std::lock_guard lock(mutex_);
    start_until_ = until;
  }
  work_.notify_all();
}

bool Slots::Idle() {
  const std::lock_guard lock(mutex_);
  return std::none_of(slots_.begin(), slots_.end(), [](const Slot& slot) { return slot.busy; });
}

void Slots::SetRun(std::shared_ptr<const RunContext> run) {
  const std::lock_guard lock(mutex_);
  run_ = std::move(run);
  work_.notify_all();
}

std::shared_ptr<const RunContext> Slots::run() {
  const std::lock_guard lock(mutex_);
  return run_;
}

void Slots::Push(std::vector<Task> tasks) {
  const size_t count = tasks.size();
  {
    const std::lock_guard lock(mutex_);
    const auto now = clock_();
    for (Task& task : tasks) queue_.push_back({std::move(task), now});
  }
  if (count == 1) {
    work_.notify_one();
  } else {
    work_.notify_all();
  }
}

std::vector<AttemptRef> Slots::TakeBack(const std::vector<AttemptRef>& attempts) {
  const std::set<AttemptRef> wanted(attempts.begin(), attempts.end());
  std::vector<AttemptRef> taken;
  const std::lock_guard lock(mutex_);
  std::erase_if(queue_, [&](const Queued& queued) {
    const AttemptRef ref{queued.task.task, queued.task.attempt};
    if (!wanted.contains(ref)) return false;
    taken.push_back(ref);
    return true;
  });
  return taken;
}

void Slots::KillSlot(Slot& slot) {
  if (!slot.busy) return;
  slot.kill_sent = true;
  Signal(slot.kill.get());
}

void Slots::Kill(const std::vector<AttemptRef>& attempts) {
  const std::lock_guard lock(mutex_);
  const std::set<AttemptRef> wanted(attempts.begin(), attempts.end());
  for (Slot& slot : slots_) {
    bool hit = wanted.contains(slot.current);
    for (const AttemptRef& ref : slot.batch) {
      if (!wanted.contains(ref)) continue;
      slot.unwanted.insert(ref);
      hit = true;
    }
    if (hit) KillSlot(slot);
  }
}

void Slots::KillAll() {
  const std::lock_guard lock(mutex_);
  queue_.clear();
  for (Slot& slot : slots_) {
    slot.kill_all = true;
    KillSlot(slot);
  }
}

void Slots::Check(std::shared_ptr<const RunContext> check) {
  {
    const std::lock_guard lock(mutex_);
    run_.reset();
    check_ = std::move(check);
  }
  work_.notify_one();
}

std::vector<OutputPart> Slots::TakeOutput() {
  std::vector<OutputPart> parts;
  for (Slot& slot : slots_) {
    if (auto part = slot.live.Take()) parts.push_back(std::move(*part));
  }
  return parts;
}

std::vector<CommandEnd> Slots::TakeEnded() {
  const std::lock_guard lock(mutex_);
  return std::exchange(ended_, {});
}

std::vector<RunningTask> Slots::Running() {
  std::vector<RunningTask> running;
  const std::lock_guard lock(mutex_);
  for (uint64_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].busy) running.push_back({slots_[i].current, i, slots_[i].started});
  }
  return running;
}

bool Slots::Runs(const AttemptRef& ref) {
  const std::lock_guard lock(mutex_);
  // What a program has started carries the number of its slot (ProgramRunner).
  if (ref.attempt <= slots_.size()) return true;
  return std::any_of(slots_.begin(), slots_.end(),
                     [&](const Slot& slot) { return slot.busy && slot.current == ref; });
}

bool Slots::Alone(uint64_t index) {
  const std::lock_guard lock(mutex_);
  for (uint64_t i = 0; i < slots_.size(); ++i) {
    if (i != index && slots_[i].busy) return false;
  }
  return true;
}

void Slots::Wake() { Signal(wake_.get()); }

void Slots::ClearWake() { Empty(wake_.get()); }

void Slots::OwnerSleeps(bool for_long) {
  const std::lock_guard lock(mutex_);
  owner_sleeps_ = for_long;
  // What ended between the owner's look and this call must not wait for the end of a long sleep.
  if (for_long && !ended_.empty()) Wake();
}

void Slots::Work(uint64_t index) {
  Slot& slot = slots_[index];
  const auto others_run = [this, &slot, index](const AttemptRef& ref) {
    return ref != slot.current && ref.attempt != index + 1 && Runs(ref);
  };
  const CommandRunner::Slot of_runners{
      index, slot.kill.get(), &adopted_, &oom_, &slot.live, others_run, [this, index] {
        return Alone(index);
      }};
  CommandRunner runner(of_runners);
  ProgramRunner program(of_runners);

  std::unique_lock lock(mutex_);
  for (;;) {
    work_.wait(lock, [this] {
      return closing_ || check_ != nullptr ||
             (!queue_.empty() && run_ != nullptr && clock_() <= start_until_);
    });
    if (closing_) return;
    std::vector<Task> tasks;
    auto run = std::exchange(check_, nullptr);
    const bool check = run != nullptr;
    if (check) {
      tasks.emplace_back();
    } else {
      run = run_;
      // A fair share of what is there, so that no slot runs dry behind another's batch.
      const size_t share = queue_.size() / (2 * slots_.size()) + 1;
      const size_t chunk = run->text().chunk;
      const size_t most = run->text().program.empty() ? 1
                          : chunk > 0                 ? chunk
                                                      : std::min(program.BatchSize(), share);
      tasks = TakeTasks(slot, most);
    }
    const auto begin = clock_();
    if (!check) {
      spent_.queue += static_cast<int64_t>(tasks.size()) * begin;
      if (slot.idle_since) spent_.idle += begin - *slot.idle_since;
    }
    const size_t count = tasks.size();
    slot.busy = true;
    slot.current = {tasks[0].task, tasks[0].attempt};
    slot.started = begin;
    if (std::exchange(owner_sleeps_, false)) Wake();
    lock.unlock();

    if (run->text().program.empty()) {
      std::vector<CommandEnd> ended(1);
      ended[0] = runner.Run(*run, tasks[0]);
      Ended(slot, std::move(ended));
    } else if (check) {
      std::vector<CommandEnd> ended(1);
      TaskResult& result = ended[0].result;
      std::string& error = result.details.Edit().error;
      error = program.Prepare(*run);
      if (!error.empty()) result.outcome = Outcome::kError;
      Ended(slot, std::move(ended));
    } else {
      RunProgram(slot, program, *run, std::move(tasks));
    }

    lock.lock();
    if (!check) Account(slot, clock_() - begin, count);
    slot.busy = false;
    slot.current = {};
    slot.batch.clear();
    slot.unwanted.clear();
    // A kill that came as the task ended is not for the next one.
    if (std::exchange(slot.kill_sent, false)) Empty(slot.kill.get());
  }
}

// The next one, and those of its group behind it. A slot stays on its group; then it takes one that
// no other slot is on. It waits for neither.
std::vector<Task> Slots::TakeTasks(Slot& slot, size_t most) {
  constexpr size_t kLookAhead = 4096;
  auto first = queue_.begin();
  if (!first->task.group.empty()) {
    const auto end = queue_.begin() + static_cast<ptrdiff_t>(std::min(queue_.size(), kLookAhead));
    first = std::find_if(queue_.begin(), end,
                         [&](const Queued& q) { return q.task.group == slot.group; });
    const auto taken = [&](const Queued& q) {
      return std::any_of(slots_.begin(), slots_.end(), [&](const Slot& other) {
        return &other != &slot && other.group == q.task.group;
      });
    };
    if (first == end) first = std::find_if_not(queue_.begin(), end, taken);
    if (first == end) first = queue_.begin();
  }
  slot.group = first->task.group;
  std::vector<Task> tasks;
  while (first != queue_.end() && tasks.size() < most && first->task.group == slot.group) {
    spent_.queue -= first->since;
    tasks.push_back(std::move(first->task));
    first = queue_.erase(first);
  }
  return tasks;
}

void Slots::RunProgram(Slot& slot, ProgramRunner& program, const RunContext& run,
                       std::vector<Task> batch) {
  {
    const std::lock_guard lock(mutex_);
    for (const Task& task : batch) slot.batch.push_back({task.task, task.attempt});
  }
  ProgramRunner::Listener listener;
  listener.begins = [this, &slot](const AttemptRef& ref) {
    const std::lock_guard lock(mutex_);
    slot.current = ref;
    slot.started = clock_();
  };
  listener.ended = [this, &slot](std::vector<CommandEnd> ended) { Ended(slot, std::move(ended)); };
  listener.unwanted = [this, &slot](const AttemptRef& ref) {
    const std::lock_guard lock(mutex_);
    return slot.kill_all || slot.unwanted.contains(ref);
  };
  program.Run(run, std::move(batch), listener);
}

// In a batch each task waits for those before it: on average half of the others.
void Slots::Account(Slot& slot, std::chrono::nanoseconds busy, size_t tasks) {
  spent_.spawn += std::max(busy - std::exchange(slot.ran, {}), std::chrono::nanoseconds(0));
  spent_.queue += busy * static_cast<int64_t>(tasks - 1) / 2;
  slot.idle_since = clock_();
}

SlotLedger Slots::ledger() {
  const auto us = [](std::chrono::nanoseconds time) {
    return static_cast<uint64_t>(std::max<int64_t>(time.count() / 1000, 0));
  };
  const std::lock_guard lock(mutex_);
  return {spent_.tasks, us(spent_.idle), us(spent_.queue), us(spent_.spawn), us(spent_.run)};
}

void Slots::Ended(Slot& slot, std::vector<CommandEnd> ended) {
  const std::lock_guard lock(mutex_);
  for (const CommandEnd& end : ended) {
    if (end.result.task == 0) continue;
    const auto ran = std::chrono::microseconds(end.result.wall_us) - end.spawn;
    slot.ran += ran;
    spent_.run += ran;
    ++spent_.tasks;
  }
  std::move(ended.begin(), ended.end(), std::back_inserter(ended_));
  const bool nearly_dry = queue_.size() <= slots_.size();
  if (std::exchange(owner_sleeps_, false) || nearly_dry) Wake();
}

}  // namespace cq
