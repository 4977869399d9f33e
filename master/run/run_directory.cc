#include "master/run/run_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <thread>

#include "base/json.h"
#include "base/probe.h"
#include "base/proc.h"
#include "cq/error.h"

namespace cq {
namespace {

namespace fs = std::filesystem;

struct flock WholeFile(short type) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  return lock;
}

/// What a directory that is being made has behind its name, and six letters.
constexpr const char* kMaking = ".cqmake-";

// Only its user's, whatever the umask.
void MakeFolder(const std::string& path) {
  if (mkdir(path.c_str(), 0700) == 0) chmod(path.c_str(), 0700);
}

// Never through a link: it could lead out of the directory.
Fd OpenLock(const std::string& path) {
  return Fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
}

bool Exists(const std::string& path) {
  struct stat status {};
  return lstat(path.c_str(), &status) == 0;
}

bool EmptyDirectory(const std::string& path) {
  std::error_code error;
  return fs::is_directory(path, error) && fs::is_empty(path, error) && !error;
}

std::string InUse(const std::string& path) {
  return fmt::format(
      "the run directory '{}' is in use by a running master; 'cq status {}' shows it, 'cq cancel "
      "{}' "
      "ends it; another place for this run: --run-dir DIR",
      path, path, path);
}

std::string FreeName(const std::string& path) {
  for (int i = 1;; ++i) {
    const std::string name = fmt::format("{}.{}", path, i);
    if (!Exists(name)) return name;
  }
}

// Whether nobody has written there lately.
bool IsOld(const fs::path& directory) {
  constexpr auto kOld = std::chrono::minutes(1);
  std::error_code error;
  auto newest = fs::last_write_time(directory, error);
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code gone;
    newest = std::max(newest, entry->last_write_time(gone));
  }
  return !error && fs::file_time_type::clock::now() - newest > kOld;
}

// Directories that were being made when their masters were killed. A lock that is free says so at
// once; where there is none, or where locks do not reach, it is their age.
void RemoveAbandoned(const std::string& path) {
  const fs::path folder = fs::path(path).parent_path();
  const std::string name = fs::path(path).filename().string() + kMaking;
  std::error_code unreadable;
  for (fs::directory_iterator entry(folder, unreadable), end; !unreadable && entry != end;
       entry.increment(unreadable)) {
    const std::string other = entry->path().filename().string();
    struct stat status {};
    const bool ours = other.starts_with(name) && other.size() == name.size() + 6 &&
                      lstat(entry->path().c_str(), &status) == 0 && S_ISDIR(status.st_mode) &&
                      status.st_uid == geteuid();
    if (ours && !HeldByMaster(entry->path().string()) && IsOld(entry->path())) {
      std::error_code ignored;
      fs::remove_all(entry->path(), ignored);
    }
  }
}

