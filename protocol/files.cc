#include "protocol/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstring>

#include "cq/error.h"

namespace cq {

void Fd::Close() {
  if (fd_ >= 0) close(std::exchange(fd_, -1));
}

Pipe MakePipe() {
  std::array<int, 2> fds{};
  if (pipe2(fds.data(), O_CLOEXEC) != 0) {
    throw Error(fmt::format("cannot make a pipe: {}", strerror(errno)));
  }
  return {Fd(fds[0]), Fd(fds[1])};
}

// glibc 2.36 declares pidfd_open without C linkage.
Fd OpenPidfd(pid_t pid) { return Fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))); }

void RequireDescriptors(uint64_t count) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur >= count) return;
  if (limit.rlim_max < count) {
    throw Error(
        fmt::format("{} descriptors are needed and at most {} allowed here (ulimit -Hn): use "
                    "fewer slots or workers",
                    count, limit.rlim_max));
  }
  limit.rlim_cur = count;
  setrlimit(RLIMIT_NOFILE, &limit);
}

uint64_t RaiseDescriptorLimit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const uint64_t before = std::exchange(limit.rlim_cur, limit.rlim_max);
  setrlimit(RLIMIT_NOFILE, &limit);
  return before;
}

uint64_t DescriptorLimit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_max;
}

std::string ReadFile(const std::string& path) {
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw Error(fmt::format("cannot read '{}': {}", path, strerror(errno)));
  std::string text;
  std::array<char, 65536> buffer{};
  for (;;) {
    const ssize_t n = read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw Error(fmt::format("cannot read '{}': {}", path, strerror(errno)));
    if (n == 0) return text;
    text.append(buffer.data(), static_cast<size_t>(n));
  }
}

bool WriteAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    text.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

void ReplaceFile(const std::string& path, std::string_view text, mode_t mode) {
  const std::string temporary = fmt::format("{}.{}.tmp", path, getpid());
  unlink(temporary.c_str());
  Fd fd(open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  const bool written = fd && WriteAll(fd.get(), text) && fsync(fd.get()) == 0 &&
                       rename(temporary.c_str(), path.c_str()) == 0;
  if (!written) {
    const int error = errno;
    unlink(temporary.c_str());
    throw Error(fmt::format("cannot write '{}': {}", path, strerror(error)));
  }
}

bool KeepsFilesPrivate(const std::string& directory) {
  const std::string probe = fmt::format("{}/.private.{}.tmp", directory, getpid());
  const Fd fd(open(probe.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  struct stat status {};
  const bool known = fd && stat(probe.c_str(), &status) == 0;
  if (fd) unlink(probe.c_str());
  return known && (status.st_mode & 077) == 0;
}

std::vector<char*> ArgumentPointers(std::vector<std::string>& words) {
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::string OwnExecutable() {
  std::array<char, PATH_MAX> path{};
  const ssize_t n = readlink("/proc/self/exe", path.data(), path.size());
  if (n < 0) throw Error(fmt::format("cannot read /proc/self/exe: {}", strerror(errno)));
  return {path.data(), static_cast<size_t>(n)};
}

std::string HostName() {
  std::array<char, HOST_NAME_MAX + 1> name{};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

}  // namespace cq
