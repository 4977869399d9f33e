#pragma once

#include <algorithm>
#include <functional>
#include <queue>
#include <vector>

#include "tests/simulation/world.h"

namespace cq::sim {

/// What is going to happen, in order; events of the same time in the order in which they were set.
class Timeline {
 public:
  const Time& now() const { return now_; }

  void At(Time when, std::function<void()> run) {
    events_.push({std::max(when, now_), ++serial_, std::move(run)});
  }

  /// Goes to the next event.
  void Step() {
    if (events_.empty()) throw Broken{"nothing happens any more"};
    const Event event = events_.top();
    events_.pop();
    now_ = event.at;
    event.run();
  }

 private:
  struct Event {
    Time at{};
    uint64_t serial = 0;
    std::function<void()> run;
    bool operator>(const Event& other) const {
      return at != other.at ? at > other.at : serial > other.serial;
    }
  };

  Time now_{};
  uint64_t serial_ = 0;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
};

}  // namespace cq::sim
