#pragma once

#include <string>

namespace cq {

/// Where the master of a program that keeps nothing has its connection file: for the user alone,
/// and gone with the master.
class PrivateDirectory {
 public:
  /// `shared`: workers on other machines find it, in the current directory. Those that masters of
  /// ours left behind when they were killed are removed. Throws Error.
  explicit PrivateDirectory(bool shared);
  PrivateDirectory(const PrivateDirectory&) = delete;
  PrivateDirectory& operator=(const PrivateDirectory&) = delete;
  ~PrivateDirectory();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace cq
