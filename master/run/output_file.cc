#include "master/run/output_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "cq/error.h"
#include "master/run/run_directory.h"

namespace cq {
namespace {

namespace fs = std::filesystem;

bool SameFile(const struct stat& a, const std::string& path) {
  struct stat b {};
  const int known = path == "-" ? fstat(STDIN_FILENO, &b) : stat(path.c_str(), &b);
  return known == 0 && S_ISREG(b.st_mode) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

// Of any run, however its path is written.
void CheckNoRunDirectory(const std::string& output, const fs::path& target) {
  fs::path below = target;
  for (fs::path folder = target.parent_path();; folder = folder.parent_path()) {
    std::error_code none;
    if (fs::exists(folder / "journal.db", none) && fs::exists(folder / "lock", none) &&
        below != folder / "results.csv") {
      throw UsageError(fmt::format(
          "'{}' is in the run directory '{}', whose files are cq's own: choose another place",
          output, folder.string()));
    }
    if (folder == folder.parent_path()) return;
    below = folder;
  }
}

}  // namespace

void CheckStandardOutput(const std::string& option) {
  const int mode = fcntl(STDOUT_FILENO, F_GETFL);
  if (mode >= 0 && (mode & O_ACCMODE) != O_RDONLY) return;
  throw UsageError(fmt::format(
      "{} writes to standard output, which whoever started this program has closed", option));
}

void CheckOutput(const std::string& output, const std::string& input,
                 const std::vector<std::string>& depends) {
  if (output == "-") return CheckStandardOutput("--output -");
  std::error_code none;
  fs::path target = fs::weakly_canonical(AbsolutePath(output), none);
  if (none) target = AbsolutePath(output);
  CheckNoRunDirectory(output, target);
  struct stat status {};
  const bool exists = stat(output.c_str(), &status) == 0;
  if (exists && S_ISDIR(status.st_mode)) {
    throw UsageError(fmt::format("cannot write the results to '{}': it is a directory", output));
  }
  if (exists && !S_ISREG(status.st_mode)) return;
  if (exists && !input.empty() && SameFile(status, input)) {
    throw UsageError(
        fmt::format("the results would replace the input '{}': choose another --output", output));
  }
  for (const std::string& file : depends) {
    if (!exists || !SameFile(status, file)) continue;
    throw UsageError(fmt::format(
        "the results would replace '{}', which they depend on: choose another --output", file));
  }
  const std::string folder = target.parent_path().string();
  if (stat(folder.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) {
    throw UsageError(
        fmt::format("cannot write the results to '{}': there is no folder '{}'", output, folder));
  }
  if (access(folder.c_str(), W_OK) != 0) {
    throw UsageError(fmt::format("cannot write the results to '{}': {}", output, strerror(errno)));
  }
}

OutputFile::OutputFile(std::string path) : path_(std::move(path)) {
  struct stat status {};
  std::error_code unknown;
  if (fs::is_symlink(path_, unknown)) path_ = fs::weakly_canonical(path_, unknown).string();
  const bool exists = path_ != "-" && stat(path_.c_str(), &status) == 0;
  if (path_ == "-") {
    fd_ = Fd(fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3));
    if (!fd_) Fail(strerror(errno));
  } else if (exists && !S_ISREG(status.st_mode)) {
    fd_ = Fd(open(path_.c_str(), O_WRONLY | O_CLOEXEC));
    if (!fd_) Fail(strerror(errno));
  } else {
    file_.emplace(path_, 0666);
  }
  buffer_.reserve(kBytes + 4096);
}

void OutputFile::Close() {
  Flush();
  if (file_) file_->Publish();
}

void OutputFile::Flush() {
  if (!WriteAll(fd(), buffer_)) Fail(strerror(errno));
  buffer_.clear();
}

void OutputFile::Fail(const std::string& why) const {
  throw Error(fmt::format("cannot write '{}': {}", path_, why));
}

}  // namespace cq
