#include "cli/notifier.h"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <thread>
#include <utility>

#include "base/spawn.h"
#include "base/text.h"

extern char** environ;

namespace cq {

using std::chrono::steady_clock;

Notifier::Notifier(std::string command, std::string run_dir, std::chrono::milliseconds stall)
    : command_(std::move(command)), run_dir_(std::move(run_dir)), stall_(stall) {}

void Notifier::OnProgress(const RunProgress& progress) {
  if (command_.empty() || progress.phase != RunProgress::Phase::kRunning) return;
  const bool moved = progress.done != last_.done;
  last_ = progress;
  const auto now = steady_clock::now();
  if (moved) moved_ = now;
  const bool failed = progress.failed > progress.failed_before;
  if (failed && !std::exchange(told_failure_, true)) Tell("failure", "");
  if (now - moved_ >= stall_ && !std::exchange(told_stall_, true)) Tell("stall", "");
}

void Notifier::OnEnd(const RunSummary& summary) {
  if (command_.empty()) return;
  last_.tasks = summary.tasks;
  last_.done = 0;
  for (const uint64_t count : summary.outcomes) last_.done += count;
  last_.failed = last_.done - summary.outcomes[0];
  Tell("end", std::to_string(summary.status));
  const auto deadline = steady_clock::now() + std::chrono::minutes(1);
  for (const pid_t pid : started_) {
    int how = 0;
    pid_t ended = 0;
    while ((ended = waitpid(pid, &how, WNOHANG)) == 0 && steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    if (ended == 0) Say(stderr, "cq: a command of --on-finish runs for over a minute\n");
    if (ended != pid || how == 0) continue;
    Say(stderr, fmt::format("cq: a command of --on-finish ended with {} {}\n",
                            WIFEXITED(how) ? "status" : "signal",
                            WIFEXITED(how) ? WEXITSTATUS(how) : WTERMSIG(how)));
  }
}

void Notifier::Tell(const char* event, const std::string& status) {
  std::vector<std::string> own = {std::string("CQ_EVENT=") + event, "CQ_RUN_DIR=" + run_dir_,
                                  fmt::format("CQ_TASKS={}", last_.tasks),
                                  fmt::format("CQ_DONE={}", last_.done),
                                  fmt::format("CQ_FAILED={}", last_.failed)};
  if (!status.empty()) own.push_back("CQ_STATUS=" + status);
  std::vector<char*> environment;
  // Where this is a task of another run, what is said of that one is not meant.
  const auto is_own = [&](const char* entry) {
    return std::any_of(own.begin(), own.end(), [&](const std::string& mine) {
      return strncmp(entry, mine.c_str(), mine.find('=') + 1) == 0;
    });
  };
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (!is_own(*entry)) environment.push_back(*entry);
  }
  std::transform(own.begin(), own.end(), std::back_inserter(environment),
                 [](std::string& entry) { return entry.data(); });
  environment.push_back(nullptr);
  Spawner spawner(Spawner::Group::kOwn);
  spawner.GiveNoInput();
  pid_t pid = 0;
  const int error = spawner.Start(pid, "/bin/sh", {"/bin/sh", "-c", command_}, environment.data());
  if (error == 0) {
    started_.push_back(pid);
  } else {
    Say(stderr, fmt::format("cq: --on-finish was not started: {}\n", strerror(error)));
  }
}

}  // namespace cq
