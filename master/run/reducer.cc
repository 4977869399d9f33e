#include "master/run/reducer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "base/json_text.h"
#include "base/spawn.h"
#include "base/text.h"
#include "base/worker_process.h"
#include "cq/error.h"
#include "master/proposer/proposer_lines.h"
#include "protocol/own_program.h"

namespace cq {
namespace {

/// The descriptor at which its guardian sees that the master is gone.
constexpr int kLife = 3;
constexpr size_t kAtOnce = 65'536;
constexpr int kLastLines = 5;

std::string PathIn(const ProgramBeside& program, const char* name) {
  return program.run_dir + "/" + name;
}

std::string LastWords(const std::string& log) {
  const std::string words = LastLines(ReadFile(log), kLastLines);
  return words.empty() ? "" : "; its last words: " + PrintableText(words);
}

Fd Above(int fd) { return Fd(fcntl(fd, F_DUPFD_CLOEXEC, 16)); }

}  // namespace

Reducer::Reducer(Options options)
    : options_(std::move(options)), output_(PathIn(options_.program, "reduced"), 0666) {
  // What an earlier one made is not of these rows.
  unlink(PathIn(options_.program, "reduced").c_str());
  Start();
}

Reducer::~Reducer() { Kill(); }

void Reducer::Start() {
  const auto environment = EnvironmentOf(options_.program);
  const std::string file = FileOf(options_.program, environment, "--reduce");
  Pipe to = MakePipe();
  Pipe life = MakePipe();
  fcntl(to.write.get(), F_SETFL, O_NONBLOCK);
  const std::string path = PathIn(options_.program, "reduce.log");
  const Fd log(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600));
  if (!log) throw Error(fmt::format("cannot open '{}': {}", path, strerror(errno)));
  const Fd in = Above(to.read.get()), out = Above(output_.fd()), err = Above(log.get()),
           alive = Above(life.read.get());
  // A session of its own: Ctrl-C reaches the master alone.
  Spawner spawner(Spawner::Group::kOwnSession);
  spawner.Give(in.get(), 0);
  spawner.Give(out.get(), 1);
  spawner.Give(err.get(), 2);
  spawner.Give(alive.get(), kLife);
  spawner.StartIn(options_.program.cwd);
  const auto words = GuardedCommand(options_.program.cq, kLife, file, options_.program.words);
  const int error = spawner.StartPatiently(
      pid_, words[0], words, ArgumentPointers(environment).data(), 0, kShortRoomPatience, -1);
  if (error != 0) {
    pid_ = -1;
    throw Error(fmt::format("cannot start '{}': {}", words[0], strerror(error)));
  }
  pidfd_ = OpenPidfd(pid_);
  input_ = std::move(to.write);
  life_ = std::move(life.write);
}

bool Reducer::Take(const Result& result, int stop_fd) {
  if (result.outcome != Outcome::kOk) return true;
  std::string line;
  AppendEnding(line, result.task, result.outcome, result.fields, result.returned, options_.form);
  if (options_.prints) {
    line.pop_back();
    line += R"(,"stdout":)";
    AppendJsonText(line, ValidText(result.out));
    line += IsCut(result.out) ? R"(,"cut":true})" : "}";
  }
  unwritten_ += line;
  unwritten_ += '\n';
  return unwritten_.size() < kAtOnce || Pause(stop_fd);
}

bool Reducer::Pause(int stop_fd) {
  const bool written = WriteWhileWanted(input_.get(), unwritten_, stop_fd);
  unwritten_.clear();
  return written;
}

std::string Reducer::Finish(const ReadersPatience& patience) {
  input_.Close();
  const bool ended = patience.AwaitReadable(pidfd_.get());
  Kill();
  const std::string name(CutText(Joined(options_.program.words, " "), 100));
  if (!ended) return fmt::format("--reduce: interrupted while '{}' was at work", name);
  if (status_ != 0) {
    return fmt::format("--reduce: '{}' {}{}", name, EndOfProcess(status_),
                       LastWords(PathIn(options_.program, "reduce.log")));
  }
  output_.Publish();
  return {};
}

bool Reducer::HasFailed() const {
  siginfo_t how{};
  const bool ended = waitid(P_PID, static_cast<id_t>(pid_), &how, WEXITED | WNOHANG | WNOWAIT) == 0;
  return ended && how.si_pid == pid_ && how.si_status != 0;
}

// Its input stays open until it has ended: what it has read is not all.
void Reducer::Kill() {
  life_.Close();
  if (pid_ > 0) WaitFor(pid_, status_);
  pid_ = -1;
}

}  // namespace cq