// They end within a second of their master.
void WaitForLocalWorkers(const std::string& path) {
  const Fd fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd) return;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(15);
  struct flock lock = WholeFile(F_WRLCK);
  while (fcntl(fd.get(), F_OFD_SETLK, &lock) != 0) {
    // Where there are no locks, their time is waited for.
    if (std::chrono::steady_clock::now() > deadline) {
      if (errno != EAGAIN && errno != EACCES) return;
      throw Error(fmt::format(
          "workers of the earlier master still hold '{}' ('fuser {}' names them): end them first",
          path, path));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

int64_t UnixSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// A master elsewhere may hold the directory where locks do not reach. On this host the lock has
// decided; on another its address and the time that it renews count.
void CheckOwner(const std::string& path, bool take_over) {
  std::string text;
  try {
    text = ReadFile(path + "/owner.json");
  } catch (const Error&) {
    return;
  }
  const auto owner = TryParseJson(text);
  if (!owner.is_object() || take_over) return;
  const auto field = [&](const char* name) {
    return owner.contains(name) && owner[name].is_string() ? owner[name].get<std::string>() : "";
  };
  const auto number = [&](const char* name) -> int64_t {
    return owner.contains(name) && owner[name].is_number_integer() ? owner[name].get<int64_t>() : 0;
  };
  if (field("host") == HostName()) {
    // After a reboot, or with its process gone, it does not live; nor if the pid is another's now.
    if (field("boot_id") != BootId()) return;
    const auto start = StartTimeOf(static_cast<pid_t>(number("pid")));
    if (!start || *start != static_cast<uint64_t>(number("start_ticks"))) return;
    throw UsageError(InUse(path));
  }
  const int64_t now = UnixSeconds();
  // A clock that is wrong, here or there, is as good as one that has stopped.
  const int64_t renewed = number("time");
  if (std::abs(now - renewed) > 30 && !WhyNoAnswer(field("address")).empty()) return;
  throw UsageError(fmt::format(
      "the run directory '{}' is in use by a master on {} ({}), which renewed its claim {} s ago; "
      "if it is surely gone: --take-over",
      path, field("host"), field("address"), now - renewed));
}

}  // namespace

bool MasterMayLive(const std::string& path) {
  if (HeldByMaster(path)) return true;
  try {
    CheckOwner(path, false);
  } catch (const UsageError&) {
    return true;
  }
  return false;
}

void RequireFree(const std::string& path, bool fresh) {
  if (!Exists(path) || EmptyDirectory(path)) return;
  if (HeldByMaster(path)) {
    throw UsageError(InUse(path));
  }
  if (!Exists(path + "/lock") && !Exists(path + "/journal.db")) {
    throw UsageError(fmt::format(
        "'{}' exists and is no run directory; --run-dir DIR puts this run elsewhere", path));
  }
  if (!fresh) {
    throw UsageError(fmt::format(
        "the run directory '{}' exists already; --fresh moves it aside and starts anew, --run-dir "
        "DIR puts this run elsewhere",
        path));
  }
}

bool IsOwn(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0 && status.st_uid == geteuid();
}

void RequireOwn(const std::string& path, const std::string& trusted) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0 || status.st_uid == geteuid()) return;
  std::array<char, 4096> buffer{};
  passwd entry{};
  passwd* found = nullptr;
  getpwuid_r(status.st_uid, &entry, buffer.data(), buffer.size(), &found);
  const std::string owner = found != nullptr ? found->pw_name : std::to_string(status.st_uid);
  if (trusted == owner) return;
  throw UsageError(fmt::format(
      "the run directory '{}' belongs to the user {}, and its command would run in your name: if "
      "you trust it, --trust-owner {}",
      path, owner, owner));
}

bool IsRunDirectory(const std::string& path) { return Exists(path + "/journal.db"); }

std::string AbsolutePath(const std::string& path) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error);
  if (error)
    throw UsageError(fmt::format("the path '{}' is not usable: {}", path, error.message()));
  std::string text = absolute.lexically_normal().string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

namespace {
// What is open under a number here is nowhere else, and another thing next time.
bool NamesDescriptor(const std::string& input) {
  const bool proc = input.starts_with("/proc/") && input.find("/fd/") != std::string::npos;
  return input == "/dev/stdin" || input.starts_with("/dev/fd/") || proc;
}
}  // namespace

bool IsStream(const std::string& input) {
  struct stat status {};
  return input == "-" || NamesDescriptor(input) ||
         (stat(input.c_str(), &status) == 0 && !S_ISREG(status.st_mode));
}

std::string InputIdentity(const std::string& input) {
  return IsStream(input) ? "-" : AbsolutePath(input);
}

std::string DefaultRunDirectory(const std::string& input) {
  if (input == "-" || NamesDescriptor(input)) return "stdin.cq";
  fs::path name = fs::path(input).filename();
  if (name.extension() == ".csv") name.replace_extension();
  return name.string() + ".cq";
}

