#include "base/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <future>
#include <system_error>
#include <thread>

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
  Pipe pipe{Fd(fds[0]), Fd(fds[1])};
  // A process that embeds us may have closed its standard streams: their numbers are not for us.
  for (Fd* end : {&pipe.read, &pipe.write}) {
    if (end->get() <= STDERR_FILENO) *end = Fd(fcntl(end->get(), F_DUPFD_CLOEXEC, 3));
    if (!*end) throw Error(fmt::format("cannot make a pipe: {}", strerror(errno)));
  }
  return pipe;
}

// glibc 2.36 declares pidfd_open without C linkage.
Fd ShareLock(const std::string& path, bool* locked) {
  // Never through a link: it could lead elsewhere.
  const Fd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
  struct flock lock {};
  lock.l_type = F_RDLCK;
  const bool held = fd && fcntl(fd.get(), F_OFD_SETLK, &lock) == 0;
  if (locked != nullptr) *locked = held || (fd && errno != EAGAIN && errno != EACCES);
  // Above the numbers at which processes get what they are given.
  return Fd(fcntl(fd.get(), F_DUPFD_CLOEXEC, 10));
}

Fd OpenPidfd(pid_t pid) { return Fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))); }

void RequireDescriptors(uint64_t count, std::string_view less) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur >= count) return;
  if (limit.rlim_max < count) {
    throw Error(
        fmt::format("{} descriptors are needed and at most {} allowed here (ulimit -Hn): use {}",
                    count, limit.rlim_max, less));
  }
  limit.rlim_cur = count;
  setrlimit(RLIMIT_NOFILE, &limit);
}

void RequireStack(uint64_t bytes) {
  rlimit limit{};
  getrlimit(RLIMIT_STACK, &limit);
  if (limit.rlim_cur >= bytes) return;
  throw UsageError(fmt::format("a stack may have only {} KiB here (ulimit -s); {} are needed",
                               limit.rlim_cur >> 10, bytes >> 10));
}

void RequireThreads(uint64_t count, std::string_view less) {
  std::vector<std::thread> threads;
  std::promise<void> done;
  const std::shared_future<void> wait = done.get_future().share();
  std::string problem;
  try {
    for (uint64_t i = 0; i < count; ++i) threads.emplace_back([wait] { wait.wait(); });
  } catch (const std::system_error& error) {
    problem = error.code().message();
  }
  done.set_value();
  for (std::thread& thread : threads) thread.join();
  if (problem.empty()) return;
  throw Error(fmt::format(
      "{} threads are needed and the system lets this process have {} ({}): raise 'ulimit -u' "
      "(processes and threads of this user) or 'ulimit -v' (address space), or use {}",
      count, threads.size(), problem, less));
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

namespace {
std::string ReadAll(const Fd& fd, const std::string& path) {
  if (!fd) {
    throw Error(fmt::format("cannot read '{}': {}", path,
                            errno == EINVAL ? "it is no regular file" : strerror(errno)));
  }
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
}  // namespace

void FillStandardStreams() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (fcntl(fd, F_GETFD) < 0) open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  }
}

std::string ReadFile(const std::string& path) { return ReadAll(OpenRegular(path), path); }

std::string ReadStream(const std::string& path) {
  return ReadAll(Fd(open(path.c_str(), O_RDONLY | O_CLOEXEC)), path);
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

namespace {

constexpr std::string_view kTemporary = ".cqtmp";
constexpr size_t kRandomLetters = 6;

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

// A name beside `path` that is likely free.
std::string TemporaryName(const std::string& path) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789";
  std::array<unsigned char, kRandomLetters> random{};
  if (getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) {
    throw Error("the system gives no random numbers");
  }
  std::string name = path + ".";
  for (const unsigned char byte : random) name += kLetters[byte % kLetters.size()];
  return name.append(kTemporary);
}

// Temporary files of writers that were killed: nobody holds their locks. One that was made a moment
// ago may not be locked yet, and not every file system tells of another host's locks.
void RemoveLeftBehind(const std::string& path) {
  constexpr time_t kOld = 300;
  const std::string folder = FolderOf(path);
  const std::string name = path.substr(path.rfind('/') + 1) + ".";
  std::error_code unreadable;
  for (std::filesystem::directory_iterator entry(folder, unreadable), end;
       !unreadable && entry != end; entry.increment(unreadable)) {
    const std::string other = entry->path().filename().string();
    if (other.size() != name.size() + kRandomLetters + kTemporary.size() ||
        !other.starts_with(name) || !other.ends_with(kTemporary)) {
      continue;
    }
    const std::string full = folder + "/" + other;
    const Fd fd(open(full.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    struct stat status {};
    if (fd && fstat(fd.get(), &status) == 0 && status.st_mtime + kOld < time(nullptr) &&
        flock(fd.get(), LOCK_EX | LOCK_NB) == 0) {
      unlink(full.c_str());
    }
  }
}

}  // namespace

NewFile::NewFile(std::string path, mode_t mode) : path_(std::move(path)), mode_(mode) {
  // To be read, too, where it cannot be linked.
  fd_ = Fd(open(FolderOf(path_).c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, mode));
  if (!fd_) OpenNamed();
}

// For file systems that know no files without names.
void NewFile::OpenNamed() {
  RemoveLeftBehind(path_);
  fd_.Close();
  for (int tries = 0; !fd_ && tries < 100; ++tries) {
    temporary_ = TemporaryName(path_);
    fd_ = Fd(open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode_));
    if (!fd_ && errno != EEXIST) break;
  }
  if (!fd_) {
    temporary_.clear();
    Fail();
  }
  flock(fd_.get(), LOCK_EX | LOCK_NB);
}

// Where /proc is missing, or its links may not be followed.
void NewFile::CopyToNamed() {
  const Fd from = std::move(fd_);
  OpenNamed();
  std::array<char, 65536> buffer{};
  off_t at = 0;
  ssize_t n = 0;
  while ((n = pread(from.get(), buffer.data(), buffer.size(), at)) != 0) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 || !WriteAll(fd_.get(), {buffer.data(), static_cast<size_t>(n)})) Fail();
    at += n;
  }
  if (fsync(fd_.get()) != 0) Fail();
}

