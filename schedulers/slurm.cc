#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <thread>
#include <utility>

#include "base/text.h"
#include "cq/error.h"
#include "generated/slurm_master_template.h"
#include "generated/slurm_template.h"
#include "protocol/command.h"
#include "schedulers/scheduler.h"
#include "schedulers/subprocess.h"
#include "schedulers/template.h"

namespace cq {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kCommandLimit{60};
/// An order of an earlier master may take so long to reach the controller, or to be seen there.
constexpr seconds kLateSubmission{60};
/// No shorter than this between two queries: a poll costs the controller, too.
constexpr milliseconds kPollYoung = seconds(5);
constexpr milliseconds kPollLater = seconds(60);

const std::set<std::string> kKeys = {"account",   "connect",     "cores",    "cpus",    "cq",
                                     "gpu",       "job_name",    "log_file", "memory",  "n_jobs",
                                     "partition", "pool",        "qos",      "run_dir", "slots",
                                     "time",      "worker_init", "workers"};

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::string OneLine(std::string text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) {
    text.pop_back();
  }
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

struct JobId {
  std::string id;
  std::string cluster;
  /// By which it was submitted.
  std::string token = {};
};

// Sites wrap sbatch and print banners: the id is the last line that looks like one, "1234" or
// "1234;cluster".
bool ParseJobId(const std::string& out, JobId& job) {
  const auto lines = Lines(out);
  for (auto line = lines.rbegin(); line != lines.rend(); ++line) {
    const std::string text = OneLine(*line);
    const size_t semicolon = text.find(';');
    const std::string id = text.substr(0, semicolon);
    if (id.empty() ||
        !std::all_of(id.begin(), id.end(), [](unsigned char c) { return std::isdigit(c) != 0; })) {
      continue;
    }
    job.id = id;
    job.cluster = semicolon == std::string::npos ? "" : text.substr(semicolon + 1);
    return true;
  }
  return false;
}

// A path as `--output` takes it: % means something there.
std::string OutputPath(const std::string& directory, const std::string& pattern) {
  if (directory.find('\\') != std::string::npos) {
    throw UsageError(
        fmt::format("Slurm cannot write a job's output below '{}', because of the \\ in it: "
                    "--run-dir DIR puts the "
                    "run elsewhere",
                    directory));
  }
  std::string path;
  for (const char c : directory) {
    path += c;
    if (c == '%') path += c;
  }
  return path + "/" + pattern;
}

bool Ended(const std::string& state) {
  static const std::set<std::string> kAlive = {
      "PENDING",      "RUNNING",   "SUSPENDED",   "COMPLETING",   "CONFIGURING",
      "RESIZING",     "REQUEUED",  "REQUEUE_FED", "REQUEUE_HOLD", "SIGNALING",
      "SPECIAL_EXIT", "STAGE_OUT", "STOPPED"};
  return !kAlive.contains(state);
}

JobEnding EndingOf(const std::string& state) {
  static const std::map<std::string, JobEnding> kEndings = {
      {"BOOT_FAIL", JobEnding::kNode},      {"CANCELLED", JobEnding::kCancelled},
      {"COMPLETED", JobEnding::kLeft},      {"DEADLINE", JobEnding::kTimeLimit},
      {"NODE_FAIL", JobEnding::kNode},      {"OUT_OF_MEMORY", JobEnding::kMemory},
      {"PREEMPTED", JobEnding::kPreempted}, {"REVOKED", JobEnding::kPreempted},
      {"TIMEOUT", JobEnding::kTimeLimit},
  };
  const auto found = kEndings.find(state);
  return found == kEndings.end() ? JobEnding::kItself : found->second;
}

// Without cgroups Slurm looks at a job's memory now and then, kills what has too much, and says so
// in its output alone.
bool SaysMemory(const std::string& log) {
  std::ifstream file(log);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("slurmstepd") && line.find("exceeded memory limit") != line.npos &&
        line.find("being killed") != line.npos) {
      return true;
    }
  }
  return false;
}

// Why a job waits that can never start as it was submitted.
bool IsHopeless(const std::string& reason) {
  static const std::set<std::string> kReasons = {"AccountNotAllowed",
                                                 "BadConstraints",
                                                 "DependencyNeverSatisfied",
                                                 "InvalidAccount",
                                                 "InvalidQOS",
                                                 "PartitionNodeLimit",
                                                 "PartitionTimeLimit",
                                                 "launch failed requeued held"};
  // QOSMaxCpuPerJobLimit, AssocMaxWallDurationPerJobLimit, …: one job alone asks for too much.
  const bool of_one_job = (reason.starts_with("QOSMax") || reason.starts_with("AssocMax")) &&
                          reason.find("PerJob") != std::string::npos;
  return of_one_job || kReasons.contains(reason);
}

