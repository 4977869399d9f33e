#include "master/run_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

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

bool Exists(const std::string& path) {
  struct stat status {};
  return lstat(path.c_str(), &status) == 0;
}

bool EmptyDirectory(const std::string& path) {
  std::error_code error;
  return fs::is_directory(path, error) && fs::is_empty(path, error) && !error;
}

void CheckFree(const std::string& path, bool fresh) {
  if (!Exists(path) || EmptyDirectory(path)) return;
  if (HeldByMaster(path)) {
    throw UsageError(fmt::format(
        "the run directory '{}' is in use by a running master; 'cq status {}' shows it; another "
        "place for this run: --run-dir DIR",
        path, path));
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

std::string FreeName(const std::string& path) {
  for (int i = 1;; ++i) {
    const std::string name = fmt::format("{}.{}", path, i);
    if (!Exists(name)) return name;
  }
}

// Field 22 of /proc/PID/stat, in ticks since boot: with the pid it names a process for good.
uint64_t OwnStartTime() {
  const std::string text = ReadFile("/proc/self/stat");
  std::istringstream rest(text.substr(text.rfind(')') + 2));
  std::string field;
  for (int i = 3; i <= 22; ++i) rest >> field;
  return std::stoull(field);
}

std::string BootId() {
  std::string id = ReadFile("/proc/sys/kernel/random/boot_id");
  if (!id.empty() && id.back() == '\n') id.pop_back();
  return id;
}

}  // namespace

std::string AbsolutePath(const std::string& path) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error);
  if (error)
    throw UsageError(fmt::format("the path '{}' is not usable: {}", path, error.message()));
  std::string text = absolute.lexically_normal().string();
  while (text.size() > 1 && text.back() == '/') text.pop_back();
  return text;
}

std::string DefaultRunDirectory(const std::string& input) {
  if (input == "-") return "stdin.cq";
  fs::path name = fs::path(input).filename();
  if (name.extension() == ".csv") name.replace_extension();
  return name.string() + ".cq";
}

bool HeldByMaster(const std::string& path) {
  const Fd fd(open((path + "/lock").c_str(), O_RDWR | O_CLOEXEC));
  if (!fd) return false;
  struct flock lock = WholeFile(F_WRLCK);
  return fcntl(fd.get(), F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

RunDirectory RunDirectory::Make(const std::string& path, bool fresh) {
  RunDirectory directory;
  directory.path_ = AbsolutePath(path);
  CheckFree(directory.path_, fresh);
  if (fresh && Exists(directory.path_) && !EmptyDirectory(directory.path_)) {
    directory.moved_aside_to_ = FreeName(directory.path_);
  }
  const std::string temporary = fmt::format("{}.{}.tmp", directory.path_, getpid());
  if (mkdir(temporary.c_str(), 0777) != 0) {
    throw UsageError(
        fmt::format("cannot make the run directory '{}': {}; --run-dir DIR puts it "
                    "elsewhere",
                    directory.path_, strerror(errno)));
  }
  directory.current_ = temporary;
  for (const char* name : {"logs", "spool"}) mkdir(directory.File(name).c_str(), 0777);
  directory.lock_ = Fd(open(directory.File("lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  struct flock lock = WholeFile(F_WRLCK);
  if (!directory.lock_ || fcntl(directory.lock_.get(), F_OFD_SETLK, &lock) != 0) {
    throw UsageError(
        fmt::format("cannot lock the run directory '{}': {}", directory.path_, strerror(errno)));
  }
  return directory;
}

void RunDirectory::Publish() {
  // Another one may have been made there while the input was read.
  if (HeldByMaster(path_)) CheckFree(path_, true);
  if (!moved_aside_to_.empty() && rename(path_.c_str(), moved_aside_to_.c_str()) != 0) {
    throw UsageError(
        fmt::format("cannot move '{}' to '{}': {}", path_, moved_aside_to_, strerror(errno)));
  }
  // Replaces an empty directory and nothing else.
  if (rename(current_.c_str(), path_.c_str()) != 0) {
    throw UsageError(fmt::format("cannot make the run directory '{}': {}", path_, strerror(errno)));
  }
  current_ = path_;
  published_ = true;
}

RunDirectory::~RunDirectory() {
  if (current_.empty() || keep_) return;
  std::error_code ignored;
  fs::remove_all(current_, ignored);
  if (published_ && !moved_aside_to_.empty()) rename(moved_aside_to_.c_str(), path_.c_str());
}

void RunDirectory::WriteOwner(const std::string& address) const {
  const auto now = std::chrono::duration_cast<std::chrono::seconds>(
      std::chrono::system_clock::now().time_since_epoch());
  const nlohmann::ordered_json owner = {{"host", HostName()}, {"boot_id", BootId()},
                                        {"pid", getpid()},    {"start_ticks", OwnStartTime()},
                                        {"address", address}, {"time", now.count()}};
  ReplaceFile(File("owner.json"), owner.dump(2) + "\n", 0666);
}

}  // namespace cq
