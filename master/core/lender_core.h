#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "master/core/employer.h"
#include "master/core/fleet.h"
#include "master/core/lender.h"
#include "master/core/outbox.h"

namespace cq {

/// The state machine of a warm pool's master, in the style of Core: a fleet, which knows the
/// workers, and a lender, which knows whose their slots are.
class LenderCore final : public Employer {
 public:
  struct Options {
    Epoch epoch = 1;
    /// What workers are told of the pool; its `run` is the pool's id.
    RunText text;
    std::chrono::milliseconds lease{30'000};
    /// A scheduler may name the cause of a loss after it.
    bool explained_late = false;
    /// As CoreOptions.
    Time remembered = CoreOptions{}.remembered;
  };
  LenderCore(Options options, const Recovered& recovered);

  void OnMessage(Time now, ConnectionId from, Envelope envelope, FromWorker message);
  /// The transport cannot reach this connection any more.
  void OnUnreachable(ConnectionId connection) { parts_->fleet.OnUnreachable(connection); }
  void OnCommitted(const Committed& committed) { parts_->fleet.OnRecorded(committed.workers); }
  void OnAllocationEnded(Time now, const std::string& allocation, const std::string& reason,
                         Blame blame) override {
    parts_->fleet.OnAllocationEnded(now, allocation, reason, blame);
  }
  // Nobody lends to a pool.
  void OnLimit(const std::string&, uint64_t, const std::vector<std::string>&) override {}
  bool HasSession(const std::string& allocation) const override {
    return parts_->fleet.HasSession(allocation);
  }
  bool IsConnected(const std::string& allocation) const override {
    return parts_->fleet.IsConnected(allocation);
  }
  // Of loans: as many as runs want, for as long as they like.
  WorkLeft demand(size_t) override {
    const uint64_t wanted = parts_->lender.wanted();
    // These do none of it.
    const uint64_t slots = wanted + (wanted > 0 ? parts_->lender.useless() : 0);
    return {slots, slots, 0, {}, {}};
  }
  void OnPool(size_t, bool) override {}
  // What it lends has its own limits.
  void OnTimeLeft(Time, const std::string&, Time, Time) override {}
  uint64_t progress() override { return parts_->lender.ended(); }
  uint64_t workers() override { return parts_->fleet.workers().here(); }
  uint64_t staying() const override { return parts_->fleet.staying(); }
  std::vector<std::string> Idle(Time now, Time time) const override {
    return parts_->lender.Idle(now, time);
  }
  std::vector<std::string> Emptiest() const override { return parts_->lender.Emptiest(); }
  void OnDismissed(const std::string& allocation, const std::string& reason) override {
    parts_->fleet.OnDismissed(allocation, reason);
  }
  bool draining() const override { return parts_->lender.closing(); }
  std::string CommonProblem() const override { return {}; }
  /// Workers end now, and what they have lent.
  void OnStop(const std::string& reason) { parts_->fleet.Stop(reason); }
  void OnTick(Time now);
  /// Call once everything that waited has been handled.
  void Flush() { parts_->lender.Flush(); }

  std::vector<Action> TakeActions() { return parts_->out.Take(); }
  std::vector<LenderAction> TakeLenderActions() { return parts_->lender.TakeActions(); }

  /// What runs say goes to it.
  Lender& lender() { return parts_->lender; }
  const Lender& lender() const { return parts_->lender; }
  const Fleet& fleet() const { return parts_->fleet; }

  /// Asserts that its books agree. For tests.
  void CheckInvariants() const;

 private:
  /// In one place, since they know each other.
  struct Parts {
    Parts(Options options, const Recovered& recovered);
    Outbox out;
    Fleet fleet;
    Lender lender;
  };
  std::unique_ptr<Parts> parts_;
};

}  // namespace cq
