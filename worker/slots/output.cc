#include "worker/slots/output.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "protocol/limits.h"

namespace cq {

void KeptOutput::Append(std::string_view bytes) {
  const size_t to_head = std::min(bytes.size(), kOutputHeadBytes - head_.size());
  head_.append(bytes.substr(0, to_head));
  bytes.remove_prefix(to_head);
  if (bytes.empty()) return;
  tail_bytes_ += bytes.size();
  tail_.append(bytes);
  // Cut back only once it has doubled, so that a task that prints for ever costs a copy now and
  // then.
  if (tail_.size() >= 2 * kOutputTailBytes) tail_.erase(0, tail_.size() - kOutputTailBytes);
}

std::string KeptOutput::Text() const {
  const size_t kept = std::min(tail_.size(), kOutputTailBytes);
  const size_t cut = tail_bytes_ - kept;
  std::string text = head_;
  if (cut > 0) text += fmt::format("\n[cq: {} bytes cut]\n", cut);
  return text.append(tail_, tail_.size() - kept);
}

std::string KeptOutput::LastLines(size_t most) const {
  const std::string text = Text();
  const size_t last = text.find_last_not_of(" \t\r\n");
  if (last == std::string::npos) return {};
  size_t begin = last + 1;
  for (size_t lines = 0; lines < most && begin > 0; ++lines) {
    const size_t newline = begin < 2 ? std::string::npos : text.find_last_of('\n', begin - 2);
    begin = newline == std::string::npos ? 0 : newline + 1;
  }
  const size_t end = text.find_first_of("\r\n", last + 1);
  return text.substr(begin, (end == std::string::npos ? text.size() : end) - begin);
}

void LastLineKept::Append(std::string_view bytes) {
  while (!bytes.empty()) {
    const size_t end = bytes.find('\n');
    AppendToCurrent(bytes.substr(0, end));
    if (end == std::string_view::npos) return;
    if (!IsBlank(current_)) {
      last_.swap(current_);
      last_cut_ = cut_;
    }
    current_.clear();
    cut_ = false;
    bytes.remove_prefix(end + 1);
  }
}

void LastLineKept::AppendToCurrent(std::string_view bytes) {
  const size_t room = kResultBytesMax - current_.size();
  cut_ = cut_ || bytes.size() > room;
  current_.append(bytes.substr(0, room));
}

namespace {

// What a terminal would show of a line, without blanks at its end.
std::string_view Shown(std::string_view line) {
  const auto trim = [&line] {
    const size_t last = line.find_last_not_of(" \t\r");
    line = line.substr(0, last == std::string_view::npos ? 0 : last + 1);
  };
  trim();
  const size_t overwritten = line.rfind('\r');
  return overwritten == std::string_view::npos ? line : line.substr(overwritten + 1);
}

bool IsFrame(std::string_view line) {
  const size_t begin = line.find_first_not_of(" \t");
  if (begin == std::string_view::npos || begin == 0) return false;
  line.remove_prefix(begin);
  return line.starts_with("at ") || (line.starts_with("... ") && line.ends_with(" more"));
}

bool IsProgress(std::string_view line) {
  return line.find('%') != std::string_view::npos && line.find_first_of("|[") != line.npos;
}

}  // namespace

std::string ReasonIn(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = Shown(text.substr(0, end));
    if (!line.empty()) lines.push_back(line);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
  }
  std::string_view otherwise;
  while (!lines.empty()) {
    const std::string_view line = lines.back();
    lines.pop_back();
    if (otherwise.empty()) otherwise = line;
    if (line == "Execution halted" || line.starts_with("Calls: ") || IsFrame(line) ||
        IsProgress(line)) {
      continue;
    }
    // A long message of R stands below its head, by two blanks.
    const bool below = line.starts_with("  ") && !lines.empty() &&
                       lines.back().starts_with("Error") && lines.back().ends_with(":");
    const size_t words = line.find_first_not_of(" \t");
    if (below) return fmt::format("{} {}", lines.back(), line.substr(words));
    return std::string(line.substr(words));
  }
  return std::string(otherwise);
}

}  // namespace cq