// "2-03:04:05", "3:04:05", "4:05"; none for UNLIMITED and what is no time.
std::optional<seconds> TimeIn(const std::string& text) {
  int64_t parts[4] = {0, 0, 0, 0};
  const size_t dash = text.find('-');
  std::string clock = text;
  if (dash != std::string::npos) {
    parts[0] = std::atoll(text.c_str());
    clock = text.substr(dash + 1);
  }
  const auto colons = std::count(clock.begin(), clock.end(), ':');
  const bool digits = clock.find_first_not_of("0123456789:") == std::string::npos;
  if (!digits || colons < 1 || colons > 2) return std::nullopt;
  std::istringstream in(clock);
  size_t at = 3 - static_cast<size_t>(colons);
  for (std::string part; std::getline(in, part, ':') && at < 4;)
    parts[at++] = std::atoll(part.c_str());
  return seconds(((parts[0] * 24 + parts[1]) * 60 + parts[2]) * 60 + parts[3]);
}

// What sbatch says when it may take the same, or less, later.
bool IsTemporary(const std::string& said) {
  static const std::vector<std::string> kWords = {
      // How much a user may have in the queue.
      "MaxSubmitJob", "GrpSubmitJob", "MaxJobCount", "Slurm temporarily unable",
      "Resource temporarily unavailable", "job limit", "backlog",
      // The controller is not there.
      "Unable to contact slurm controller", "Connection refused", "Zero Bytes were transmitted",
      "Transport endpoint", "in standby mode", "Communication connection"};
  return std::any_of(kWords.begin(), kWords.end(), [&](const std::string& words) {
    return said.find(words) != std::string::npos;
  });
}

std::string ProgramText(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + ShellQuote(word);
  return text;
}

std::string FilledSlurmTemplate(const WorkerLaunch& launch, unsigned workers) {
  const std::string cpus = std::to_string(launch.slots * launch.cpus_per_slot);
  std::map<std::string, std::string> values = {
      {"workers", std::to_string(workers)},
      {"n_jobs", std::to_string(workers)},
      {"slots", std::to_string(launch.slots)},
      {"pool", launch.pool.empty() ? "default" : ShellQuote(launch.pool)},
      {"cpus", cpus},
      {"cores", cpus},
      {"log_file", OutputPath(launch.log_dir, launch.of_master ? "master.log" : "slurm-%A_%a.log")},
      {"connect", ShellQuote(launch.connection_file)},
      {"run_dir", launch.run_dir},
      {"cq", ProgramText(launch.program)},
      {"worker_init", launch.worker_init},
  };
  std::set<std::string> user_set;
  for (const auto& [name, value] : launch.set) {
    values[name] = value;
    user_set.insert(name);
  }
  const bool own = launch.template_text.empty();
  const std::string_view text = !own               ? std::string_view(launch.template_text)
                                : launch.of_master ? kSlurmMasterTemplate
                                                   : kSlurmTemplate;
  const std::string name = !own               ? launch.template_name
                           : launch.of_master ? "slurm_master.tmpl"
                                              : "slurm.tmpl";
  const std::string filled = FillTemplate(text, name, values, kKeys, user_set, "#SBATCH",
                                          launch.of_master ? "--set-master" : "--set");
  if (launch.of_master) return filled;
  if (text.find("workers") == std::string_view::npos &&
      text.find("n_jobs") == std::string_view::npos) {
    throw UsageError(
        fmt::format("{}: the template has no key 'workers': all workers are one array, as in "
                    "#SBATCH --array=1-{{{{ workers }}}}",
                    launch.template_name));
  }
  if (!launch.pool.empty() && text.find("pool") == std::string_view::npos) {
    throw UsageError(
        fmt::format("{}: the template has no key 'pool', by which a worker says of which pool it "
                    "is: add to its last line: --pool {{{{ pool }}}}",
                    launch.template_name));
  }
  return filled;
}

class SlurmScheduler : public Scheduler {
 public:
  explicit SlurmScheduler(WorkerLaunch launch)
      : launch_(std::move(launch)), environment_(SubmissionEnvironment()) {
    // A wrong template must be told before anything starts.
    FilledSlurmTemplate(launch_, 1);
  }
  ~SlurmScheduler() override {
    try {
      CancelAll();
    } catch (const Error&) {
      // Told by the explicit call that every end of a run makes.
    }
  }

