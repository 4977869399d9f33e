#include "master/run/live_output.h"

#include <unistd.h>

#include "base/text.h"

namespace cq {
namespace {

constexpr size_t kAtOnce = 65'536;

}  // namespace

LiveOutput::LiveOutput() : terminal_(isatty(STDOUT_FILENO) == 1) {}

bool LiveOutput::Take(const Result& result, int stop_fd) {
  if (result.out.empty()) return true;
  unwritten_ += terminal_ ? PrintableText(result.out) : result.out;
  if (!result.out.ends_with('\n')) unwritten_ += '\n';
  return unwritten_.size() < kAtOnce || Pause(stop_fd);
}

bool LiveOutput::Pause(int stop_fd) {
  const bool written = WriteWhileWanted(STDOUT_FILENO, unwritten_, stop_fd);
  unwritten_.clear();
  return written;
}

}  // namespace cq
