#include "master/warm/lender_loop.h"

#include <fmt/format.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "cq/error.h"

namespace cq {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// Frames handled before the core may act on them.
constexpr int kFramesAtOnce = 1000;
constexpr seconds kKeepAliveEvery{10};
constexpr milliseconds kTurn{1000};

}  // namespace

LenderLoop::LenderLoop(Options options, LenderCore core, Transport transport, Workforce& workforce,
                       const MakeRecordWriter& make_writer, RunObserver& observer, Desk& desk)
    : options_(std::move(options)),
      core_(std::move(core)),
      port_(std::move(transport), observer),
      workforce_(workforce),
      observer_(observer),
      desk_(desk) {
  RecordWriter::Callbacks callbacks;
  callbacks.committed = [this](Committed committed) { mail_.Put(std::move(committed)); };
  callbacks.failed = [this](std::string reason) { mail_.Put(JournalFailed{std::move(reason)}); };
  callbacks.copied = [](const std::string&, const std::string&) {};
  writer_ = make_writer(std::move(callbacks));
}

// The pools' threads write to our mailbox and journal until they are closed.
LenderLoop::~LenderLoop() {
  workforce_.Close(WorkerSource::End::kNow);
  workforce_.Wait();
}

LenderLoop::End LenderLoop::Run() {
  workforce_.Open([this](Workforce::Word word) { mail_.Put(std::move(word)); }, mail_.fd(),
                  [this](JournalRecord record) {
                    std::vector<JournalRecord> records;
                    records.push_back(std::move(record));
                    writer_->Push(std::move(records));
                    return writer_->Flush();
                  });
  while (!end_) {
    try {
      Turn();
    } catch (const std::exception& error) {
      Finish(3, error.what());
    }
  }
  if (options_.ending && !end_->stays) options_.ending(end_->reason);
  workforce_.Close(end_->stays         ? WorkerSource::End::kStay
                   : end_->status == 0 ? WorkerSource::End::kTold
                                       : WorkerSource::End::kNow);
  port_.Close();
  if (const std::string left = workforce_.Wait(); !left.empty()) {
    // What could not be cancelled is known by the journal alone.
    observer_.Warning(left);
    end_->status = 3;
  }
  writer_.reset();
  return *end_;
}

void LenderLoop::Turn() {
  const auto tick = core_.fleet().tick();
  const auto readable =
      port_.Wait({mail_.fd(), options_.signal_fd, desk_.fd()}, std::min(tick, kTurn));
  if (readable[1]) OnSignals();
  int frames = kFramesAtOnce;
  while (auto incoming = port_.Receive(frames)) {
    if (std::holds_alternative<Request>(incoming->message)) {
      port_.Send(incoming->from, 0,
                 Reply{false, false,
                       fmt::format("it is a warm pool, no run: 'cq pool status {0}' shows it, 'cq "
                                   "pool stop {0}' ends it",
                                   options_.pool.name)});
      continue;
    }
    core_.OnMessage(Now(), incoming->from, incoming->envelope, std::move(incoming->message));
  }
  ReadMail();
  desk_.Read({[this](BorrowerId from, const OrderedJson& word) { OnWord(from, word); },
              [this](BorrowerId from) {
                const auto run = runs_.find(from);
                if (run == runs_.end()) return;
                observer_.Note(fmt::format("{} has gone", run->second.name));
                runs_.erase(run);
                core_.lender().OnBorrowerGone(from);
              },
              [this](BorrowerId from, bool mute) { core_.lender().OnMute(from, mute); },
              [this](const std::string& text) { observer_.Warning(text); }});
  if (end_) return;
  const uint64_t workers = core_.workers();
  core_.OnTick(Now());
  // The scheduler may know why a worker fell silent.
  if (core_.workers() < workers) workforce_.PollSoon();
  core_.Flush();
  Act();
  TellSlots();
  workforce_.Steer(Now(), core_);
  const auto problem = workforce_.Problem(core_, draining_.has_value());
  if (problem) return Finish(3, *problem);
  if (draining_ && core_.lender().loans() == 0) return Finish(0, *draining_);
  LookAtIdleness();
  if (Clock::now() - kept_alive_ < kKeepAliveEvery) return;
  kept_alive_ = Clock::now();
  if (options_.keep_alive) options_.keep_alive();
}

void LenderLoop::OnSignals() {
  signalfd_siginfo info{};
  while (read(options_.signal_fd, &info, sizeof info) == sizeof info) {
    const auto* name = sigabbrev_np(static_cast<int>(info.ssi_signo));
    if (info.ssi_signo == SIGINT && !draining_) {
      observer_.Warning(
          fmt::format("interrupted: the pool ends when its {} loans have; Ctrl-C again to end it "
                      "now",
                      core_.lender().loans()));
      Drain("interrupted");
    } else if (info.ssi_signo == SIGHUP && workforce_.outlives()) {
      // As if we had died, which the end of a session often means: nobody is told.
      end_ = End{3, "hung up (SIGHUP): its workers stay, and so do the runs on them", true};
    } else {
      StopNow(fmt::format("stopped by SIG{}", name));
    }
  }
}

