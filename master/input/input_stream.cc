#include "master/input/input_stream.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "cq/error.h"
#include "master/input/decompress.h"

namespace cq {
namespace {

// A FIFO is opened at once, and waited for where an interruption can be heard: whoever writes to it
// may never come.
Fd OpenInput(const std::string& path, int interrupt_fd) {
  struct stat status {};
  const bool fifo = stat(path.c_str(), &status) == 0 && S_ISFIFO(status.st_mode);
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | (fifo ? O_NONBLOCK : 0)));
  if (!fd || fstat(fd.get(), &status) != 0) {
    throw UsageError(fmt::format("cannot read '{}': {}", path, strerror(errno)));
  }
  if (S_ISDIR(status.st_mode)) {
    throw UsageError(fmt::format("cannot read '{}': it is a directory", path));
  }
  if (IsCompressed(path) && !S_ISREG(status.st_mode)) {
    throw UsageError(fmt::format(
        "cannot decompress '{}': it is no regular file; decompress it yourself, as in 'zcat {} | "
        "cq run -'",
        path, path));
  }
  if (fifo) {
    std::array<pollfd, 2> fds{{{fd.get(), POLLIN, 0}, {interrupt_fd, POLLIN, 0}}};
    while (poll(fds.data(), fds.size(), -1) < 0) {
    }
    if (fds[1].revents != 0) throw Interrupted(fmt::format("interrupted while reading '{}'", path));
  }
  if (fifo) fcntl(fd.get(), F_SETFL, O_RDONLY);
  return fd;
}

Fd StandardInput() {
  Fd fd(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
  struct stat status {};
  const bool open = fd && (fcntl(fd.get(), F_GETFL) & O_ACCMODE) != O_WRONLY;
  if (!open) {
    throw UsageError("cannot read standard input, which whoever started this program has closed");
  }
  if (fstat(fd.get(), &status) == 0 && S_ISDIR(status.st_mode)) {
    throw UsageError("cannot read standard input: it is a directory");
  }
  return fd;
}

}  // namespace

InputStream::InputStream(const std::string& path, int interrupt_fd)
    : path_(path), fd_(path == "-" ? StandardInput() : OpenInput(path, interrupt_fd)) {
  if (!IsCompressed(path)) return;
  RequireDecompressor(path);  // what cannot be loaded is told of here
  Pipe pipe = MakePipe();
  file_ = std::exchange(fd_, std::move(pipe.read));
  thread_ = std::thread([this, to = std::move(pipe.write)] {
    // Whoever reads may have seen enough.
    sigset_t broken;
    sigemptyset(&broken);
    sigaddset(&broken, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &broken, nullptr);
    problem_ = Decompress(path_, file_.get(), to.get());
  });
}

InputStream::~InputStream() {
  fd_.Close();
  if (thread_.joinable()) thread_.join();
}

void InputStream::Finish() {
  if (!thread_.joinable()) return;
  thread_.join();
  if (!problem_.empty()) {
    throw UsageError(fmt::format("cannot decompress '{}': {}", path_, problem_));
  }
}

}  // namespace cq
