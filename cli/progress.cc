#include "cli/progress.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/text.h"

namespace cq {
namespace {

// What is detached from it is no longer there.
bool Terminal() { return isatty(STDERR_FILENO) == 1; }

constexpr auto kDatedEvery = std::chrono::minutes(5);

std::string ShownSeconds(double seconds) {
  const auto s = static_cast<uint64_t>(std::max(0.0, seconds));
  if (s < 60) return fmt::format("{} s", s);
  if (s < 3600) return fmt::format("{}:{:02} min", s / 60, s % 60);
  return fmt::format("{}:{:02} h", s / 3600, s / 60 % 60);
}

std::string RunningText(const RunProgress& p) {
  std::string text = fmt::format("{}/{} done", p.done, p.tasks);
  if (p.failed > 0) text += fmt::format(", {} failed", p.failed);
  if (p.done > 0 && p.seconds > 0) {
    const double rate = static_cast<double>(p.done) / p.seconds;
    text += fmt::format(", {:.{}f}/s", rate, rate < 10 ? 1 : 0);
    if (p.done < p.tasks && p.left) {
      text +=
          fmt::format(", {} to {} left", ShownSeconds(p.left->first), ShownSeconds(p.left->second));
    }
  }
  text += fmt::format(", {} workers", p.workers);
  if (p.pending_workers > 0) {
    text += fmt::format(" + {} pending", p.pending_workers);
    if (!p.pending_reason.empty()) text += fmt::format(" ({})", p.pending_reason);
  }
  return text;
}

std::string Text(const RunProgress& p) {
  switch (p.phase) {
    case RunProgress::Phase::kReading:
      return fmt::format("reading the input: {} rows", p.done);
    case RunProgress::Phase::kExporting:
      return fmt::format("writing the results: {}/{} rows", p.done, p.tasks);
    case RunProgress::Phase::kRunning:
      break;
  }
  return RunningText(p);
}

std::string OneLine(std::string_view text) {
  std::string line = PrintableText(text);
  std::replace(line.begin(), line.end(), '\n', ' ');
  return line;
}

}  // namespace

ProgressPrinter::ProgressPrinter(bool quiet, std::string hint)
    : quiet_(quiet), hint_(std::move(hint)) {}

ProgressPrinter::~ProgressPrinter() { Clear(); }

void ProgressPrinter::Clear() {
  if (line_shown_) cq::Say(stderr, "\r\033[K");
  line_shown_ = false;
}

void ProgressPrinter::Line(const std::string& text) {
  Clear();
  if (Terminal()) {
    cq::Say(stderr, fmt::format("cq: {}\n", PrintableText(text)));
  } else {
    const std::time_t now = std::time(nullptr);
    cq::Say(stderr,
            fmt::format("{:%Y-%m-%d %H:%M:%S} cq: {}\n", fmt::localtime(now), PrintableText(text)));
  }
}

void ProgressPrinter::Started(const std::string& pool, unsigned least, unsigned workers,
                              unsigned slots) {
  if (at_start_) std::exchange(at_start_, {})();
  started_ = true;
  const auto many = [](unsigned n, const char* what) {
    return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s");
  };
  if (workers == 0) return;
  const std::string from = least < workers ? fmt::format("{} to ", least) : "";
  const std::string most = least < workers ? "at most " : "";
  const std::string name = pool.empty() ? "" : pool + ": ";
  Say(fmt::format("{}{}{} × {} = {}{} at a time", name, from, many(workers, "worker"),
                  many(slots, "slot"), most, many(workers * slots, "task")));
  // Once, whatever pools there are.
  if (!hint_.empty()) Say(std::exchange(hint_, {}));
}

void ProgressPrinter::Progress(const RunProgress& progress) {
  if (notifier_ != nullptr) notifier_->OnProgress(progress);
  const bool new_phase = any_ && progress.phase != last_.phase;
  last_ = progress;
  any_ = true;
  if (quiet_) return;
  const auto now = std::chrono::steady_clock::now();
  if (!Terminal()) {
    const bool long_step = progress.phase != RunProgress::Phase::kRunning && new_phase;
    if (!long_step && last_dated_ != decltype(last_dated_){} && now - last_dated_ < kDatedEvery) {
      return;
    }
    const bool first = last_dated_ == decltype(last_dated_){};
    last_dated_ = now;
    // The start of the run has its own line.
    if (!first || progress.phase == RunProgress::Phase::kReading) Line(Text(progress));
    return;
  }
  winsize size{};
  const bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  const std::string text = OneLine(Text(progress));
  const size_t room = known && size.ws_col > 5 ? size.ws_col - 5u : 75u;
  cq::Say(stderr, fmt::format("\r\033[Kcq: {}", CutText(text, room)));
  line_shown_ = true;
}

void ProgressPrinter::Raw(const std::string& text) {
  Clear();
  cq::Say(stderr, PrintableText(text));
}

void ProgressPrinter::Note(const std::string& text) {
  // On a terminal the line itself shows the workers.
  if (!quiet_ && !Terminal()) Line(text);
}

void ProgressPrinter::Warning(const std::string& text) { Line(text); }

void ProgressPrinter::Say(const std::string& text) {
  if (!quiet_) Line(text);
}

}  // namespace cq