  std::string Script(unsigned workers) const override {
    return FilledSlurmTemplate(launch_, workers);
  }

  std::string Submit(unsigned workers, const std::string& token) override {
    const std::string script = FilledSlurmTemplate(launch_, workers);
    const auto done =
        RunSchedulerCommand(SubmitCommand(token), script, WithoutOverruled(environment_, script),
                            kCommandLimit, hurry_fd_);
    JobId job;
    if (done.err.find("Invalid node name") != std::string::npos && !avoided_.empty()) {
      // Hosts may call themselves otherwise than Slurm does.
      avoided_.clear();
      return Submit(workers, token);
    }
    if (done.status != 0 || !ParseJobId(done.out, job)) ThrowNotSubmitted(done, token);
    job.token = token;
    Watch(job, workers);
    return job.cluster.empty() ? job.id : job.id + ";" + job.cluster;
  }

  unsigned AtOnce() override {
    for (const std::string& text : Settings("MaxArraySize")) {
      if (text.empty() || text.size() > 8 || text.find_first_not_of("0123456789") != text.npos) {
        continue;
      }
      // The largest index is one less.
      return std::max(static_cast<unsigned>(std::stoul(text)), 2u) - 1;
    }
    // Slurm's own default.
    return 1000;
  }

  Adopted Adopt(const LeftSubmission& left) override {
    JobId id;
    if (left.job.empty()) {
      // First: it may end, and its job come, while the controller is asked.
      const bool coming = SubmissionRuns(left) || left.age < kLateSubmission;
      const auto found = JobsWithToken(left.token);
      if (found.empty()) return coming ? Adopted::kUnknown : Adopted::kGone;
      id.id = found.front();
    } else if (!ParseJobId(left.job, id)) {
      return Adopted::kGone;
    }
    id.token = left.token;
    Watch(id, left.workers);
    // One that is not listed has long left the queue, unlike one that was submitted a moment ago.
    for (Element& element : alive_) {
      if (element.array != id.id) continue;
      element.missing = 1;
      element.adopted = true;
    }
    return Adopted::kYes;
  }

  void CancelSubmission(const std::string& token) override {
    ending_ = true;
    Cancel(JobsWithToken(token));
  }

  void HurryAt(int fd) override { hurry_fd_ = fd; }
  void Avoid(const std::string& host) override { avoided_.insert(host); }

  std::vector<WorkerJob> Poll() override {
    const auto states = Query();
    ForgottenArrays forgotten;
    std::vector<WorkerJob> found;
    std::erase_if(alive_, [&](Element& element) {
      WorkerJob job;
      job.allocation = "slurm " + element.id;
      job.log_file = LogFile(element.id);
      const auto state = states.find(element.id);
      bool ended = false;
      if (state == states.end()) {
        // Just submitted ones may not show yet; one that was not listed twice has left the queue,
        // if the controller itself does not know it any more.
        ended = ++element.missing >= 2 && IsForgotten(element, forgotten);
        job.reason = ended ? fmt::format("slurm job {} is no longer in the queue", element.id) : "";
      } else {
        element.missing = 0;
        ended = Ended(state->second.name);
        // Its nodes may take their time to boot.
        const bool waits = state->second.name == "PENDING" || state->second.name == "CONFIGURING";
        if (!waits && !ended) {
          job.state = WorkerJob::State::kRunning;
          job.time = state->second.time;
        }
        if (waits && IsHopeless(state->second.reason)) job.state = WorkerJob::State::kHopeless;
        job.reason = state->second.reason;
        if (ended) DescribeEnd(state->second, element.id, job);
      }
      if (ended) {
        job.state = element.adopted ? WorkerJob::State::kOver : WorkerJob::State::kEnded;
      }
      element.adopted = false;
      found.push_back(std::move(job));
      return ended;
    });
    // Nobody asks for arrays of which all has ended.
    std::erase_if(jobs_, [this](const JobId& job) {
      const bool ended = std::none_of(alive_.begin(), alive_.end(), [&](const Element& element) {
        return element.array == job.id && element.cluster == job.cluster;
      });
      if (ended) ended_.push_back(job.token);
      return ended;
    });
    return found;
  }

  std::vector<std::string> TakeEnded() override { return std::exchange(ended_, {}); }

