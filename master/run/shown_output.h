#pragma once

#include <string>

#include "base/files.h"
#include "master/run/result_feed.h"

namespace cq {

/// Shows what tasks have printed on standard output, one task after the other, on ours.
class ShownOutput final : public ResultTaker {
 public:
  ShownOutput();
  bool Take(const Result& result, int stop_fd) override;
  bool Pause(int stop_fd) override;

 private:
  /// What a terminal would obey is shown as text there.
  const bool terminal_;
  /// Of a pipe or terminal a descriptor of our own, which never waits by itself.
  Fd own_;
  std::string unwritten_;
};

}  // namespace cq
