#pragma once

#include <functional>
#include <string>

#include "master/proposer/proposer_lines.h"

namespace cq {

/// Who names rows of a run by its results so far, and is ready.
class Proposer {
 public:
  Proposer() = default;
  Proposer(const Proposer&) = delete;
  Proposer& operator=(const Proposer&) = delete;
  virtual ~Proposer() = default;

  /// From now on what it answers goes to `take`, from any thread; with a `problem` that is the
  /// last.
  virtual void Listen(std::function<void(ProposerAnswer)> take) = 0;
  /// A line of TellLine; not before the one before is answered.
  virtual void Tell(std::string line) = 0;
  /// It is told no more, and may end; `patiently`: it has a few seconds for that.
  virtual void Close(bool patiently) = 0;
};

}  // namespace cq