  void End(const std::string& allocation) override {
    const Element* element = Find(allocation);
    if (element != nullptr) CancelJob({element->id, element->cluster});
  }

  // One that has started meanwhile is left alone: its worker has work, or leaves.
  void Withdraw(const std::vector<std::string>& allocations) override {
    std::map<std::string, std::vector<std::string>> by_cluster;
    for (const std::string& allocation : allocations) {
      const Element* element = Find(allocation);
      if (element != nullptr) by_cluster[element->cluster].push_back(element->id);
    }
    for (auto& [cluster, ids] : by_cluster) {
      ids.insert(ids.begin(), {"--quiet", "--state=PENDING"});
      const auto done = Client("scancel", ids, cluster);
      // Without a word: some of them have started, or ended.
      if (done.status == 0 || OneLine(done.err).empty()) continue;
      throw Error(fmt::format("scancel failed: {}", OneLine(done.err)));
    }
  }

  void Finish() override {
    ending_ = true;
    if (WaitUntilGone(alive_, seconds(3))) alive_.clear();
    CancelAll();
  }

  void CancelAll() override {
    if (alive_.empty()) return;
    ending_ = true;
    std::string failure;
    for (const JobId& job : jobs_) {
      try {
        CancelJob(job);
      } catch (const Error& error) {
        failure = error.what();
      }
    }
    const std::vector<Element> ending = std::exchange(alive_, {});
    if (!failure.empty()) throw Error(failure);
    WaitUntilGone(ending, seconds(4));
  }

  void LetGo() override { alive_.clear(); }

  milliseconds PollInterval(bool young) const override { return young ? kPollYoung : kPollLater; }

  bool ControllerAtLoopback() override {
    // It may have others to fall back on.
    const auto hosts = Settings("SlurmctldHost");
    return std::any_of(hosts.begin(), hosts.end(), [](const std::string& host) {
      return host.find("(127.") != host.npos || host.find("(::1)") != host.npos ||
             host.starts_with("localhost");
    });
  }

 private:
  struct Element {
    std::string id;
    std::string array;
    std::string cluster;
    int missing = 0;
    /// Not asked for yet since it was taken over.
    bool adopted = false;
  };
  struct State {
    std::string name;
    std::string reason;
    std::optional<WorkerJob::Time> time;
  };

  // The controller's settings whose names begin so.
  std::vector<std::string> Settings(std::string_view name) {
    if (config_.empty()) {
      config_ = Lines(RunSchedulerCommand({"scontrol", "show", "config"}, {}, environment_,
                                          kCommandLimit, hurry_fd_)
                          .out);
    }
    std::vector<std::string> values;
    for (const std::string& line : config_) {
      const size_t value = line.find("= ");
      if (line.starts_with(name) && value != line.npos) {
        values.push_back(OneLine(line.substr(value + 2)));
      }
    }
    return values;
  }

  std::vector<std::string> SubmitCommand(const std::string& token) const {
    std::vector<std::string> words = {"sbatch", "--parsable", TokenArgument(token)};
    if (!avoided_.empty()) words.push_back(fmt::format("--exclude={}", Joined(avoided_, ",")));
    return words;
  }

  static void DescribeEnd(const State& state, const std::string& id, WorkerJob& job) {
    job.ending = EndingOf(state.name);
    if (job.ending == JobEnding::kItself && SaysMemory(job.log_file)) {
      job.ending = JobEnding::kMemory;
    }
    job.reason = fmt::format("slurm job {} ended: {}{}{}", id, state.name, ReasonText(state.reason),
                             job.ending == JobEnding::kMemory ? ", for want of memory" : "");
  }

  static std::string ReasonText(const std::string& reason) {
    return reason.empty() || reason == "None" ? "" : fmt::format(" ({})", reason);
  }

  const Element* Find(const std::string& allocation) const {
    const auto found = std::find_if(alive_.begin(), alive_.end(), [&](const Element& element) {
      return "slurm " + element.id == allocation;
    });
    return found == alive_.end() ? nullptr : &*found;
  }

  void Watch(const JobId& job, unsigned workers) {
    for (unsigned i = 1; i <= workers; ++i) {
      Element element;
      element.id = fmt::format("{}_{}", job.id, i);
      element.array = job.id;
      element.cluster = job.cluster;
      alive_.push_back(std::move(element));
    }
    jobs_.push_back(job);
  }

