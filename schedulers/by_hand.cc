// Workers that others start: nobody here submits them, watches them, or ends them.
#include "cq/error.h"
#include "schedulers/scheduler.h"

namespace cq {
namespace {

class ByHand : public Scheduler {
 public:
  std::string Submit(unsigned, const std::string&) override {
    throw Error("its workers are started by hand");
  }
  std::vector<WorkerJob> Poll() override { return {}; }
  // They have been told to leave, or leave when nobody answers any more.
  void Finish() override {}
  void CancelAll() override {}
  std::chrono::milliseconds PollInterval(bool) const override { return std::chrono::minutes(1); }
  bool ControllerAtLoopback() override { return false; }
};

}  // namespace

// As the others are made. NOLINTNEXTLINE(performance-unnecessary-value-param)
std::unique_ptr<Scheduler> MakeByHand(WorkerLaunch /*launch*/) {
  return std::make_unique<ByHand>();
}

}  // namespace cq
