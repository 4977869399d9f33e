#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/assert.h"
#include "master/core/actions.h"
#include "master/core/worker_table.h"

namespace cq {

/// The actions that the parts of a core have decided on, in their order.
class Outbox {
 public:
  void Add(Action action) { actions_.push_back(std::move(action)); }
  void SendTo(const Worker& worker, ToWorker message) {
    CQ_ASSERT(worker.here() != nullptr, "worker {} is told something, and not here", worker.number);
    Add(Send{worker.here()->connection, worker.session, std::move(message)});
  }
  void Tell(Note::Kind kind, std::string text) { Add(Note{kind, std::move(text)}); }
  /// Into the journal, together with what is written before and after it.
  template <class R>
  void Record(R record) {
    if (actions_.empty() || !std::holds_alternative<Write>(actions_.back())) Add(Write{});
    std::get<Write>(actions_.back()).records.emplace_back(std::move(record));
  }
  std::vector<Action> Take() { return std::exchange(actions_, {}); }

 private:
  std::vector<Action> actions_;
};

}  // namespace cq