NewFile::~NewFile() {
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

void NewFile::Publish() {
  if (fsync(fd_.get()) != 0) Fail();
  const std::string self = fmt::format("/proc/self/fd/{}", fd_.get());
  for (int tries = 0; temporary_.empty() && tries < 100; ++tries) {
    const std::string name = TemporaryName(path_);
    if (linkat(AT_FDCWD, self.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) == 0) {
      temporary_ = name;
    } else if (errno != EEXIST) {
      CopyToNamed();
    }
  }
  if (temporary_.empty() || rename(temporary_.c_str(), path_.c_str()) != 0) Fail();
  temporary_.clear();
}

void NewFile::Fail() const {
  throw Error(fmt::format("cannot write '{}': {}", path_, strerror(errno)));
}

void ReplaceFile(const std::string& path, std::string_view text, mode_t mode) {
  NewFile file(path, mode);
  if (!WriteAll(file.fd(), text)) {
    throw Error(fmt::format("cannot write '{}': {}", path, strerror(errno)));
  }
  file.Publish();
}

void SyncDirectory(const std::string& path) {
  const Fd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd) fsync(fd.get());
}

Fd OpenRegular(const std::string& path) {
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (!fd || fstat(fd.get(), &status) != 0) return {};
  if (S_ISREG(status.st_mode)) return fd;
  fd.Close();
  errno = EINVAL;
  return {};
}

bool KeepsFilesPrivate(const std::string& directory) {
  const std::string probe = TemporaryName(directory + "/.private");
  const Fd fd(open(probe.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  struct stat status {};
  const bool known = fd && stat(probe.c_str(), &status) == 0;
  if (fd) unlink(probe.c_str());
  return known && (status.st_mode & 077) == 0;
}

std::vector<char*> ArgumentPointers(const std::vector<std::string>& words) {
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  // Nobody writes to them: exec's parameter is older than const.
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

std::string FindProgram(const std::string& name, std::string_view path,
                        const std::string& directory) {
  if (name.empty() || name.find('/') != std::string::npos) return name;
  for (;;) {
    const size_t colon = path.find(':');
    const std::string_view entry = path.substr(0, colon);
    const std::string file = fmt::format("{}/{}", entry.empty() ? "." : entry, name);
    const std::string from_here = file[0] == '/' ? file : fmt::format("{}/{}", directory, file);
    struct stat status {};
    if (stat(from_here.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
        access(from_here.c_str(), X_OK) == 0) {
      return file;
    }
    if (colon == std::string_view::npos) return {};
    path.remove_prefix(colon + 1);
  }
}

std::string OwnPath() {
  const char* path = getenv("PATH");
  return path == nullptr ? "/usr/local/bin:/usr/bin:/bin" : path;
}

std::string OwnExecutable() {
  std::array<char, PATH_MAX> path{};
  const ssize_t n = readlink("/proc/self/exe", path.data(), path.size());
  if (n < 0) throw Error(fmt::format("cannot read /proc/self/exe: {}", strerror(errno)));
  return {path.data(), static_cast<size_t>(n)};
}

std::string StateDirectory() {
  const char* state = getenv("XDG_STATE_HOME");
  if (state != nullptr && *state == '/') return fmt::format("{}/cq", state);
  const char* home = getenv("HOME");
  const passwd* user = home == nullptr ? getpwuid(getuid()) : nullptr;
  if (user != nullptr) home = user->pw_dir;
  return fmt::format("{}/.local/state/cq", home == nullptr ? "" : home);
}

std::string HostName() {
  std::array<char, HOST_NAME_MAX + 1> name{};
  gethostname(name.data(), name.size() - 1);
  return name.data();
}

}  // namespace cq
