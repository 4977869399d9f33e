#include "worker/slots/program_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/spawn.h"
#include "cq/error.h"
#include "protocol/own_program.h"
#include "worker/processes/process_tree.h"

namespace cq {
namespace {

// A program that asks for things and does not read the answers may leave this much unread.
constexpr size_t kRepliesMax = 1u << 20;
/// The descriptors at which a program finds its pipes.
constexpr int kProgramIn = 3;
constexpr int kProgramOut = 4;

std::string RandomToken() {
  std::array<unsigned char, 12> bytes{};
  if (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    throw Error("the system gives no random numbers");
  }
  std::string token;
  for (const unsigned char byte : bytes) token += fmt::format("{:02x}", byte);
  return token;
}

std::vector<std::string> ProgramWords(const Program& program) {
  if (program.function.empty()) return program.words;
  std::vector<std::string> words = OwnCommand();
  words.insert(words.end(), {"slot", program.function});
  return words;
}

std::vector<std::string> ProgramEnvironment(const RunContext& run, const std::string& token) {
  auto environment = run.environment();
  AddHelpers(environment);
  environment.push_back(fmt::format("CQ_SLOT_IN={}", kProgramIn));
  environment.push_back(fmt::format("CQ_SLOT_OUT={}", kProgramOut));
  environment.push_back("CQ_SLOT_MARK=" + token);
  return environment;
}

// Whether there was anything. What the program has closed is closed here, too: it would be readable
// for ever.
template <class F>
bool ReadAll(Fd& fd, const F& take) {
  // One that never stops is read on at the next look.
  constexpr int kReadsAtOnce = 32;
  std::array<char, 65536> buffer;
  bool any = false;
  for (int i = 0; i < kReadsAtOnce; ++i, any = true) {
    ssize_t n = 0;
    while ((n = read(fd.get(), buffer.data(), buffer.size())) < 0 && errno == EINTR) {
    }
    if (n == 0) fd.Close();
    if (n <= 0) return any;
    take(std::string_view(buffer.data(), static_cast<size_t>(n)));
    if (static_cast<size_t>(n) < buffer.size()) return true;
  }
  return any;
}

}  // namespace

ProgramProcess::ProgramProcess(const RunContext& run, const CommandRunner::Slot& slot)
    : slot_(slot), text_(run.text()), token_(RandomToken()), out_text(token_), err_text(token_) {
  in_ = MakePipe();
  out_ = MakePipe();
  stdout_ = MakePipe();
  stderr_ = MakePipe();
  for (const Fd* fd : {&in_.write, &out_.read, &stdout_.read, &stderr_.read}) {
    fcntl(fd->get(), F_SETFL, O_NONBLOCK);
  }
  if (run.text().memory_bytes != 0) {
    cgroup_ = MemoryCgroup::Make(slot_.number, run.text().memory_bytes);
  }
  limits = TaskLimits(run.text().memory_bytes, cgroup_.get());
  Spawn(run);
  in_.read.Close();
  out_.write.Close();
  stdout_.write.Close();
  stderr_.write.Close();
  pidfd_ = OpenPidfd(pid_);
}

ProgramProcess::~ProgramProcess() { End(SIGKILL); }

bool ProgramProcess::Wait(std::chrono::milliseconds wait, bool& killed) {
  Send();
  std::array<pollfd, 6> fds{{{out_.read.get(), POLLIN, 0},
                             {stdout_.read.get(), POLLIN, 0},
                             {stderr_.read.get(), POLLIN, 0},
                             {pidfd_.get(), POLLIN, 0},
                             {slot_.kill_fd, POLLIN, 0},
                             {unsent_.empty() ? -1 : in_.write.get(), POLLOUT, 0}}};
  poll(fds.data(), fds.size(), static_cast<int>(wait.count()));
  if (fds[4].revents != 0) {
    uint64_t ignored = 0;
    if (read(slot_.kill_fd, &ignored, sizeof ignored) > 0) killed = true;
  }
  const bool ended = fds[3].revents != 0;
  Read();
  return !ended;
}

// Everything that it has written until now; answers first, so that what was printed before them is
// there, too.
bool ProgramProcess::Read() {
  bool any = ReadAll(out_.read, [this](std::string_view bytes) { reader_.Append(bytes); });
  any |= ReadAll(stdout_.read, [this](std::string_view bytes) {
    out_text.Append(bytes);
    if (shown_) slot_.live->Append(false, bytes);
  });
  any |= ReadAll(stderr_.read, [this](std::string_view bytes) {
    err_text.Append(bytes);
    if (shown_) slot_.live->Append(true, bytes);
  });
  return any;
}

std::vector<pid_t> ProgramProcess::Family() const {
  std::vector<pid_t> family = ProcessTree(pid_);
  for (const pid_t pid : slot_.adopted->Of(slot_.number + 1)) {
    for (const pid_t below : ProcessTree(pid)) family.push_back(below);
  }
  return family;
}

void ProgramProcess::ShowFrom(const AttemptRef& task) {
  shown_ = true;
  slot_.live->Begin(task, out_text.Unmarked(), err_text.Unmarked());
}

void ProgramProcess::ShowNoMore() {
  shown_ = false;
  slot_.live->End();
}

bool ProgramProcess::Serves(const RunText& text) const {
  return text.program == text_.program && text.env == text_.env && text.cwd == text_.cwd &&
         text.run_dir == text_.run_dir && text.memory_bytes == text_.memory_bytes &&
         text.cpus == text_.cpus && text.extras == text_.extras;
}

void ProgramProcess::Write(const std::string& bytes) { unsent_ += bytes; }

void ProgramProcess::Reply(const std::string& bytes) {
  replies_ += bytes.size();
  if (replies_ > kRepliesMax) throw Error("it asks for things and does not read the answers");
  Write(bytes);
}

bool ProgramProcess::Look() {
  if (Read()) return true;
  pollfd ended{pidfd_.get(), POLLIN, 0};
  return poll(&ended, 1, 0) > 0;
}

void ProgramProcess::Signal(int number) const {
  if (pid_ > 0) kill(-pid_, number);
}

int ProgramProcess::End(int number) {
  if (pid_ <= 0) return status_;
  const std::vector<pid_t> family = Family();
  Signal(number);
  for (const pid_t process : family) {
    if (process != pid_) kill(process, SIGKILL);
  }
  if (!WaitFor(pid_, status_)) status_ = SIGKILL;
  Read();
  slot_.adopted->EndThoseOf(slot_.number + 1, slot_.others_run, slot_.alone);
  pid_ = -1;
  return status_;
}

bool ProgramProcess::Send() {
  size_t sent = 0;
  while (sent < unsent_.size()) {
    const ssize_t n = write(in_.write.get(), unsent_.data() + sent, unsent_.size() - sent);
    if (n > 0) sent += static_cast<size_t>(n);
    if (n < 0 && errno == EPIPE) sent = unsent_.size();
    if (n < 0 && errno != EINTR) break;
  }
  unsent_.erase(0, sent);
  if (!unsent_.empty()) return false;
  replies_ = 0;
  return true;
}

void ProgramProcess::Spawn(const RunContext& run) {
  const auto words = ProgramWords(run.text().program);
  name_ = words.at(0);
  const std::string file = run.ResolveProgram(name_);
  if (file.empty()) {
    start_error_ = ENOENT;
    return;
  }
  auto environment = ProgramEnvironment(run, token_);
  environment.push_back(fmt::format("CQ_TASK=0"));
  environment.push_back(fmt::format("CQ_ATTEMPT_ID={}", slot_.number + 1));
  Spawner spawner(Spawner::Group::kOwn);
  spawner.GiveNoInput();
  spawner.Give(stdout_.write.get(), 1);
  spawner.Give(stderr_.write.get(), 2);
  // Through numbers that none of our own can have, so that neither hides the other.
  const Fd in(fcntl(in_.read.get(), F_DUPFD_CLOEXEC, 16));
  const Fd out(fcntl(out_.write.get(), F_DUPFD_CLOEXEC, 16));
  spawner.Give(in.get(), kProgramIn);
  spawner.Give(out.get(), kProgramOut);
  spawner.StartIn(run.text().cwd);
  if (cgroup_) spawner.JoinCgroup(cgroup_->tasks_file());
  start_error_ = spawner.StartPatiently(pid_, file, words, ArgumentPointers(environment).data(),
                                        slot_.number + 1, kRoomPatience, slot_.kill_fd);
  if (start_error_ != 0) pid_ = -1;
}

}  // namespace cq
