#include "master/core/lender_core.h"

#include <utility>

namespace cq {

LenderCore::Parts::Parts(Options options, const Recovered& recovered)
    : fleet({options.text.run, options.epoch, options.lease, options.explained_late,
             options.remembered},
            recovered, out),
      lender(std::move(options.text), options.epoch, fleet, out) {
  fleet.set_tenant(lender);
}

LenderCore::LenderCore(Options options, const Recovered& recovered)
    : parts_(std::make_unique<Parts>(std::move(options), recovered)) {}

void LenderCore::OnMessage(Time now, ConnectionId from, Envelope envelope, FromWorker message) {
  auto& [out, fleet, lender] = *parts_;
  if (auto* hello = std::get_if<Hello>(&message)) return fleet.OnHello(now, from, envelope, *hello);
  const auto [worker, gap] = fleet.OnMessage(now, from, envelope);
  if (worker == nullptr) return;
  if (const auto* results = std::get_if<Results>(&message)) {
    if (results->run == lender.id()) lender.OnResults(*worker, *results);
  } else if (const auto* returned = std::get_if<Returned>(&message)) {
    if (returned->run == lender.id()) lender.OnReturned(*worker, *returned);
  } else if (const auto* heartbeat = std::get_if<WorkerHeartbeat>(&message)) {
    fleet.OnHeartbeat(*worker, *heartbeat);
  } else if (const auto* leaving = std::get_if<Leaving>(&message)) {
    fleet.OnLeaving(*worker, leaving->reason);
  } else if (const auto* goodbye = std::get_if<Goodbye>(&message)) {
    fleet.OnGoodbye(now, *worker, goodbye->reason);
  }
  fleet.OnHeard(now, from, gap);
}

void LenderCore::OnTick(Time now) {
  auto& [out, fleet, lender] = *parts_;
  const Fleet::Due due = fleet.OnTick(now);
  lender.OnTick(now);
  if (due.sweep) {
    fleet.Sweep(now);
    lender.Sweep(now);
  }
  if (due.heartbeats) fleet.SendHeartbeats();
}

void LenderCore::CheckInvariants() const {
  parts_->fleet.CheckInvariants();
  parts_->lender.CheckInvariants();
}

}  // namespace cq
