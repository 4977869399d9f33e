// A run whose workers a batch system brings: its master's workforce, as the master's loop has it.
#include <fmt/format.h>

#include <algorithm>

#include "tests/simulation/sim_run.h"

namespace cq::sim {

using std::chrono::minutes;

void SimRun::OpenWorkforce() {
  PoolShare share;
  share.pool = batch_.get();
  share.workers = static_cast<unsigned>(world_.workers);
  share.slots = static_cast<unsigned>(world_.slots);
  if (world_.least < world_.workers) share.least = static_cast<unsigned>(world_.least);
  share.idle_timeout = world_.idle_timeout;
  share.launch_timeout = world_.launch_timeout;
  workforce_ = std::make_unique<Workforce>(std::vector{share}, world_.embedding);
  workforce_->Open(
      [this, master = master_](Workforce::Word word) {
        if (master != master_ || core_ == nullptr || over_) return;
        mail_.push_back(std::move(word));
        if (now_ >= master_stopped_until_) StepMaster();
      },
      -1, [](const JournalRecord&) { return true; });
}

void SimRun::OnMail() {
  while (!mail_.empty()) {
    Workforce::Word word = std::move(mail_.front());
    mail_.pop_front();
    ReadSpool();
    if (auto problem = workforce_->On(MasterNow(), word, *core_, observer_, false)) {
      return GoesNotOn(*problem);
    }
    core_->CheckInvariants();
  }
}

void SimRun::Steer() {
  workforce_->Steer(MasterNow(), *core_);
  if (const auto problem = workforce_->Problem(*core_, false)) GoesNotOn(*problem);
}

// It ends, with all its jobs; and its user resumes it.
void SimRun::GoesNotOn(const std::string& problem) {
  // What happened before may show later, once.
  if (now_ > world_.quiet_after + minutes(30) && last_problem_ > world_.quiet_after) {
    throw Broken{fmt::format("nothing goes wrong, and the run cannot go on: {}", problem)};
  }
  last_problem_ = now_;
  Say("the run cannot go on: " + problem);
  workforce_->Close(WorkerSource::End::kNow);
  KillMaster();
}

void SimRun::CheckEnough() {
  std::optional<uint64_t> needed;
  if (core_ != nullptr && now_ >= master_stopped_until_ && !core_->draining()) {
    const std::vector<PoolView> pools = workforce_->Look();
    const uint64_t tasks = core_->demand(0).slots;
    if (pools.front().stopped.empty() && tasks > 0) {
      const uint64_t could_fill = (tasks + world_.slots - 1) / world_.slots;
      needed = std::clamp<uint64_t>(world_.least, 1, could_fill);
    }
  }
  batch_->CheckEnough(needed);
}

}  // namespace cq::sim
