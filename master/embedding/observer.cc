#include "master/embedding/observer.h"

#include <fmt/format.h>

#include <cstdio>
#include <utility>

namespace cq {
namespace {

/// Workers that wait no longer than this for their scheduler are nothing to speak of.
constexpr std::chrono::seconds kSoon{5};

constexpr std::pair<const char*, const char*> kOptionNames[] = {
    {"--run-dir DIR", "`run_dir`"},
    {"--run-dir", "`run_dir`"},
    {"--task-timeout", "`task_timeout`"},
    {"--task-memory", "`task_memory_bytes`"},
    {"--worker-check", "`worker_check`"},
    {"--ports", "`ports`"},
    {"--interface", "`interface`"},
    {"--worker-init", "`worker_init`"},
    {"--template", "`template_file`"},
    {"--set", "`template_values`"},
    {"--scheduler", "`scheduler`"},
    {"--fresh", "`fresh`"},
    {"--keep", "`keep`"},
    {"--rerun", "`rerun`"},
    {"--take-over", "`take_over`"},
    {"--trust-owner", "`trust_owner`"},
    {"--workers", "`workers`"},
    {"--slots", "`slots`"},
    {"--retries", "`retries`"},
    {"--crash-limit", "`crash_limit`"},
    {"--lease", "`lease`"},
};

}  // namespace

std::string InWordsOfTheApi(std::string text) {
  for (const auto& [option, field] : kOptionNames) {
    const std::string word = option;
    for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
      const size_t end = at + word.size();
      const bool whole = end == text.size() || (text[end] != '-' && isalnum(text[end]) == 0);
      if (whole) text.replace(at, word.size(), field);
    }
  }
  return text;
}

void EmbeddingObserver::Warning(const std::string& text) {
  const std::string words = InWordsOfTheApi(text);
  // Whatever becomes of the warning, the run goes on.
  try {
    warn_ ? warn_(words) : void(std::fputs(("cq: " + words + "\n").c_str(), stderr));
  } catch (...) {
  }
}

void EmbeddingObserver::Progress(const RunProgress& progress) {
  {
    const Lock lock(mutex_);
    status_.running = progress.running;
    status_.workers = progress.workers;
    status_.pending_workers = progress.pending_workers;
    status_.pending_reason = progress.pending_reason;
  }
  if (progress.pending_workers == 0) {
    pending_since_.reset();
    return;
  }
  const auto now = Clock::now();
  if (!pending_since_) pending_since_ = now;
  if (now - *pending_since_ < kSoon || !reasons_told_.insert(progress.pending_reason).second) {
    return;
  }
  Warning(fmt::format(
      "{} worker{} for the scheduler: {}", progress.pending_workers,
      progress.pending_workers == 1 ? " waits" : "s wait",
      progress.pending_reason.empty() ? "it has not said why" : progress.pending_reason));
}

MasterStatus EmbeddingObserver::status() {
  const Lock lock(mutex_);
  return status_;
}

}  // namespace cq