void LenderLoop::ReadMail() {
  for (Mail& mail : mail_.TakeAll()) {
    std::visit([this](auto& m) { OnMail(m); }, mail);
  }
}

void LenderLoop::OnMail(Workforce::Word& word) {
  const auto problem = workforce_.On(Now(), word, core_, observer_, end_.has_value());
  if (problem) Finish(3, *problem);
}

// ---- runs ----

void LenderLoop::OnWord(BorrowerId from, const OrderedJson& word) {
  try {
    const auto say = word["say"].get<std::string>();
    if (say == "status") return desk_.Say(from, Status());
    if (say == "scale") {
      const std::string problem =
          Resize(word.at("least").get<uint64_t>(), word.at("most").get<uint64_t>());
      return desk_.Say(from, {{"say", "scale"}, {"problem", problem}});
    }
    if (say == "stop") {
      const bool now = word.value("now", false);
      return now ? StopNow("told to end now") : Drain("told to end");
    }
    if (say == "borrow") return OnBorrow(from, word);
    const auto run = runs_.find(from);
    if (run == runs_.end()) return;
    if (say == "want") {
      run->second.wanted = word.at("slots").get<uint64_t>();
      core_.lender().OnWants(from, run->second.wanted);
    } else if (say == "avoid") {
      core_.lender().OnAvoids(from, word.at("host").get<std::string>());
    } else if (say == "end") {
      core_.lender().OnUnwanted(from, word.at("loan").get<LoanId>());
    }
  } catch (const OrderedJson::exception& error) {
    desk_.Say(from, {{"say", "refused"}, {"reason", error.what()}});
  }
}

void LenderLoop::OnBorrow(BorrowerId from, const OrderedJson& word) {
  if (draining_) return desk_.Say(from, {{"say", "refused"}, {"reason", "it is about to end"}});
  Borrowing run;
  run.name = BytesOfJson(word.at("name"));
  run.priority = word.at("priority").get<int64_t>();
  run.pid = word.at("pid").get<uint64_t>();
  run.allocations = word.at("allocations").get<std::string>();
  run.logs = BytesOfJson(word.at("logs"));
  run.order.program = ListOfJson(word.at("program"));
  run.order.connection_file = BytesOfJson(word.at("connect"));
  if (options_.pool.same_host) {
    run.order.master_pid = run.pid;
    run.order.master_start = word.at("start").get<uint64_t>();
    run.order.workers_lock = BytesOfJson(word.at("workers_lock"));
  }
  const auto id = word.at("run").get<RunId>();
  const auto loans = word.at("loans").get<std::vector<LoanId>>();
  // All of it could be read.
  core_.lender().OnBorrower(from, id, run.priority);
  core_.lender().OnClaimed(from, loans);
  observer_.Note(fmt::format("{} borrows", run.name));
  Borrowing& here = runs_[from] = std::move(run);
  // What it has still comes first.
  Act();
  SayWhatItLends(from, here);
}

// Why it cannot have so many workers, if it cannot.
std::string LenderLoop::Resize(uint64_t least, uint64_t most) {
  if (draining_) return "it is about to end";
  if (auto problem = workforce_.Resize("", least, most); !problem.empty()) return problem;
  const std::string from = least < most ? fmt::format("{} to ", least) : "";
  observer_.Note(fmt::format("{}{} workers from now on", from, most));
  options_.pool.workers = most;
  WritePoolFile(options_.pool);
  return {};
}

OrderedJson LenderLoop::Status() {
  OrderedJson runs = OrderedJson::array();
  for (const auto& [id, run] : runs_) {
    runs.push_back(OrderedJson{{"run_dir", JsonOfBytes(run.name)},
                               {"pid", run.pid},
                               {"priority", run.priority},
                               {"wanted", run.wanted},
                               {"slots", core_.lender().LoansOf(id)}});
  }
  const PoolView view = workforce_.Look().at(0);
  return {{"say", "status"},
          {"name", options_.pool.name},
          {"scheduler", options_.pool.scheduler},
          {"state", draining_ ? "ending" : "running"},
          {"pid", options_.pool.pid},
          {"workers", core_.fleet().workers().here()},
          {"workers_least", view.least},
          {"workers_most", view.most},
          {"pending_workers", workforce_.pending()},
          {"pending_reason", workforce_.pending_reason()},
          {"slots", core_.lender().slots()},
          {"lent", core_.lender().loans()},
          {"seconds", std::chrono::duration<double>(Now()).count()},
          {"runs", std::move(runs)}};
}

// Runs let go of what they have when what runs there has ended.
void LenderLoop::Drain(const std::string& reason) {
  if (draining_) return;
  draining_ = reason;
  core_.lender().OnClosing();
  for (const auto& [id, run] : runs_) {
    desk_.Say(id, {{"say", "closing"}, {"reason", reason}});
  }
}

