#include "master/proposer/proposer_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "base/blocked_signals.h"
#include "base/spawn.h"
#include "base/text.h"
#include "base/worker_process.h"
#include "cq/error.h"
#include "protocol/own_program.h"

namespace cq {
namespace {

using std::chrono::seconds;
using std::chrono::steady_clock;

/// The descriptors at which it finds its pipes, if those are not its standard streams, and at which
/// its guardian sees that the master is gone.
constexpr int kIn = 3;
constexpr int kOut = 4;
constexpr int kLife = 5;
constexpr size_t kLineMax = size_t{16} << 20;
/// So much of what it prints is kept: it shares its disk with the journal.
constexpr size_t kLogMax = size_t{64} << 20;
constexpr size_t kLastWordsMax = 4096;
constexpr seconds kTellAfter{60};
constexpr seconds kPatience{5};
constexpr int kSlice = 200;
constexpr int kReadsAtOnce = 32;

Fd Above(const Fd& fd) { return Fd(fcntl(fd.get(), F_DUPFD_CLOEXEC, 16)); }

}  // namespace

ProposerProcess::ProposerProcess(Options options)
    : options_(std::move(options)), name_(CutText(Joined(options_.words, " "), 100)) {
  log_ = Fd(open(options_.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  Spawn();
  try {
    AwaitReady();
  } catch (...) {
    End();
    throw;
  }
}

void ProposerProcess::Spawn() {
  Pipe to = MakePipe();
  Pipe from = MakePipe();
  Pipe printed = MakePipe();
  Pipe life = MakePipe();
  for (const Fd* fd : {&to.write, &from.read, &printed.read}) {
    fcntl(fd->get(), F_SETFL, O_NONBLOCK);
  }
  const Fd in = Above(to.read), out = Above(from.write), log = Above(printed.write),
           alive = Above(life.read);
  // A session of its own: Ctrl-C reaches the master alone.
  Spawner spawner(Spawner::Group::kOwnSession);
  const bool standard = options_.standard_streams;
  if (!standard) spawner.GiveNoInput();
  spawner.Give(in.get(), standard ? 0 : kIn);
  spawner.Give(out.get(), standard ? 1 : kOut);
  if (!standard) spawner.Give(log.get(), 1);
  spawner.Give(log.get(), 2);
  spawner.Give(alive.get(), kLife);
  spawner.StartIn(options_.directory);
  const auto words = GuardedCommand(options_.cq, kLife, options_.file, options_.words);
  const std::string& guardian = words[0];
  std::vector<std::string> environment = options_.environment;
  environment.push_back(fmt::format("CQ_ASK_IN={}", standard ? 0 : kIn));
  environment.push_back(fmt::format("CQ_ASK_OUT={}", standard ? 1 : kOut));
  const int error =
      spawner.StartPatiently(pid_, guardian, words, ArgumentPointers(environment).data(), 0,
                             kShortRoomPatience, options_.hurry_fd);
  if (error != 0) {
    pid_ = -1;
    throw Error(fmt::format("cannot start '{}': {}{}", guardian, strerror(error),
                            IsWantOfRoom(error) ? "; " + AdviceOnRoom() : ""));
  }
  pidfd_ = OpenPidfd(pid_);
  life_ = std::move(life.write);
  to_it_ = std::move(to.write);
  from_it_ = std::move(from.read);
  printed_ = std::move(printed.read);
}

void ProposerProcess::AwaitReady() {
  unsent_ = StartLine(options_.start, options_.form);
  const auto begin = steady_clock::now();
  bool told = false;
  for (;;) {
    const bool lives = Exchange(kSlice);
    std::string line;
    std::string refusal;
    while (TakeLine(line)) {
      if (!IsReady(line, refusal)) {
        // What it prints before a helper puts standard output out of its reach.
        print_ = line + "\n";
        KeepLog();
        continue;
      }
      if (refusal.empty()) return;
      throw UsageError(fmt::format("the proposer '{}' refuses: {}", name_, refusal));
    }
    if (unread_.size() > kLineMax) {
      throw UsageError(
          fmt::format("the proposer '{}' wrote a line of more than {} MiB", name_, kLineMax >> 20));
    }
    if (!lives) {
      throw UsageError(
          fmt::format("the proposer '{}' {}", name_, HowItEnded(" before it was ready")));
    }
    pollfd hurry{options_.hurry_fd, POLLIN, 0};
    if (options_.hurry_fd >= 0 && poll(&hurry, 1, 0) > 0) {
      throw Error(fmt::format("interrupted while the proposer '{}' started", name_));
    }
    if (told || steady_clock::now() - begin < kTellAfter) continue;
    told = true;
    options_.note(
        fmt::format("the proposer '{}' was started {} s ago and has not said that it is ready yet",
                    name_, kTellAfter.count()));
  }
}

void ProposerProcess::Listen(std::function<void(ProposerAnswer)> take) {
  take_ = std::move(take);
  const BlockedSignals none;
  thread_ = std::thread([this] { Work(); });
}

void ProposerProcess::Leave(bool patiently) {
  if (thread_.joinable()) {
    orders_.Put(LeaveOrder{patiently});
    thread_.join();
  }
  End();
}

void ProposerProcess::Work() {
  std::string problem;
  try {
    bool lives = true;
    while (lives && TakeOrders()) {
      lives = Exchange(-1);
      HandleLines();
      if (unread_.size() > kLineMax) {
        return Report(fmt::format("it wrote a line of more than {} MiB", kLineMax >> 20));
      }
    }
    if (!lives && !leave_) return Report(fmt::format("it {}", HowItEnded()));
  } catch (const Error& error) {
    return Report(error.what());
  }
  if (!leave_ || !leave_->patiently) return;
  to_it_.Close();
  const auto until = steady_clock::now() + kPatience;
  while (steady_clock::now() < until && Exchange(kSlice)) {
  }
}

// False once it is to leave.
bool ProposerProcess::TakeOrders() {
  for (Order& order : orders_.TakeAll()) {
    if (const auto* leave = std::get_if<LeaveOrder>(&order)) leave_ = *leave;
    if (const auto* line = std::get_if<std::string>(&order)) unsent_ += *line;
  }
  return !leave_;
}

bool ProposerProcess::Exchange(int milliseconds) {
  std::array<pollfd, 5> fds{{{from_it_.get(), POLLIN, 0},
                             {printed_.get(), POLLIN, 0},
                             {pidfd_.get(), POLLIN, 0},
                             {orders_.fd(), POLLIN, 0},
                             {unsent_.empty() ? -1 : to_it_.get(), POLLOUT, 0}}};
  poll(fds.data(), fds.size(), milliseconds);
  const bool ended = fds[2].revents != 0;
  while (!unsent_.empty() && to_it_) {
    const ssize_t n = write(to_it_.get(), unsent_.data(), unsent_.size());
    if (n > 0) unsent_.erase(0, static_cast<size_t>(n));
    if (n < 0 && errno == EPIPE) unsent_.clear();
    if (n < 0 && errno != EINTR) break;
  }
  ReadFrom(from_it_, unread_);
  // One that never stops is read on at the next turn.
  for (int i = 0; i < kReadsAtOnce && ReadFrom(printed_, print_); ++i) KeepLog();
  return !ended;
}

// Whether there was anything.
bool ProposerProcess::ReadFrom(Fd& fd, std::string& into) {
  std::array<char, 65536> buffer;
  bool any = false;
  while (fd && into.size() <= kLineMax) {
    const ssize_t n = read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    // What it has closed would be readable for ever.
    if (n == 0) fd.Close();
    if (n <= 0) break;
    into.append(buffer.data(), static_cast<size_t>(n));
    any = true;
  }
  return any;
}

void ProposerProcess::KeepLog() {
  last_words_ += print_;
  if (last_words_.size() > kLastWordsMax) {
    last_words_.erase(0, last_words_.size() - kLastWordsMax);
  }
  if (log_ && logged_ < kLogMax) {
    logged_ += print_.size();
    if (logged_ >= kLogMax) print_ += "\n[cq: what it printed after this was not kept]\n";
    if (!WriteAll(log_.get(), print_)) logged_ = kLogMax;
  }
  print_.clear();
}

bool ProposerProcess::TakeLine(std::string& line) {
  const size_t end = unread_.find('\n');
  if (end == std::string::npos) return false;
  line = unread_.substr(0, end);
  unread_.erase(0, end + 1);
  return true;
}

void ProposerProcess::HandleLines() {
  std::string line;
  while (TakeLine(line)) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    ProposerAnswer answer = ReadAnswer(line, options_.form);
    if (!answer.problem.empty()) throw Error(answer.problem);
    take_(std::move(answer));
  }
}

void ProposerProcess::Report(std::string problem) {
  ProposerAnswer answer;
  answer.problem = fmt::format("the proposer '{}': {}", name_, problem);
  answer.ended = pid_ < 0 && ended_well_;
  take_(std::move(answer));
}

std::string ProposerProcess::HowItEnded(const char* when) {
  End();
  const std::string words = LastLines(last_words_, 5);
  return end_ + when + (words.empty() ? "" : "; its last words: " + PrintableText(words));
}

void ProposerProcess::End() {
  life_.Close();
  if (pid_ > 0) {
    int status = 0;
    WaitFor(pid_, status);
    end_ = EndOfProcess(status);
    ended_well_ = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }
  pid_ = -1;
}

}  // namespace cq
