#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"

namespace cq {

/// Throws UsageError if standard output, to which `option` writes, is closed.
void CheckStandardOutput(const std::string& option);

/// Throws UsageError for a place where results must not or cannot go: in a run directory (but for
/// its results.csv), over the input (`-`: standard input) or a file that results depend on, into a
/// folder that is not there or cannot be written, onto a directory. "-" is standard output.
void CheckOutput(const std::string& output, const std::string& input = {},
                 const std::vector<std::string>& depends = {});

/// Where results are written: a regular file is replaced once it is whole; a link keeps pointing
/// where it points; anything else is written straight.
class OutputFile {
 public:
  /// Throws Error.
  explicit OutputFile(std::string path);

  void Append(std::string_view text) {
    buffer_ += text;
    if (buffer_.size() >= kBytes) Flush();
  }
  /// All is there. Throws Error.
  void Close();

 private:
  static constexpr size_t kBytes = 1u << 20;
  void Flush();
  int fd() const { return file_ ? file_->fd() : fd_.get(); }
  [[noreturn]] void Fail(const std::string& why) const;

  std::string path_;
  std::optional<NewFile> file_;
  Fd fd_;
  std::string buffer_;
};

}  // namespace cq