void LenderLoop::StopNow(const std::string& reason) {
  Drain(reason);
  Finish(0, reason);
}

void LenderLoop::Finish(int status, const std::string& reason) {
  if (end_) return;
  if (!draining_) Drain(reason);
  end_ = End{status, reason, false};
  core_.OnStop(reason);
  Act();
}

void LenderLoop::LookAtIdleness() {
  const auto now = Clock::now();
  // Nobody could ask before it was ready.
  if (!ready_ || !runs_.empty() || core_.lender().loans() > 0) busy_ = now;
  if (!ready_ && (!options_.pool.same_host || core_.workers() >= options_.workers_least)) {
    ready_ = true;
    if (options_.ready) options_.ready();
  }
  const auto limit = options_.idle_timeout;
  if (limit.count() > 0 && !draining_ && now - busy_ > limit) {
    Drain(fmt::format("no run has asked for a slot for {} s",
                      std::chrono::duration_cast<seconds>(limit).count()));
  }
}

void LenderLoop::TellSlots() {
  if (draining_) return;
  for (auto& [id, run] : runs_) {
    if (run.slots != CouldLend(id) || run.none != HasNoneFor(id)) {
      SayWhatItLends(id, run);
    }
  }
}

// Now, or once it has as many workers as it may: whoever wants no more than there are would never
// get more.
uint64_t LenderLoop::CouldLend(BorrowerId run) const {
  return std::max(core_.lender().SlotsFor(run), options_.pool.all_slots());
}

// Whoever leaves all machines alone that there are, and no other is to come, waits for nothing.
bool LenderLoop::HasNoneFor(BorrowerId run) const {
  const bool none = core_.lender().slots() > 0 && core_.lender().SlotsFor(run) == 0 &&
                    workforce_.pending() == 0 && core_.fleet().awaiting() == 0;
  if (!none) return false;
  const PoolView view = workforce_.Look().at(0);
  return !view.stopped.empty() || view.alive >= view.most;
}

void LenderLoop::SayWhatItLends(BorrowerId to, Borrowing& run) {
  run.slots = CouldLend(to);
  run.none = HasNoneFor(to);
  desk_.Say(to, {{"say", "lends"}, {"slots", run.slots}, {"none", run.none}});
}

// ---- what the core decides ----

void LenderLoop::Act() {
  for (Action& action : core_.TakeActions()) {
    std::visit([this](auto& a) { Do(a); }, action);
  }
  for (LenderAction& action : core_.lender().TakeActions()) {
    std::visit([this](auto& a) { Do(a); }, action);
  }
}

void LenderLoop::Do(Send& send) {
  if (!port_.Send(send)) core_.OnUnreachable(send.to);
}

void LenderLoop::Do(Note& note) {
  if (note.kind == Note::Kind::kWarning) {
    observer_.Warning(note.text);
  } else {
    observer_.Note(note.text);
  }
}

std::string LenderLoop::LogOf(const Borrowing& run, LoanId loan) const {
  return fmt::format("{}/pool-{}-{}.{}.log", run.logs, options_.pool.name, EpochOf(loan),
                     SerialOf(loan));
}

void LenderLoop::Do(Lend& lend) {
  const Borrowing& run = runs_.at(lend.borrower);
  LoanOrder order = run.order;
  order.allocation =
      fmt::format("{}{}.{}", run.allocations, EpochOf(lend.loan), SerialOf(lend.loan));
  order.log_file = LogOf(run, lend.loan);
  Task task;
  task.task = lend.loan;
  task.attempt = lend.loan;
  task.values = {LoanOrderText(order)};
  Assign assign{core_.lender().id(), {}};
  assign.tasks.push_back(std::move(task));
  if (!port_.Send(lend.to, lend.session, std::move(assign))) core_.OnUnreachable(lend.to);
  Lent lent{lend.borrower, lend.loan};
  Do(lent);
}

void LenderLoop::Do(Lent& lent) {
  const auto run = runs_.find(lent.borrower);
  if (run == runs_.end()) return;
  desk_.Say(
      lent.borrower,
      {{"say", "loan"}, {"loan", lent.loan}, {"log", JsonOfBytes(LogOf(run->second, lent.loan))}});
}

void LenderLoop::Do(LoanEnded& ended) {
  desk_.Say(ended.borrower, {{"say", "ended"},
                             {"loan", ended.loan},
                             {"reason", ended.reason},
                             {"explained", ended.explained}});
}

void LenderLoop::Do(Leave& leave) {
  desk_.Say(leave.borrower, {{"say", "leave"}, {"loan", leave.loan}});
}

void LenderLoop::Do(Limit& limit) {
  const auto slots = limit.slots == Lender::kNoLimit ? -1 : static_cast<int64_t>(limit.slots);
  desk_.Say(limit.borrower, {{"say", "limit"}, {"slots", slots}, {"spare", limit.spared}});
}

}  // namespace cq
