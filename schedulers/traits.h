#pragma once

#include <string>
#include <vector>

namespace cq {

/// What schedulers differ in. It is asked of this, and never of a scheduler's name.
struct SchedulerTraits {
  /// Workers can live on, or still start, when the master is gone: each submission is journalled
  /// before it is made.
  bool outlives_master = false;
  /// A worker that is lost by its silence can be ended, since it answers to nobody else.
  bool ends_silent = false;
  /// The cause of a worker's loss may be named some time after it.
  bool explains_late = false;
  /// Workers are on this machine, and inherit what the master has.
  bool same_host = false;
  /// Workers come and go as others need their slots: as many as there is work for are asked for
  /// (Scheduler::Want), and having none is no failure.
  bool lends = false;
  /// Nobody starts workers: they come by themselves, from anywhere.
  bool by_hand = false;
  /// So many workers at most.
  unsigned lent_at_most = 0;
};

/// Of runs without workers of their own (--workers 0).
inline constexpr const char* kByHand = "by hand";

/// The schedulers that there are (registry.cc). Besides them, `pool:NAME` is the warm pool of that
/// name.
std::vector<std::string> SchedulerNames();
/// Throws UsageError for a name that none has.
SchedulerTraits TraitsOf(const std::string& name);

}  // namespace cq
