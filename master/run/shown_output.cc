#include "master/run/shown_output.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/text.h"

namespace cq {
namespace {

constexpr size_t kAtOnce = 65'536;

Fd OpenAnew() {
  struct stat status {};
  const bool known = fstat(STDOUT_FILENO, &status) == 0;
  const bool may_wait = known && (S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode));
  // A file would be written from its start.
  if (!may_wait) return Fd();
  return Fd(open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
}

}  // namespace

ShownOutput::ShownOutput() : terminal_(isatty(STDOUT_FILENO) == 1), own_(OpenAnew()) {}

bool ShownOutput::Take(const Result& result, int stop_fd) {
  if (result.out.empty()) return true;
  if (IsCut(result.out)) ++cut_;
  unwritten_ += terminal_ ? PrintableText(result.out) : result.out;
  if (!result.out.ends_with('\n')) unwritten_ += '\n';
  return unwritten_.size() < kAtOnce || Pause(stop_fd);
}

bool ShownOutput::Pause(int stop_fd) {
  const bool written = WriteWhileWanted(own_ ? own_.get() : STDOUT_FILENO, unwritten_, stop_fd);
  if (!written && errno != EPIPE) problem_ = CannotShow(errno);
  unwritten_.clear();
  return written;
}

std::string CannotShow(int error) {
  return fmt::format("standard output: {}", std::strerror(error));
}

}  // namespace cq
