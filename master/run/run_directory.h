#pragma once

#include <cstdint>
#include <string>

#include "base/files.h"

namespace cq {

/// The directory of a run, held by its one master. While it is made it stands under a temporary
/// name beside its own, so that bad input leaves nothing behind.
class RunDirectory {
 public:
  /// Makes the directory under its temporary name, locked. `path` must not exist, or be an empty
  /// directory, or be moved aside
  /// (`fresh`). Throws UsageError.
  static RunDirectory Make(const std::string& path, bool fresh);

  /// Takes hold of an existing run whose master is gone, once its local workers are, too.
  /// `take_over`: though a master on another host may live. Throws UsageError while a master lives.
  /// `trusted`: the user whose directory it may be besides this process's (RequireOwn).
  static RunDirectory Open(const std::string& path, bool take_over,
                           const std::string& trusted = {});

  RunDirectory(RunDirectory&&) = default;
  RunDirectory& operator=(RunDirectory&&) = default;
  /// Removes the directory, unless Keep was called.
  ~RunDirectory();

  /// Gives the directory its name. Throws UsageError if that is taken meanwhile.
  void Publish();
  /// From now on the directory stays, whatever happens.
  void Keep() { keep_ = true; }

  /// Where a file of the run is now.
  std::string File(const std::string& name) const { return current_ + "/" + name; }
  const std::string& path() const { return path_; }

  /// Local workers hold this lock as long as they live, so that a master that comes later knows.
  int workers_lock() const { return workers_lock_.get(); }

  /// Writes owner.json: host, boot, pid with its start time, address, and the time.
  void WriteOwner(const std::string& address);
  /// The same with another time: the claim of a master that lives. Throws Error.
  void RenewOwner();

 private:
  RunDirectory() = default;
  std::string OwnerNow() const;

  std::string path_;
  std::string current_;
  std::string moved_aside_to_;
  Fd lock_;
  Fd workers_lock_;
  /// The text of owner.json up to the time, which is its last field.
  std::string owner_;
  Fd owner_file_;
  bool keep_ = false;
  bool published_ = false;
};

/// Whether an input has no name by which it is found again: "-" is standard input, others are pipes
/// and what is open under a number.
bool IsStream(const std::string& input);
/// By which an input is known again: its path, or "-" for a stream, which is known by its bytes
/// alone.
std::string InputIdentity(const std::string& input);
/// NAME.cq in the current directory for a CSV called NAME.csv; "stdin.cq" for a stream without a
/// name.
std::string DefaultRunDirectory(const std::string& input);

/// Throws UsageError unless a run can be made at `path`: nothing is there, or an empty directory,
/// or, for a `fresh` one, a run that no master holds.
void RequireFree(const std::string& path, bool fresh);

/// Whether a master holds the directory now, as this host can tell.
bool HeldByMaster(const std::string& path);

/// Whether a master may hold the directory, here or on another host.
bool MasterMayLive(const std::string& path);

/// Throws UsageError for a run directory of another user than this process's or `trusted` (a name):
/// what it says would be run in this user's name.
void RequireOwn(const std::string& path, const std::string& trusted);

/// Whether this user owns the directory.
bool IsOwn(const std::string& path);

/// Whether there is a run in this directory.
bool IsRunDirectory(const std::string& path);

/// `path` made absolute, without following links.
std::string AbsolutePath(const std::string& path);

}  // namespace cq
