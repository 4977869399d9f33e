#include "tests/simulation/sim_pool.h"

#include <fmt/format.h>

#include <algorithm>

#include "tests/simulation/names.h"

namespace cq::sim {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

namespace {
constexpr RunId kPool = 4242;
/// As schedulers/warm.cc has it.
constexpr Time kReturnWithin = seconds(10);
/// As Workforce has it.
constexpr Time kLaunchWithin = minutes(10);
}  // namespace

SimPool::SimPool(const World& world, Timeline& timeline, const SimRun::Trace& trace)
    : world_(world), timeline_(timeline), trace_(trace), random_(world.seed * 2 + 2) {}

void SimPool::Say(const std::string& line) {
  if (trace_) trace_(fmt::format("{:>8} ms  pool: {}", now_ / milliseconds(1), line));
}

void SimPool::Begin() {
  StartMaster();
  for (uint64_t i = 0; i < world_.pool_workers; ++i) StartHost();
  At(seconds(1), [this] { Trouble(); });
}

// ---- workers of the pool ----

void SimPool::StartHost() {
  auto made = std::make_unique<Host>();
  Host& host = *made;
  host.number = hosts_.size() + 1;
  host.allocation = fmt::format("{} {}", world_.scheduled ? "slurm" : "local", host.number);
  host.machine.name = fmt::format("h{}", host.number);
  host.machine.ended = [this, &host](const SimWorker& worker, bool well) {
    OnLoanEnded(host, worker, well);
  };
  host.machine.die = [this, &host] { KillHost(host, false); };
  WorkerCoreOptions options;
  options.run = kPool;
  options.worker[0] = static_cast<uint8_t>(host.number);
  options.worker[1] = static_cast<uint8_t>(host.number >> 8);
  options.host = host.machine.name;
  options.allocation = host.allocation;
  options.slots = world_.pool_slots;
  options.local = !world_.scheduled;
  host.core = std::make_unique<WorkerCore>(options);
  hosts_.push_back(std::move(made));
  Say(fmt::format("worker {} starts", host.number));
  Connect(host);
  host.core->OnConnected(now_);
  StepHost(host);
}

// All that it has lent dies with it.
void SimPool::KillHost(Host& host, bool explained) {
  if (!host.alive) return;
  Say(fmt::format("worker {} dies", host.number));
  host.alive = false;
  links_[host.connection].open = false;
  for (auto& [id, loan] : host.loans) loan.run->KillLoan(*loan.worker);
  host.loans.clear();
  const Time told = world_.scheduled ? random_.Within(seconds(100)) : random_.Within(seconds(1));
  TellHostEnded(host.allocation, explained, told);
  After(random_.Within(seconds(5)), [this] {
    if (!over_ && AliveHosts() < world_.pool_workers) StartHost();
  });
}

void SimPool::TellHostEnded(const std::string& allocation, bool explained, Time delay) {
  After(delay, [this, allocation, explained] {
    if (over_) return;
    if (core_ == nullptr) return TellHostEnded(allocation, explained, seconds(5));
    core_->OnAllocationEnded(MasterNow(), allocation, "its job ended",
                             explained ? Blame::kNobody : Blame::kFinal);
    StepMaster();
  });
}

uint64_t SimPool::AliveHosts() const {
  return static_cast<uint64_t>(
      std::count_if(hosts_.begin(), hosts_.end(), [](const auto& host) { return host->alive; }));
}

void SimPool::Connect(Host& host) {
  if (host.connection != 0) links_[host.connection].open = false;
  host.connection = ++next_connection_;
  Link link;
  link.host = &host;
  links_[host.connection] = link;
}

void SimPool::WakeHost(Host& host) {
  After(Time{}, [this, &host] { StepHost(host); });
}

void SimPool::StepHost(Host& host) {
  if (!host.alive || over_) return;
  const auto act = [this, &host] {
    host.core->CheckInvariants();
    for (auto actions = host.core->TakeActions(); !actions.empty() && host.alive;
         actions = host.core->TakeActions()) {
      for (WorkerAction& action : actions) {
        std::visit([this, &host](auto& a) { Do(host, a); }, action);
        if (!host.alive) return;
      }
    }
  };
  while (!host.inbox.empty() && host.alive) {
    auto [envelope, message] = std::move(host.inbox.front());
    host.inbox.pop_front();
    host.core->OnMessage(now_, envelope, std::move(message));
    act();
  }
  if (!host.alive) return;
  std::vector<RunningTask> running;
  uint64_t slot = 0;
  for (const auto& [id, loan] : host.loans) running.push_back({{id, id}, slot++, loan.started});
  host.core->OnRunning(running);
  for (auto& [result, by_us] : std::exchange(host.ended, {})) {
    host.core->OnFinished(now_, std::move(result), by_us);
  }
  host.core->OnTick(now_);
  act();
  if (!host.alive) return;
  const Time due = std::max(host.core->next_due(), now_ + milliseconds(1));
  if (due >= host.wake_at && host.wake_at > now_) return;
  host.wake_at = due;
  At(due, [this, &host, due] {
    if (host.wake_at == due) host.wake_at = Time::max();
    StepHost(host);
  });
}

void SimPool::Do(Host& host, SendUp& send) {
  SendThrough(host, links_[host.connection].up_free, [this, from = host.connection, send] {
    if (core_ == nullptr) return;
    inbox_.push_back({from, send.envelope, send.message});
    StepMaster();
  });
}

void SimPool::Do(Host& host, Reconnect&) {
  Connect(host);
  host.core->OnConnected(now_);
}

void SimPool::Do(Host& host, Prepare&) { host.core->OnPrepared(""); }

void SimPool::Do(Host& host, Enqueue& enqueue) {
  for (const Task& task : enqueue.tasks) {
    const Client& client = clients_.at(std::stoull(task.values.at(0)));
    // Of a run that has ended, or whose master lives on the machine and is gone.
    const bool gone = client.run->over() || (!world_.scheduled && !client.run->has_master());
    host.loans[task.attempt] = {client.run, nullptr, now_, false};
    if (gone) {
      EndLoan(host, task.attempt, Outcome::kError, false);
      continue;
    }
    SimWorker& worker = client.run->StartLoan(AllocationOf(task.attempt), &host.machine);
    const auto loan = host.loans.find(task.attempt);
    if (loan != host.loans.end()) loan->second.worker = &worker;
  }
}

void SimPool::Do(Host& host, TakeBack& take) { host.core->OnTakenBack({}, take.reason); }

void SimPool::Do(Host& host, cq::Kill& kill) {
  for (const AttemptRef& ref : kill.attempts) {
    const auto loan = host.loans.find(ref.attempt);
    if (loan == host.loans.end()) continue;
    loan->second.run->KillLoan(*loan->second.worker);
    EndLoan(host, ref.attempt, Outcome::kError, true);
  }
}

void SimPool::Do(Host& host, Exit& exit) {
  Say(fmt::format("worker {} exits: {}", host.number, exit.reason));
  KillHost(host, true);
}

void SimPool::OnLoanEnded(Host& host, const SimWorker& worker, bool well) {
  for (const auto& [id, loan] : host.loans) {
    if (loan.worker != &worker) continue;
    EndLoan(host, id, well ? Outcome::kOk : Outcome::kError, false);
    return;
  }
}

void SimPool::EndLoan(Host& host, LoanId id, Outcome outcome, bool by_us) {
  host.loans.erase(id);
  TaskResult result;
  result.task = id;
  result.attempt = id;
  result.outcome = outcome;
  if (outcome != Outcome::kOk) {
    result.details.Edit().exit = 1;
    result.details.Edit().error = "its worker died";
  }
  host.ended.emplace_back(std::move(result), by_us);
  WakeHost(host);
}

void SimPool::SendThrough(Host& host, Time& free, const std::function<void()>& deliver) {
  const bool quiet = now_ >= world_.quiet_after;
  if (!quiet && random_.Chance(world_.drop)) return;
  free = std::max(free, now_ + random_.Within(milliseconds(2)));
  const ConnectionId connection = host.connection;
  At(free, [this, connection, deliver] {
    if (links_[connection].open && !over_) deliver();
  });
  if (!quiet && random_.Chance(world_.cut)) {
    Say(fmt::format("the connection of worker {} is cut", host.number));
    Connect(host);
    After(random_.Within(milliseconds(5)), [this, &host] {
      if (!host.alive) return;
      host.core->OnDisconnected();
      StepHost(host);
    });
  }
}

// ---- the master of the pool ----

void SimPool::StartMaster() {
  LenderCore::Options options;
  options.epoch = ++master_;
  options.text.run = kPool;
  options.text.command = {{"cq"}, {"worker"}};
  options.text.on_master_loss_ms = 600'000;
  options.lease = std::chrono::duration_cast<milliseconds>(world_.lease);
  options.remembered = world_.remembered;
  options.explained_late = world_.scheduled;
  Recovered recovered;
  for (const auto& [number, worker] : known_) {
    // Those of this machine ended with their master.
    if (world_.scheduled) recovered.workers.push_back(worker);
  }
  recovered.last_worker = last_worker_;
  core_ = std::make_unique<LenderCore>(std::move(options), recovered);
  master_origin_ = now_ - seconds(1);
  inbox_.clear();
  Say(fmt::format("master {} starts", master_));
  for (const auto& host : hosts_) {
    if (!host->alive)
      core_->OnAllocationEnded(MasterNow(), host->allocation, "gone", Blame::kNobody);
  }
  StepMaster();
  Tick(master_);
  for (auto& [id, client] : clients_) {
    After(random_.Within(milliseconds(200)), [this, &client] { ConnectClient(client); });
  }
  if (world_.scheduled) return;
  while (AliveHosts() < world_.pool_workers) StartHost();
}

void SimPool::KillMaster() {
  Say("the master dies");
  core_.reset();
  for (const auto& host : hosts_) host->dismissed.reset();
  for (auto& [id, link] : links_) {
    if (!std::exchange(link.open, false)) continue;
    Host* host = link.host;
    After(random_.Within(milliseconds(5)), [this, host] {
      if (!host->alive) return;
      host->core->OnDisconnected();
      StepHost(*host);
    });
  }
  if (!world_.scheduled) {
    for (const auto& host : hosts_) {
      if (!host->alive) continue;
      host->alive = false;
      for (auto& [id, loan] : host->loans) loan.run->KillLoan(*loan.worker);
      host->loans.clear();
    }
  }
  for (auto& [id, client] : clients_) OnPoolGone(client);
  After(random_.Chance(300) ? random_.Within(minutes(1)) : random_.Within(seconds(9)),
        [this] { StartMaster(); });
}

void SimPool::Tick(uint64_t master) {
  After(std::chrono::duration_cast<Time>(world_.lease / 30), [this, master] {
    if (master != master_ || core_ == nullptr || over_) return;
    StepMaster();
    Tick(master);
  });
}

void SimPool::StepMaster() {
  if (core_ == nullptr || over_) return;
  while (!inbox_.empty()) {
    Incoming incoming = std::move(inbox_.front());
    inbox_.pop_front();
    core_->OnMessage(MasterNow(), incoming.from, incoming.envelope, std::move(incoming.message));
    core_->CheckInvariants();
  }
  core_->OnTick(MasterNow());
  core_->Flush();
  core_->CheckInvariants();
  for (Action& action : core_->TakeActions()) {
    std::visit([this](auto& a) { Do(a); }, action);
  }
  for (LenderAction& action : core_->lender().TakeActions()) {
    std::visit([this](auto& a) { Do(a); }, action);
  }
}

void SimPool::Do(Send& send) {
  const auto found = links_.find(send.to);
  if (found == links_.end() || !found->second.open) return core_->OnUnreachable(send.to);
  Transmit(found->second, send.session, std::move(send.message));
}

void SimPool::Do(Write& write) {
  Committed committed;
  for (const JournalRecord& record : write.records) {
    committed.Add(record);
    if (const auto* worker = std::get_if<WorkerRecord>(&record)) {
      known_[worker->worker] = {worker->worker, worker->id, worker->host, worker->allocation, true};
      last_worker_ = std::max(last_worker_, worker->worker);
    } else if (const auto* end = std::get_if<WorkerEndRecord>(&record)) {
      known_.erase(end->worker);
    }
  }
  After(random_.Within(milliseconds(20)), [this, committed, master = master_] {
    if (core_ == nullptr || master != master_ || over_) return;
    core_->OnCommitted(committed);
    StepMaster();
  });
}

void SimPool::Do(EndJob& job) {
  if (world_.scheduled) return;
  for (const auto& host : hosts_) {
    if (host->allocation == job.allocation) KillHost(*host, false);
  }
}

void SimPool::Do(Lend& lend) {
  Task task;
  task.task = lend.loan;
  task.attempt = lend.loan;
  task.values = {std::to_string(borrowers_.at(lend.borrower))};
  Assign assign{kPool, {}};
  assign.tasks.push_back(std::move(task));
  const auto found = links_.find(lend.to);
  if (found == links_.end() || !found->second.open) {
    core_->OnUnreachable(lend.to);
  } else {
    Transmit(found->second, lend.session, std::move(assign));
  }
  Lent lent{lend.borrower, lend.loan};
  Do(lent);
}

void SimPool::Do(Lent& lent) {
  ToRun(lent.borrower, [loan = lent.loan](Client& client) { client.loans.insert(loan); });
}

void SimPool::Do(LoanEnded& ended) {
  ToRun(ended.borrower, [this, ended](Client& client) {
    if (client.loans.erase(ended.loan) == 0) return;
    client.run->TellEnded(AllocationOf(ended.loan),
                          ended.explained ? Blame::kNobody : Blame::kFinal);
  });
}

void SimPool::Do(Limit& limit) {
  ToRun(limit.borrower, [this, limit](Client& client) {
    client.run->TellLimit(Prefix(), limit.slots, {limit.spared.begin(), limit.spared.end()});
  });
}

void SimPool::Do(Leave& leave) {
  ToRun(leave.borrower, [this, leave](Client& client) {
    if (client.loans.contains(leave.loan)) client.run->TellLeave(AllocationOf(leave.loan));
  });
}

void SimPool::Transmit(Link& link, SessionId session, ToWorker message) {
  Envelope envelope{session, 0};
  if (session != 0 && !std::holds_alternative<Who>(message)) {
    if (link.session != session) {
      link.session = session;
      link.sent_down = 0;
    }
    envelope.sequence = ++link.sent_down;
  }
  Host& host = *link.host;
  Say(fmt::format("the master sends {} to worker {} in {:x} {}", NameOf(message), host.number,
                  session, envelope.sequence));
  SendThrough(host, link.down_free, [this, &host, envelope, message] {
    host.inbox.emplace_back(envelope, message);
    StepHost(host);
  });
}

// ---- runs ----

SimPool::Client& SimPool::ClientOf(const SimRun& run) { return clients_[run.id()]; }

SimPool::Client* SimPool::ClientWith(BorrowerId connection) {
  for (auto& [id, client] : clients_) {
    if (client.connection == connection) return &client;
  }
  return nullptr;
}

std::string SimPool::AllocationOf(LoanId loan) const {
  return fmt::format("{}{}.{}", Prefix(), EpochOf(loan), SerialOf(loan));
}

void SimPool::OnMaster(SimRun& run, bool there) {
  Client& client = ClientOf(run);
  client.run = &run;
  client.loans.clear();
  client.avoided.clear();
  client.gone = now_;
  if (there) {
    client.wanted = 0;
    After(random_.Within(milliseconds(5)), [this, &client] { ConnectClient(client); });
    return;
  }
  const BorrowerId gone = std::exchange(client.connection, 0);
  if (gone == 0) return;
  After(random_.Within(milliseconds(5)), [this, gone, master = master_] {
    if (core_ == nullptr || master != master_ || over_) return;
    core_->lender().OnBorrowerGone(gone);
    StepMaster();
  });
}

void SimPool::ConnectClient(Client& client) {
  if (core_ == nullptr || client.connection != 0 || over_) return;
  if (client.run->over() || !client.run->has_master() || client.run->alone()) return;
  client.connection = ++next_borrower_;
  borrowers_[client.connection] = client.run->id();
  client.run->TellLimit(Prefix(), Lender::kNoLimit);
  const std::vector<LoanId> loans(client.loans.begin(), client.loans.end());
  ToPool(client,
         [id = client.connection, run = client.run->id(), loans, wanted = client.wanted,
          avoided = client.avoided, priority = client.run->world().priority](Lender& lender) {
           lender.OnBorrower(id, run, priority);
           for (const std::string& host : avoided) lender.OnAvoids(id, host);
           lender.OnClaimed(id, loans);
           lender.OnWants(id, wanted);
         });
}

void SimPool::OnDemand(SimRun& run, uint64_t slots) {
  Client& client = ClientOf(run);
  const uint64_t wanted = std::min(slots, world_.pool_workers * world_.pool_slots);
  if (std::exchange(client.wanted, wanted) == wanted || client.connection == 0) return;
  ToPool(client, [id = client.connection, wanted](Lender& lender) { lender.OnWants(id, wanted); });
}

void SimPool::OnAvoid(SimRun& run, const std::string& host) {
  Client& client = ClientOf(run);
  client.avoided.insert(host);
  if (client.connection == 0) return;
  ToPool(client, [id = client.connection, host](Lender& lender) { lender.OnAvoids(id, host); });
}

void SimPool::OnSilent(SimRun& run, const std::string& allocation) {
  Client& client = ClientOf(run);
  for (const LoanId loan : client.loans) {
    if (AllocationOf(loan) != allocation || client.connection == 0) continue;
    ToPool(client, [id = client.connection, loan](Lender& lender) { lender.OnUnwanted(id, loan); });
  }
}

void SimPool::ToPool(Client& client, const std::function<void(Lender&)>& say) {
  client.up_free = std::max(client.up_free, now_ + random_.Within(milliseconds(2)));
  At(client.up_free, [this, say, connection = client.connection, master = master_] {
    if (core_ == nullptr || master != master_ || over_ || ClientWith(connection) == nullptr) return;
    say(core_->lender());
    StepMaster();
  });
}

void SimPool::ToRun(BorrowerId to, const std::function<void(Client&)>& say) {
  Client* client = ClientWith(to);
  if (client == nullptr) return;
  client->down_free = std::max(client->down_free, now_ + random_.Within(milliseconds(2)));
  At(client->down_free, [this, say, to] {
    Client* now = ClientWith(to);
    if (now != nullptr && !over_) say(*now);
  });
}

void SimPool::OnPoolGone(Client& client) {
  if (std::exchange(client.connection, 0) == 0) return;
  client.gone = now_;
  const Time gone = now_;
  const Time patience = world_.scheduled ? kReturnWithin : random_.Within(milliseconds(5));
  After(patience, [this, &client, gone] {
    if (client.connection == 0 && client.gone == gone) EndAllLoans(client);
  });
}

// Whatever still lives of them shows it.
void SimPool::EndAllLoans(Client& client) {
  for (const LoanId loan : client.loans) client.run->TellEnded(AllocationOf(loan), Blame::kNobody);
  if (!world_.scheduled) client.loans.clear();
}

void SimPool::Trouble() {
  if (over_) return;
  if (now_ < world_.quiet_after) {
    if (core_ != nullptr && random_.Chance(world_.kill_pool)) KillMaster();
    for (auto& [id, client] : clients_) {
      if (core_ == nullptr || client.connection == 0 || !random_.Chance(world_.mute)) continue;
      Say(fmt::format("run {} is silent", id - 77));
      core_->lender().OnMute(client.connection, true);
      After(random_.Within(minutes(1)), [this, connection = client.connection, master = master_] {
        if (core_ == nullptr || master != master_ || over_) return;
        core_->lender().OnMute(connection, false);
        StepMaster();
      });
    }
    // As the workforce does, when its bounds are others or somebody has nothing to do.
    if (core_ != nullptr && random_.Chance(world_.dismiss)) {
      Dismiss(random_.Chance(500) ? core_->Emptiest() : core_->Idle(MasterNow(), seconds(2)));
    }
    const auto host = hosts_.empty() ? 0 : random_.Below(hosts_.size());
    if (random_.Chance(world_.kill_host)) KillHost(*hosts_[host], random_.Chance(300));
  }
  if (core_ != nullptr && AliveHosts() == 0) StartHost();
  CheckLeaving();
  for (auto& [id, client] : clients_) EndUnheard(client);
  After(seconds(1), [this] { Trouble(); });
}

void SimPool::EndUnheard(Client& client) {
  std::erase_if(client.unheard, [&](const auto& entry) {
    return !client.loans.contains(entry.first) || client.run->Hears(AllocationOf(entry.first));
  });
  if (client.connection == 0) return;
  for (const LoanId loan : client.loans) {
    if (client.run->Hears(AllocationOf(loan))) continue;
    Time& since = client.unheard.try_emplace(loan, now_).first->second;
    if (now_ - since < kLaunchWithin) continue;
    since = now_;
    OnSilent(*client.run, AllocationOf(loan));
  }
}

// The first of these.
void SimPool::Dismiss(const std::vector<std::string>& allocations) {
  if (allocations.empty()) return;
  Say(allocations[0] + " is told to leave");
  core_->OnDismissed(allocations[0], "fewer are enough");
  for (const auto& host : hosts_) {
    if (host->allocation == allocations[0]) host->dismissed = now_;
  }
  StepMaster();
}

// Runs empty what they have on a worker that leaves: it is gone once what runs there has ended. A
// run cannot be asked that has no master, is over, or went on elsewhere.
void SimPool::CheckLeaving() {
  Time longest = world_.longest_task;
  for (const auto& [id, client] : clients_) {
    longest = std::max(longest, client.run->world().longest_task);
  }
  for (const auto& host : hosts_) {
    if (!host->alive || !host->dismissed) continue;
    for (const auto& [id, loan] : host->loans) {
      const SimRun& run = *loan.run;
      if (run.over() || !run.has_master() || run.alone()) host->dismissed = now_;
    }
    if (now_ - std::max(*host->dismissed, world_.quiet_after) > 3 * longest + minutes(2)) {
      throw Broken{fmt::format("worker {} of the pool was told to leave and stays", host->number)};
    }
  }
}

}  // namespace cq::sim
