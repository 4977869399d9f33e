#include "master/core/core.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "master/core/dispatch.h"
#include "protocol/limits.h"

namespace cq {

Core::Core(CoreOptions options, TaskSet done, uint64_t done_count)
    : options_(std::move(options)), tasks_(options_.tasks, std::move(done), done_count) {
  counts_.tasks = options_.tasks;
}

const Counts& Core::counts() {
  counts_.done = tasks_.done_count();
  counts_.out = tasks_.out();
  counts_.workers = workers_.live();
  counts_.running = 0;
  for (const Worker& worker : workers_.all()) {
    counts_.running += std::min<uint64_t>(worker.slots, worker.held.size());
  }
  return counts_;
}

bool Core::HasSession(const std::string& allocation) const {
  for (const Worker& worker : workers_.all()) {
    if (worker.allocation == allocation) return true;
  }
  return false;
}

std::string Core::CommonProblem() const {
  std::string problem;
  for (const Worker& worker : workers_.all()) {
    if (!worker.connected || worker.ended) continue;
    if (worker.problem.empty()) return {};
    if (problem.empty()) problem = worker.problem;
  }
  return problem;
}

std::chrono::nanoseconds Core::mean_task_time() const { return mean_; }

std::vector<Action> Core::TakeActions() { return std::exchange(actions_, {}); }

void Core::OnMessage(Time now, ConnectionId from, Envelope envelope, FromWorker message) {
  if (finished_) return;
  if (auto* hello = std::get_if<Hello>(&message)) {
    OnHello(now, from, envelope, *hello);
    return;
  }
  Peer* peer = workers_.FindPeer(from);
  if (peer == nullptr || peer->session == 0) {
    Offer(now, from);
    return;
  }
  // What was sent before the worker saw our `who` is in the hello that it answers with, or sent
  // again after it.
  if (envelope.session != peer->session) return;
  Worker& worker = workers_[peer->worker];
  worker.last_heard = now;
  const bool gap = envelope.sequence > worker.received + 1;
  worker.received = std::max(worker.received, envelope.sequence);
  OnReport(now, worker, message);
  if (gap) Offer(now, from);
}

void Core::OnUnreachable(Time, ConnectionId connection) {
  Peer* peer = workers_.FindPeer(connection);
  if (peer == nullptr) return;
  if (peer->session != 0) workers_[peer->worker].connected = false;
  workers_.peers().erase(connection);
}

void Core::OnAllocationEnded(Time, const std::string& allocation, const std::string& reason,
                             bool explained) {
  for (Worker& worker : workers_.all()) {
    if (worker.allocation == allocation && !worker.ended) Lose(worker, reason, !explained);
  }
}

void Core::OnDrain(Time, const std::string& reason) {
  if (draining_ || finished_) return;
  draining_ = true;
  drain_reason_ = reason;
  for (Worker& worker : workers_.all()) {
    if (worker.connected) SendTo(worker, Drain{reason});
    worker.leaving = true;
  }
}

void Core::OnStop(Time, const std::string& reason) {
  if (finished_) return;
  finished_ = true;
  for (const Worker& worker : workers_.all()) {
    if (worker.connected) SendTo(worker, Stop{reason});
    if (worker.ended) continue;
    actions_.emplace_back(Write{WorkerEndRecord{worker.index + 1, reason}});
  }
  actions_.emplace_back(Finished{});
}

void Core::OnTick(Time now) {
  // Time in which the master did not run (Ctrl-Z, a sleeping laptop) is nobody's silence.
  const Time gap = now - last_tick_;
  if (last_tick_ != Time{} && gap > 2 * tick()) {
    for (Worker& worker : workers_.all()) worker.last_heard += gap - tick();
  }
  last_tick_ = now;

  for (Worker& worker : workers_.all()) {
    if (!worker.ended && now - worker.last_heard > options_.lease) {
      actions_.emplace_back(EndJob{worker.allocation});
      Lose(worker,
           fmt::format("worker {} on {} was silent for {} s", worker.index + 1, worker.host,
                       options_.lease / std::chrono::seconds(1)),
           true);
    }
  }
  std::erase_if(workers_.peers(), [&](const auto& entry) {
    return entry.second.session == 0 && now - entry.second.offered_at > options_.lease;
  });
  if (now - last_heartbeat_ < options_.lease / 3) return;
  last_heartbeat_ = now;
  for (const Worker& worker : workers_.all()) {
    if (worker.connected) SendTo(worker, MasterHeartbeat{worker.received});
  }
}

void Core::Flush(Time) {
  FlushAcks();
  Dispatcher dispatcher(*this);
  dispatcher.Give();
  dispatcher.Retract();
  FinishIfDone();
}

void Core::FinishIfDone() {
  const bool all = tasks_.AllDone() || (draining_ && tasks_.out() == 0);
  if (finished_ || !all || !uncommitted_.empty()) return;
  OnStop({}, draining_ ? drain_reason_ : "the run is finished");
}

// ---- workers ----

void Core::SendTo(const Worker& worker, ToWorker message) {
  actions_.emplace_back(Send{worker.connection, worker.session, std::move(message)});
}

void Core::Disconnect(Worker& worker) {
  if (!worker.connected) return;
  worker.connected = false;
  workers_.peers().erase(worker.connection);
}

void Core::Charge(Worker& worker, TaskId task, OpenTask& open, const std::string& reason) {
  ++open.charges;
  actions_.emplace_back(Write{FailureRecord{{task, open.attempt}, worker.index + 1, 2, reason}});
  if (open.charges < options_.crash_limit) {
    Release(task, open);
    return;
  }
  TaskResult result;
  result.task = task;
  result.attempt = open.attempt;
  result.outcome = Outcome::kCrashed;
  result.exit = -9;  // as far as is known: it went with its worker
  result.error = fmt::format("its worker was lost {} times while it ran; the last time: {}",
                             open.charges, reason);
  Finish(std::move(result), worker.index, open.attempts);
}

void Core::Lose(Worker& worker, const std::string& reason, bool charge) {
  if (worker.leaving) charge = false;
  // In one slot what started last is what ran: an earlier one has ended, and its result is lost.
  std::map<uint32_t, AttemptId> ran;
  for (const auto& [attempt, task] : worker.held) {
    const OpenTask& open = *tasks_.Find(task);
    if (open.running) ran[open.slot] = attempt;
  }
  const auto held = worker.held;
  // In slots without a report something may have run all the same, for less than starts take to be
  // reported: the oldest are under suspicion.
  uint64_t unreported = charge ? worker.slots - std::min<uint64_t>(worker.slots, ran.size()) : 0;
  for (const auto& [attempt, task] : held) {
    OpenTask& open = *tasks_.Find(task);
    const bool was_running = (open.running && ran[open.slot] == attempt) || open.suspect;
    if (!open.running && !open.suspect && unreported > 0) {
      --unreported;
      open.suspect = true;
    }
    if (charge && was_running) {
      Charge(worker, task, open, reason);
    } else {
      if (!open.running) --open.attempts;
      Release(task, open);
    }
  }
  worker.has_suspect = false;
  worker.ended = true;
  worker.stale.clear();
  Disconnect(worker);
  const bool harm = !held.empty();
  actions_.emplace_back(
      Note{harm ? Note::Kind::kWarning : Note::Kind::kWorkers,
           harm ? fmt::format("{}; its {} tasks go to others", reason, held.size()) : reason});
}

// ---- tasks ----

// Takes the attempt that is out away from the worker's books.
void Core::Detach(TaskId, OpenTask& open) {
  Worker& worker = workers_[open.worker];
  worker.held.erase(open.attempt);
  if (open.running) --worker.running;
  if (open.retracting) --worker.retracting;
  if (open.charges > 0 && worker.charged > 0) --worker.charged;
  if (open.suspect) worker.has_suspect = false;
  open.running = false;
  open.retracting = false;
  dirty_.push_back(worker.index);
}

void Core::Release(TaskId task, OpenTask& open) {
  Detach(task, open);
  tasks_.Requeue(task);
  all_dirty_ = true;
}

void Core::Finish(TaskResult result, WorkerIndex worker, uint64_t attempts) {
  const TaskId task = result.task;
  if (OpenTask* open = tasks_.Find(task); open != nullptr && open->attempt != 0) {
    const bool other = open->attempt != result.attempt;
    if (other) stale_[task].emplace_back(open->attempt, open->worker);
    if (other) workers_[open->worker].stale.insert(open->attempt);
    Detach(task, *open);
  }
  tasks_.Finish(task);
  CancelOthers(task, result.attempt);
  uncommitted_[task] = {result.attempt, worker};
  ++counts_.outcomes[static_cast<size_t>(result.outcome)];
  actions_.emplace_back(Write{ResultRecord{std::move(result), attempts, worker + 1}});
}

// Whatever other attempts at a finished task may still run somewhere are ended.
void Core::CancelOthers(TaskId task, AttemptId attempt) {
  const auto found = stale_.find(task);
  if (found == stale_.end()) return;
  for (const auto& [other, index] : found->second) {
    const Worker& worker = workers_[index];
    if (other == attempt || !worker.connected || !worker.stale.contains(other)) continue;
    SendTo(worker, Cancel{options_.text.run, {{task, other}}});
  }
  stale_.erase(found);
}

bool Core::Plausible(AttemptId attempt) const {
  const Epoch epoch = EpochOf(attempt);
  return epoch >= 1 &&
         (epoch < options_.epoch ||
          (epoch == options_.epoch && attempt < MakeSerial(options_.epoch, next_attempt_)));
}

// ---- acknowledgement ----

void Core::OnCommitted(Time, const Committed& committed) {
  for (const AttemptRef& result : committed.results) {
    const auto found = uncommitted_.find(result.task);
    if (found == uncommitted_.end() || found->second.attempt != result.attempt) continue;
    Acknowledge(found->second.worker, result);
    uncommitted_.erase(found);
  }
  for (const uint64_t number : committed.workers) {
    Worker& worker = workers_[static_cast<WorkerIndex>(number - 1)];
    worker.recorded = true;
    dirty_.push_back(worker.index);
  }
}

void Core::Acknowledge(WorkerIndex worker, AttemptRef attempt) { acks_[worker].push_back(attempt); }

void Core::FlushAcks() {
  for (auto& [index, attempts] : acks_) {
    const Worker& worker = workers_[index];
    if (!worker.connected) continue;
    for (size_t at = 0; at < attempts.size(); at += kBatchMax) {
      const size_t end = std::min(attempts.size(), at + kBatchMax);
      SendTo(worker, Ack{options_.text.run,
                         {attempts.begin() + static_cast<ptrdiff_t>(at),
                          attempts.begin() + static_cast<ptrdiff_t>(end)}});
    }
  }
  acks_.clear();
}

// ---- self-check ----

namespace {
void Require(bool holds, const char* what) {
  if (holds) return;
  fmt::print(stderr, "core invariant broken: {}\n", what);
  std::abort();
}
}  // namespace

void Core::CheckInvariants() {
  uint64_t out = 0;
  for (const auto& [task, open] : tasks_.open()) {
    Require(tasks_.Exists(task), "an open task exists");
    Require(!tasks_.Done(task), "an open task has no outcome");
    if (open.attempt == 0) continue;
    ++out;
    const auto& held = workers_[open.worker].held;
    const auto found = held.find(open.attempt);
    Require(found != held.end() && found->second == task, "what is out is held by its worker");
  }
  Require(out == tasks_.out(), "the number of tasks that are out");
  Require(tasks_.ready() + tasks_.out() + tasks_.done_count() == tasks_.last(),
          "every task is ready, out or done");
  uint64_t held = 0;
  for (const Worker& worker : workers_.all()) {
    held += worker.held.size();
    uint64_t running = 0;
    uint64_t retracting = 0;
    for (const auto& [attempt, task] : worker.held) {
      const OpenTask* open = tasks_.Find(task);
      Require(open != nullptr && open->attempt == attempt && open->worker == worker.index,
              "what a worker holds is out with it");
      running += open->running ? 1 : 0;
      retracting += open->retracting ? 1 : 0;
    }
    Require(running == worker.running, "the number of running tasks of a worker");
    Require(retracting == worker.retracting, "the number of tasks asked back from a worker");
    Require(!worker.ended || worker.held.empty(), "a worker that ended holds nothing");
  }
  Require(held == out, "workers hold what is out and nothing else");
  for (const auto& [task, uncommitted] : uncommitted_) {
    Require(tasks_.Done(task), "what waits for its commit has an outcome");
  }
  uint64_t outcomes = 0;
  for (const uint64_t count : counts_.outcomes) outcomes += count;
  Require(outcomes <= tasks_.done_count(), "no more outcomes than finished tasks");
}

}  // namespace cq
