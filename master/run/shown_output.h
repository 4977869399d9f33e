#pragma once

#include <cstdint>
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
  /// Tasks that printed more than is kept of it.
  uint64_t cut() const { return cut_; }
  /// Why not all is shown, though somebody would read it; else empty.
  const std::string& problem() const { return problem_; }

 private:
  /// What a terminal would obey is shown as text there.
  const bool terminal_;
  /// Of a pipe or terminal a descriptor of our own, which never waits by itself.
  Fd own_;
  std::string unwritten_;
  uint64_t cut_ = 0;
  std::string problem_;
};

/// `error`: an errno.
std::string CannotShow(int error);

}  // namespace cq
