#pragma once

#include <string>

#include "base/files.h"

namespace cq {

/// Held by one worker of a machine at a time: while it runs a task that a worker may have died of.
/// Where several workers could die at once, a second such death is then known to be that task's.
/// The system releases it with its holder, however that ends.
class TrialLock {
 public:
  /// Of the file at `path`, which the workers share; empty: nobody shares anything.
  explicit TrialLock(const std::string& path);

  /// False while another worker has it.
  bool Take();
  void Release();

 private:
  Fd file_;
};

}  // namespace cq
