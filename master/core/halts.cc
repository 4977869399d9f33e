#include "master/core/halts.h"

#include <fmt/format.h>

namespace cq {
namespace {

uint64_t CountOf(const Halt& halt, const Counts& counts, uint64_t failed) {
  const auto& outcomes = counts.outcomes;
  switch (halt.of) {
    case Halt::Of::kFailed:
      return failed;
    case Halt::Of::kOk:
      return outcomes[static_cast<size_t>(Outcome::kOk)];
    case Halt::Of::kDone:
      break;
  }
  uint64_t done = 0;
  for (const uint64_t count_of : outcomes) done += count_of;
  return done;
}

}  // namespace

std::optional<Halt> FindHalt(const std::vector<Halt>& rules, const Counts& counts,
                             uint64_t failed) {
  const auto is_met = [&](const Halt& halt) {
    const auto count = static_cast<double>(CountOf(halt, counts, failed));
    const auto all = static_cast<double>(counts.tasks);
    return count > 0 && (halt.percent ? count * 100 >= halt.count * all : count >= halt.count);
  };
  std::optional<Halt> met;
  for (const Halt& rule : rules) {
    if (is_met(rule) && (!met || rule.now)) met = rule;
  }
  return met;
}

std::string TextOf(const Halt& halt, const Counts& counts, uint64_t failed) {
  const uint64_t count = CountOf(halt, counts, failed);
  const char* what = halt.of == Halt::Of::kFailed ? "failed"
                     : halt.of == Halt::Of::kOk   ? "are ok"
                                                  : "have ended";
  return fmt::format("{} of {} tasks {} ({})", count, counts.tasks, what, halt.text);
}

}  // namespace cq
