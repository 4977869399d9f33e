#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cq {

/// A file descriptor that is closed with its owner. -1 is none.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { Close(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int Release() { return std::exchange(fd_, -1); }
  void Close();

 private:
  int fd_ = -1;
};

/// A close-on-exec pipe. Throws Error.
struct Pipe {
  Fd read;
  Fd write;
};
Pipe MakePipe();

/// A descriptor that becomes readable when this child ends.
Fd OpenPidfd(pid_t pid);

/// Holds a shared lock on this file, which is made if it is not there, as long as it is open. None
/// where it cannot be opened; not locked where another process holds it alone (`locked`).
Fd ShareLock(const std::string& path, bool* locked = nullptr);

/// Makes sure that this process may have so many descriptors, within its hard limit. Throws Error,
/// with what would need less of them ("fewer …").
void RequireDescriptors(uint64_t count, std::string_view less);

/// Makes sure that the stacks of this process may have so many bytes: beyond its limit it would be
/// ended without a word. Throws UsageError.
void RequireStack(uint64_t bytes);

/// Makes sure that this process may have so many more threads. Throws Error, with what would need
/// less of them.
void RequireThreads(uint64_t count, std::string_view less);

/// Raises the soft limit of descriptors to the hard one. Returns what it was before.
uint64_t RaiseDescriptorLimit();

/// How many descriptors this process may have at most.
uint64_t DescriptorLimit();

/// A file opened under the number of a closed standard stream would get what is meant for that
/// stream. What is closed stays of no use: to write there is an error, as it is to read. Once,
/// before anything else is opened.
void FillStandardStreams();

/// The whole of a regular file, or of one of /proc. Throws Error that names it.
std::string ReadFile(const std::string& path);

/// The same of whatever the user names: a pipe, a terminal.
std::string ReadStream(const std::string& path);

/// A file that takes the place of another once it is whole. Until then nobody can open it, and a
/// kill leaves nothing; where the file system cannot do that (O_TMPFILE) it stands beside the other
/// one as NAME.XXXXXX.cqtmp, locked, and the next writer removes what a killed one left.
class NewFile {
 public:
  /// Throws Error that names `path`.
  NewFile(std::string path, mode_t mode);
  NewFile(NewFile&&) = default;
  NewFile& operator=(NewFile&&) = delete;
  /// Removes what was not published.
  ~NewFile();

  int fd() const { return fd_.get(); }
  /// Syncs it and gives it its name. Throws Error.
  void Publish();

 private:
  [[noreturn]] void Fail() const;
  void OpenNamed();
  void CopyToNamed();

  std::string path_;
  mode_t mode_;
  /// Its name so far, if it has one.
  std::string temporary_;
  Fd fd_;
};

/// Puts a file with this text in the place of `path` (NewFile). Throws Error.
void ReplaceFile(const std::string& path, std::string_view text, mode_t mode);

/// Makes durable which names this directory has. What cannot be synced is left as it is.
void SyncDirectory(const std::string& path);

/// Opens a regular file to read it. Nothing else: a FIFO would be waited for, and a device read
/// without end. None, with errno, where it cannot be opened; EINVAL for what is no regular file.
Fd OpenRegular(const std::string& path);

/// Whether a file in this directory can be made that nobody else reads; some file systems have no
/// permissions.
bool KeepsFilesPrivate(const std::string& directory);

/// Writes all of `text`, however often it takes. False with errno where that fails.
bool WriteAll(int fd, std::string_view text);

/// Pointers to these words and a final null, as exec takes them; valid while the words are.
std::vector<char*> ArgumentPointers(const std::vector<std::string>& words);

/// The executable file of this name in `path`, which is one of PATH (empty entries are the current
/// directory), as that names it; a name with a slash is itself. `directory`: what relative names
/// are relative to. Empty if there is none.
std::string FindProgram(const std::string& name, std::string_view path,
                        const std::string& directory);
/// PATH of this process, or what stands for it where there is none.
std::string OwnPath();
/// The absolute path of this program.
std::string OwnExecutable();

/// Where this user's programs keep what they have to remember: cq's own directory there, which may
/// not be there yet.
std::string StateDirectory();

/// The name of this machine.
std::string HostName();

}  // namespace cq