  // The ids of our jobs that carry this token; an array has the same for all of its elements.
  std::vector<std::string> JobsWithToken(const std::string& token) {
    std::vector<std::string> found;
    const auto listed = Client("squeue", {"--me", "-h", "-o", "%F|%k"}, "");
    if (listed.status != 0) throw Error(fmt::format("squeue failed: {}", OneLine(listed.err)));
    for (const std::string& line : Lines(listed.out)) {
      const size_t bar = line.find('|');
      if (bar == std::string::npos || OneLine(line.substr(bar + 1)) != token) continue;
      const std::string id = line.substr(0, bar);
      if (std::find(found.begin(), found.end(), id) == found.end()) found.push_back(id);
    }
    return found;
  }

  void Cancel(const std::vector<std::string>& ids) {
    for (const std::string& id : ids) CancelJob({id, ""});
  }
  void CancelJob(const JobId& job) {
    const auto done = Client("scancel", {"--quiet", job.id}, job.cluster);
    if (done.status == 0 || done.err.find("Invalid job id") != std::string::npos) return;
    throw Error(fmt::format("scancel {} failed: {}; end it by hand", job.id, OneLine(done.err)));
  }

  [[noreturn]] void ThrowNotSubmitted(const CommandOutput& done, const std::string& token) {
    const std::string said = OneLine(done.err + done.out);
    // Cut off by the time limit, or without the answer that it should give.
    bool certain = done.status != 0 && done.status < 128 && !SaysTimeout(said);
    // It may have submitted all the same, wrapped by a site's script.
    std::vector<std::string> found;
    try {
      found = JobsWithToken(token);
    } catch (const Error&) {
      // What sbatch said is what the user has to know.
    }
    try {
      Cancel(found);
    } catch (const Error&) {
      certain = false;
    }
    const std::string refused = fmt::format("sbatch refused the {}: {}",
                                            launch_.of_master ? "master's job" : "workers", said);
    if (certain && IsTemporary(said)) throw TemporaryRefusal(refused);
    if (certain) throw Error(refused);
    if (launch_.of_master) {
      throw UncertainSubmission(fmt::format(
          "sbatch {}: {}; if it has submitted the master's job all the same, that begins the run, "
          "and 'cq cancel' cancels it",
          done.status == 0 ? "printed no job id" : "failed", said));
    }
    throw UncertainSubmission(
        fmt::format("sbatch {}: {}; if it has submitted workers all the same, they leave at once "
                    "when nobody wants them any more, and 'cq cancel' cancels them before",
                    done.status == 0 ? "printed no job id" : "failed", said));
  }

  // "Socket timed out on send/recv operation": the controller may have taken the order.
  static bool SaysTimeout(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return text.find("timed out") != std::string::npos;
  }

  // Whether an sbatch of an earlier master on this machine is still at it. One that has been for
  // longer than its master would have let it is ended.
  static bool SubmissionRuns(const LeftSubmission& left) {
    const std::string argument = TokenArgument(left.token);
    bool runs = false;
    std::error_code error;
    for (std::filesystem::directory_iterator it("/proc", error), end; !error && it != end;
         it.increment(error)) {
      const std::string name = it->path().filename();
      if (std::isdigit(static_cast<unsigned char>(name[0])) == 0) continue;
      std::ifstream file(it->path() / "cmdline");
      const std::string words((std::istreambuf_iterator<char>(file)), {});
      if (words.find(argument + '\0') == std::string::npos) continue;
      runs = true;
      if (left.age > kCommandLimit) kill(std::stoi(name), SIGKILL);
    }
    return runs;
  }

  static std::string TokenArgument(const std::string& token) { return "--comment=" + token; }

  CommandOutput Client(const std::string& program, std::vector<std::string> words,
                       const std::string& cluster) {
    words.insert(words.begin(), program);
    if (!cluster.empty()) words.insert(words.begin() + 1, {"-M", cluster});
    return RunSchedulerCommand(words, {}, environment_, ending_ ? kHurriedLimit : kCommandLimit,
                               hurry_fd_);
  }

