#pragma once

#include <string>
#include <thread>

#include "base/files.h"

namespace cq {

/// What an input's bytes are read from: the file as it is, or, if its name says that it is
/// compressed (.gz, .zst, .xz, .bz2), what it was before, made out on a thread of its own.
class InputStream {
 public:
  /// "-" is standard input, as it is. Throws UsageError for what cannot be read, and Interrupted
  /// once `interrupt_fd` is readable while a FIFO is waited for.
  InputStream(const std::string& path, int interrupt_fd);
  InputStream(const InputStream&) = delete;
  InputStream& operator=(const InputStream&) = delete;
  ~InputStream();

  /// Once, and to be closed before this ends.
  Fd TakeFd() { return std::move(fd_); }
  bool compressed() const { return thread_.joinable(); }
  /// After the last byte was read. Throws UsageError for what could not be made out.
  void Finish();

 private:
  const std::string path_;
  Fd fd_;
  // The compressed one.
  Fd file_;
  std::string problem_;
  std::thread thread_;
};

}  // namespace cq