bool HeldByMaster(const std::string& path) {
  // To ask takes no right to write.
  const Fd fd(open((path + "/lock").c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return false;
  struct flock lock = WholeFile(F_WRLCK);
  return fcntl(fd.get(), F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

RunDirectory RunDirectory::Make(const std::string& path, bool fresh) {
  RunDirectory directory;
  directory.path_ = AbsolutePath(path);
  RequireFree(directory.path_, fresh);
  if (fresh && Exists(directory.path_) && !EmptyDirectory(directory.path_)) {
    directory.moved_aside_to_ = FreeName(directory.path_);
  }
  RemoveAbandoned(directory.path_);
  std::string temporary = directory.path_ + kMaking + "XXXXXX";
  if (mkdtemp(temporary.data()) == nullptr || chmod(temporary.c_str(), 0700) != 0) {
    throw UsageError(
        fmt::format("cannot make the run directory '{}': {}; --run-dir DIR puts it "
                    "elsewhere",
                    directory.path_, strerror(errno)));
  }
  directory.current_ = temporary;
  for (const char* name : {"logs", "spool"}) MakeFolder(directory.File(name));
  directory.lock_ = OpenLock(directory.File("lock"));
  struct flock lock = WholeFile(F_WRLCK);
  if (!directory.lock_ || fcntl(directory.lock_.get(), F_OFD_SETLK, &lock) != 0) {
    throw UsageError(
        fmt::format("cannot lock the run directory '{}': {}", directory.path_, strerror(errno)));
  }
  directory.workers_lock_ = ShareLock(directory.File("workers.lock"));
  return directory;
}

RunDirectory RunDirectory::Open(const std::string& path, bool take_over,
                                const std::string& trusted) {
  RequireOwn(path, trusted);
  RunDirectory directory;
  directory.path_ = AbsolutePath(path);
  directory.current_ = directory.path_;
  directory.published_ = true;
  directory.keep_ = true;
  directory.lock_ = OpenLock(directory.File("lock"));
  if (!directory.lock_) {
    throw UsageError(
        fmt::format("cannot use the run directory '{}': {}", directory.path_, strerror(errno)));
  }
  struct flock lock = WholeFile(F_WRLCK);
  if (fcntl(directory.lock_.get(), F_OFD_SETLK, &lock) != 0) {
    throw UsageError(InUse(directory.path_));
  }
  CheckOwner(directory.path_, take_over);
  for (const char* name : {"logs", "spool"}) MakeFolder(directory.File(name));
  WaitForLocalWorkers(directory.File("workers.lock"));
  directory.workers_lock_ = ShareLock(directory.File("workers.lock"));
  return directory;
}

void RunDirectory::Publish() {
  SyncDirectory(current_);
  // Another one may have been made there while the input was read.
  if (HeldByMaster(path_)) RequireFree(path_, true);
  if (!moved_aside_to_.empty() && rename(path_.c_str(), moved_aside_to_.c_str()) != 0) {
    throw UsageError(
        fmt::format("cannot move '{}' to '{}': {}", path_, moved_aside_to_, strerror(errno)));
  }
  // Replaces an empty directory and nothing else.
  if (rename(current_.c_str(), path_.c_str()) != 0) {
    throw UsageError(fmt::format("cannot make the run directory '{}': {}", path_, strerror(errno)));
  }
  SyncDirectory(fs::path(path_).parent_path().string());
  current_ = path_;
  published_ = true;
}

RunDirectory::~RunDirectory() {
  if (current_.empty() || keep_) return;
  std::error_code ignored;
  fs::remove_all(current_, ignored);
  if (published_ && !moved_aside_to_.empty()) rename(moved_aside_to_.c_str(), path_.c_str());
}

void RunDirectory::WriteOwner(const std::string& address) {
  const OrderedJson owner = {{"host", HostName()},
                             {"boot_id", BootId()},
                             {"pid", getpid()},
                             {"start_ticks", StartTimeOf(getpid()).value_or(0)},
                             {"address", address}};
  owner_ = JsonText(owner, 2);
  owner_.resize(owner_.rfind('\n'));
  owner_ += ",\n  \"time\": ";
  const std::string path = File("owner.json");
  ReplaceFile(path, OwnerNow(), 0666);
  owner_file_ = Fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
}

std::string RunDirectory::OwnerNow() const {
  return fmt::format("{}{}\n}}\n", owner_, UnixSeconds());
}

// Needs no descriptor that strangers at the master's port could have taken. The text is as long as
// the one that is there.
void RunDirectory::RenewOwner() {
  const std::string text = OwnerNow();
  if (pwrite(owner_file_.get(), text.data(), text.size(), 0) < 0 ||
      fdatasync(owner_file_.get()) != 0) {
    throw Error(fmt::format("cannot write '{}': {}", File("owner.json"), strerror(errno)));
  }
}

}  // namespace cq
