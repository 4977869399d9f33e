#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "master/core/worker_table.h"

namespace cq {

/// How many workers a pool is to have, and when: decides, and does nothing. It sees the work that
/// there is and the jobs that live, and says what to submit and what to take back.
class Scale {
 public:
  struct Bounds {
    /// Kept up as long as the work that is left could fill them, or always.
    unsigned min = 1;
    unsigned max = 1;
    unsigned slots = 1;
    bool always = false;
  };
  struct Demand {
    /// Without an outcome, running or not; what takes more than a slot counts as several.
    uint64_t tasks = 0;
    /// How long one takes; zero: nobody knows.
    std::chrono::nanoseconds mean{};
  };
  struct Supply {
    /// Jobs that have not ended, and workers that the scheduler was asked for and has not answered
    /// about.
    uint64_t alive = 0;
    uint64_t starting = 0;
    /// Those of the jobs that have not started, the newest last.
    std::vector<std::string> pending;
  };
  struct Step {
    unsigned start = 0;
    /// Allocations to be taken back, unless they have started meanwhile.
    std::vector<std::string> withdraw;
  };

  /// What is so for that long, as several looks at the jobs find it, is not about to change.
  static constexpr Time kSteady = std::chrono::seconds(15);

  explicit Scale(Bounds bounds) : bounds_(bounds) {}

  Step Next(Time now, const Demand& demand, const Supply& supply);

  /// The user wants other bounds: what stopped it may be over.
  void SetBounds(unsigned min, unsigned max);
  const Bounds& bounds() const { return bounds_; }
  /// Workers were submitted.
  void OnAccepted();
  /// So many workers were refused for now; until when nothing is submitted.
  Time OnRefused(Time now, unsigned workers);
  /// A worker has connected that had not.
  void OnConnected() { dead_in_a_row_ = 0; }
  /// A worker ended by itself before it connected; `how`, for the user. `others`: there are some
  /// that did.
  void OnDeadLaunch(Time now, const std::string& how, bool others);
  /// No further worker is submitted, for this reason.
  void Stop(std::string reason);
  const std::optional<std::string>& stopped() const { return stopped_; }
  /// This allocation is taken back for another reason.
  void OnWithdrawn(const std::string& allocation) { withdrawn_.insert(allocation); }
  /// Whether this allocation was taken back before it started; asked once.
  bool WasWithdrawn(const std::string& allocation) { return withdrawn_.erase(allocation) > 0; }

  /// How many workers the work is worth; and how many there are whatever it is worth.
  uint64_t Wanted(const Demand& demand) const;
  uint64_t Least(const Demand& demand) const;

 private:
  void Pause(Time now);

  Bounds bounds_;
  std::optional<std::string> stopped_;
  unsigned dead_in_a_row_ = 0;
  /// After a refusal: how many are submitted at once at most, until when none is, and for how long
  /// after the next refusal.
  std::optional<unsigned> at_once_;
  Time refused_until_{};
  Time pause_{};
  /// Since when there are more pending jobs than are needed.
  std::optional<Time> surplus_since_;
  /// The user wants it so: those that wait are not to start in place of those that leave.
  bool withdraw_now_ = false;
  std::set<std::string> withdrawn_;
};

}  // namespace cq
