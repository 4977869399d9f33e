#include "base/proc.h"

#include <fmt/format.h>

#include <sstream>
#include <string>

#include "cq/error.h"

namespace cq {

std::string BootId() {
  std::string id = ReadFile("/proc/sys/kernel/random/boot_id");
  if (!id.empty() && id.back() == '\n') id.pop_back();
  return id;
}

std::optional<uint64_t> StartTimeOf(pid_t pid) {
  std::string text;
  try {
    text = ReadFile(fmt::format("/proc/{}/stat", pid));
  } catch (const Error&) {
    return std::nullopt;
  }
  std::istringstream rest(text.substr(text.rfind(')') + 2));
  std::string field;
  rest >> field;
  if (field == "Z" || field == "X") return std::nullopt;
  for (int i = 4; i <= 22; ++i) rest >> field;
  return std::stoull(field);
}

Fd WatchProcess(pid_t pid, uint64_t start) {
  // First: what it names then stays the same, whoever gets the number later.
  Fd fd = OpenPidfd(pid);
  return fd && StartTimeOf(pid) == start ? std::move(fd) : Fd();
}

}  // namespace cq