  // One query for all of our jobs on a cluster, the finished ones too as long as the controller
  // remembers them.
  std::map<std::string, State> Query() {
    std::map<std::string, std::vector<std::string>> by_cluster;
    for (const JobId& job : jobs_) by_cluster[job.cluster].push_back(job.id);
    std::map<std::string, State> states;
    for (const auto& [cluster, ids] : by_cluster) {
      const auto done = Client(
          "squeue", {"-h", "-r", "-t", "all", "-j", Joined(ids, ","), "-o", "%i|%T|%r|%L|%l"},
          cluster);
      // Said when the controller has forgotten all of them: then none is in the queue.
      const bool forgotten = done.err.find("Invalid job id") != std::string::npos;
      if (done.status != 0 && !forgotten) {
        throw Error(fmt::format("squeue failed: {}", OneLine(done.err)));
      }
      for (const std::string& line : Lines(done.out)) {
        const size_t first = line.find('|');
        const size_t second = line.find('|', first + 1);
        if (first == std::string::npos || second == std::string::npos) continue;
        const size_t third = std::min(line.find('|', second + 1), line.size());
        State& state = states[line.substr(0, first)];
        state.name = line.substr(first + 1, second - first - 1);
        state.reason = line.substr(second + 1, third - second - 1);
        const size_t fourth = line.find('|', std::min(third + 1, line.size()));
        if (fourth == std::string::npos) continue;
        const auto left = TimeIn(line.substr(third + 1, fourth - third - 1));
        const auto all = TimeIn(line.substr(fourth + 1));
        if (left && all) state.time = {*left, *all};
      }
    }
    return states;
  }

  // Arrays, by id and cluster, of which the controller was asked, and whether all has ended.
  using ForgottenArrays = std::map<std::pair<std::string, std::string>, bool>;

  // Whether the controller itself says that there is no such element, or that it has ended. One
  // question answers for all of an array that has ended.
  bool IsForgotten(const Element& element, ForgottenArrays& arrays) {
    const auto [array, is_new] = arrays.try_emplace({element.array, element.cluster});
    if (is_new) array->second = IsForgotten(element.array, element.cluster);
    return array->second || IsForgotten(element.id, element.cluster);
  }

  bool IsForgotten(const std::string& id, const std::string& cluster) {
    const auto done = Client("scontrol", {"-o", "show", "job", id}, cluster);
    // The second of an element that was cancelled while it waited, of an array that goes on.
    if (done.status != 0) {
      return done.err.find("Invalid job id") != std::string::npos ||
             done.out.find(fmt::format("Job {} not found", id)) != std::string::npos;
    }
    constexpr std::string_view kState = "JobState=";
    size_t at = done.out.find(kState);
    bool ended = at != std::string::npos;
    for (; at != std::string::npos; at = done.out.find(kState, at)) {
      at += kState.size();
      ended = ended && Ended(done.out.substr(at, done.out.find_first_of(" \n", at) - at));
    }
    return ended;
  }

  // After scancel a job needs a moment; nothing of ours is to be left in the queue when the master
  // ends.
  bool WaitUntilGone(std::vector<Element> left, seconds limit) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    // A query asked at once only delays the controller and finds the jobs still ending.
    auto pause = milliseconds(24);
    while (std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(pause);
      const auto states = Query();
      ForgottenArrays forgotten;
      std::erase_if(left, [&](const Element& element) {
        const auto state = states.find(element.id);
        if (state != states.end()) return Ended(state->second.name);
        // An empty answer says nothing.
        return std::chrono::steady_clock::now() < deadline && IsForgotten(element, forgotten);
      });
      if (left.empty()) return true;
      pause = std::min(pause * 5 / 4, milliseconds(500));
    }
    return false;
  }

  std::string LogFile(const std::string& id) const {
    return fmt::format("{}/slurm-{}.log", launch_.log_dir, id);
  }

  WorkerLaunch launch_;
  std::vector<std::string> environment_;
  std::vector<JobId> jobs_;
  std::vector<Element> alive_;
  std::vector<std::string> ended_;
  std::set<std::string> avoided_;
  bool ending_ = false;
  int hurry_fd_ = -1;
  /// What the controller says of itself, once it was asked.
  std::vector<std::string> config_;
};

}  // namespace

std::unique_ptr<Scheduler> MakeSlurmScheduler(WorkerLaunch launch) {
  return std::make_unique<SlurmScheduler>(std::move(launch));
}

std::string LogTail(const std::string& path) {
  constexpr size_t kLines = 10;
  std::ifstream file(path);
  if (!file) return fmt::format("  (there is no log '{}')", path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    lines.push_back(line.substr(0, 300));
    if (lines.size() > kLines) lines.erase(lines.begin());
  }
  if (lines.empty()) return fmt::format("  (the log '{}' is empty)", path);
  return fmt::format("  {}\n  (from {})", Joined(lines, "\n  "), path);
}

}  // namespace cq
