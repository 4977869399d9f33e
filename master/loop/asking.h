#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "master/core/core.h"
#include "master/input/task_source.h"
#include "master/proposer/proposer.h"

namespace cq {

/// A proposer that is ready, and what it is told before anything else: what it knew before its
/// master's end, in the same order, and the rows that wait or run.
struct ReadyProposer {
  std::unique_ptr<Proposer> proposer;
  std::deque<Telling> replay;
};

/// Appends the room for one more ending, or row that waits: a message has some of them.
Telling& RoomIn(std::deque<Telling>& tellings);

/// What an event loop does for its run's proposer: tells it what has ended, asks it for rows, and
/// writes down what it answers. One thread.
class Asking {
 public:
  struct Doors {
    /// From its thread: to be handed to OnAnswer.
    std::function<void(ProposerAnswer)> answer;
    std::function<void(JournalRecord)> write;
    std::function<void(const std::string&)> note;
  };
  Asking(ReadyProposer ready, Core& core, Doors doors);

  /// It hears of this result, which its source has not forgotten yet.
  void OnEnded(const ResultRecord& record, TaskSource& tasks);
  /// A row that is wanted again had ended before, and it hears of that.
  void OnBack(const AddedRow& row);
  /// Speaks to it, if it is time to. Once all that the core wants written is known here (OnEnded).
  void Steer(Time now);
  /// What it answered. Empty, or why the run cannot go on.
  std::string OnAnswer(ProposerAnswer answer);
  /// Of others.
  void OnOthersAdd() { others_added_ = true; }
  /// The rows of this request are durable, so many of which are new; false: they are not its own.
  bool OnDurable(uint64_t request, size_t rows);
  /// It is told no more. As Proposer::Close.
  void Close(bool patiently);

 private:
  /// What it was told last, of which it has not answered, or not durably.
  struct Told {
    /// kAgain: at a start, before anything new; kKnown: of that, what it has answered durably.
    enum class What : uint8_t { kNews, kAgain, kKnown };
    What what = What::kNews;
    uint64_t id = 0;
    TaskId last = 0;
    /// Its answer is on its way into the journal.
    bool answered = false;
    /// When the user is told that it takes long.
    Time note_at{};
  };
  void Tell(Time now, const Telling& telling, Told::What what);
  /// The record that `answer` makes.
  void Write(ProposerAnswer& answer);
  void Answered(Asker::Answer answer);

  ReadyProposer ready_;
  Core& core_;
  Asker& asker_;
  Doors doors_;
  const RowForm form_;
  std::deque<Telling> gathered_;
  std::optional<Told> told_;
  /// It has said so again of what it knew before: if it ends by itself, that is why.
  bool was_done_ = false;
  /// Since it was told last.
  bool others_added_ = false;
  /// Records of its answers that are on their way into the journal.
  uint64_t writing_ = 0;
  uint64_t last_id_ = 0;
};

}  // namespace cq
