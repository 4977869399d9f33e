#pragma once

#include <string>

#include "master/run/result_feed.h"

namespace cq {

/// Shows what tasks have printed on standard output, one task after the other, on ours.
class LiveOutput final : public ResultTaker {
 public:
  LiveOutput();
  bool Take(const Result& result, int stop_fd) override;
  bool Pause(int stop_fd) override;

 private:
  /// What a terminal would obey is shown as text there.
  const bool terminal_;
  std::string unwritten_;
};

}  // namespace cq
