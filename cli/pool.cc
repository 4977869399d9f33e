#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>

#include "base/json.h"
#include "base/proc.h"
#include "base/spawn.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/control.h"
#include "cli/detach.h"
#include "cli/interrupts.h"
#include "cli/progress.h"
#include "cli/run_options.h"
#include "cq/error.h"
#include "master/warm/warm_pool.h"
#include "protocol/own_program.h"
#include "protocol/pool_channel.h"
#include "protocol/pool_file.h"

namespace cq {
namespace {

namespace po = boost::program_options;

constexpr HelpPage kPoolHelp = {
    "cq pool start NAME [options] | list | status NAME | stop NAME",
    "A warm pool: workers that stay, and lend their slots to runs (cq run … --on NAME), so that a "
    "run starts at once\n"
    "where a batch system would have it wait. Several runs share the slots equally, by --priority "
    "first; nothing that\n"
    "runs is taken away. Each run keeps its own directory, progress and exit status, and does not "
    "end with another.\n"
    "  start   starts the pool and returns; its log is pool.log in its directory. Of a pool whose "
    "master is gone, it\n"
    "          takes back the workers that still live\n"
    "  list    your pools\n"
    "  status  one of them: its workers, and the runs that are on it. Exit status: 0 there, 5 its "
    "master is gone\n"
    "          cq scale NAME -w N|MIN:MAX gives it other numbers of workers\n"
    "  stop    ends it when what runs there has ended; what is left of its runs goes on elsewhere "
    "with 'cq resume'",
    "cq pool start mine -s slurm -w 20 --slots 4 && cq run params.csv --on mine -- ./simulate "
    "{alpha}"};

/// Of the options of a run, those that say how workers are started and watched.
bool IsOfPools(const RunOption& option) {
  static const std::vector<std::string> kNames = {
      "slots",     "scheduler", "template",       "set",           "worker-init", "ports",
      "interface", "lease",     "on-master-loss", "launch-timeout"};
  return std::find(kNames.begin(), kNames.end(), option.long_name()) != kNames.end();
}

po::options_description PoolDescription() {
  po::options_description start("options of start", 100, 60);
  start.add_options()(
      "workers,w", po::value<std::string>()->value_name("N|MIN:MAX"),
      "how many workers, which are replaced when they end; or as many as runs ask for, within "
      "these bounds [1; a scheduler needs it]")(
      "worker-idle-timeout", po::value<std::string>()->value_name("DURATION"),
      "with --workers MIN:MAX, now or by 'cq scale': how long a worker of which nobody has a slot "
      "stays [5m]");
  AddRunOptions(start, IsOfPools);
  start.add_options()("idle-timeout", po::value<std::string>()->value_name("DURATION"),
                      "end the pool when no run has asked for a slot for so long; 0s: never [30m]")(
      "foreground", "stay, as a job script wants it; Ctrl-C ends the pool");
  po::options_description others("other options", 100, 60);
  others.add_options()("now", "stop: at once; what runs there runs again elsewhere")(
      "json", "list, status: as JSON")("help,h", "show this page");
  po::options_description all("", 100, 60);
  all.add(start).add(others);
  return all;
}

// ---- start ----

int KeepPool(const po::variables_map& values, const std::string& name) {
  IsToDetach();
  const Fd interrupt = InterruptFd();
  WarmPoolOptions options;
  options.name = name;
  SetRunOptions(options.master, values);
  options.master.signal_fd = interrupt.get();
  // Of a run that is its workers'.
  options.master.idle_timeout = RunOptions{}.idle_timeout;
  if (values.count("worker-idle-timeout") > 0) {
    options.master.idle_timeout =
        ParseDuration(values["worker-idle-timeout"].as<std::string>(), "--worker-idle-timeout");
  }
  options.idle_timeout = std::chrono::minutes(30);
  if (values.count("idle-timeout") > 0) {
    options.idle_timeout =
        ParseDuration(values["idle-timeout"].as<std::string>(), "--idle-timeout");
  }
  ProgressPrinter printer(false);
  options.ready = [&] {
    if (IsToDetach()) Detach(PoolDirectory(name) + "/pool.log");
    printer.Say(fmt::format("the pool '{}' is ready: cq run … --on {}", name, name));
  };
  const WarmPoolEnd end = KeepWarmPool(options, printer);
  if (end.status == 0) {
    printer.Say(fmt::format("the pool '{}' has ended: {}", name, end.reason));
  } else {
    printer.Warning(fmt::format("the pool '{}' has ended: {}", name, end.reason));
  }
  return end.status;
}

// `varies`: it has as many workers as runs ask for.
int StartPool(CommandLine line, const std::string& name, bool varies) {
  line.words.emplace_back("--foreground");
  if (const auto ended = StartDetached("pool", line)) return std::max(*ended, 1);
  const PoolFile file = ReadPoolFile(name);
  fmt::print("the pool '{}' is ready: {}{} slots, process {}; its log is {}/pool.log\n", name,
             varies ? "up to " : "", file.all_slots(), file.pid, PoolDirectory(name));
  return 0;
}

// ---- the others ----

OrderedJson StatusOf(const PoolFile& file) {
  OrderedJson gone = {{"name", file.name},
                      {"scheduler", file.scheduler},
                      {"state", "gone"},
                      {"reason", WhyUnreachable(file)}};
  if (!gone["reason"].get<std::string>().empty()) return gone;
  auto status = AskPool(file, {{"say", "status"}});
  if (!status) {
    gone["state"] = "silent";
    gone["reason"] = fmt::format("the pool '{}' does not answer (process {})", file.name, file.pid);
    return gone;
  }
  status->erase("say");
  return *status;
}

std::string Shown(const OrderedJson& status) {
  const auto name = status["name"].get<std::string>();
  if (!status.contains("slots")) {
    return fmt::format("{}: {}", name, status["reason"].get<std::string>());
  }
  const auto pending = status["pending_workers"].get<uint64_t>();
  const auto reason = status["pending_reason"].get<std::string>();
  const auto most = status.value("workers_most", uint64_t{0});
  const auto least = status.value("workers_least", most);
  std::string text =
      fmt::format("{}: {}, {} workers{} ({}), {} of {} slots lent, {} runs", name,
                  status["state"].get<std::string>(), status["workers"].get<uint64_t>(),
                  least < most ? fmt::format(" of {} to {}", least, most) : "",
                  status["scheduler"].get<std::string>(), status["lent"].get<uint64_t>(),
                  status["slots"].get<uint64_t>(), status["runs"].size());
  if (pending > 0) {
    text += fmt::format(", {} workers pending{}", pending,
                        reason.empty() ? "" : fmt::format(" ({})", reason));
  }
  return text;
}

int ListPools(bool json) {
  OrderedJson all = OrderedJson::array();
  for (const std::string& name : PoolNames()) all.push_back(StatusOf(ReadPoolFile(name)));
  if (json) {
    fmt::print("{}\n", ShownJson(all));
    return 0;
  }
  for (const OrderedJson& status : all) fmt::print("{}\n", PrintableText(Shown(status)));
  if (all.empty()) fmt::print("there is no pool; 'cq pool start NAME' starts one\n");
  return 0;
}

int ShowPool(const std::string& name, bool json) {
  const OrderedJson status = StatusOf(ReadPoolFile(name));
  const int result = status.contains("slots") ? 0 : 5;
  if (json) {
    fmt::print("{}\n", ShownJson(status));
    return result;
  }
  fmt::print("{}\n", PrintableText(Shown(status)));
  for (const OrderedJson& run : status.value("runs", OrderedJson::array())) {
    fmt::print("  {:>4} slots of {:>4}, priority {:>3}  {}\n", run["slots"].get<uint64_t>(),
               run["wanted"].get<uint64_t>(), run["priority"].get<int64_t>(),
               PrintableText(BytesOfJson(run["run_dir"])));
  }
  return result;
}

int StopPool(const std::string& name, bool now) {
  const PoolFile file = ReadPoolFile(name);
  const std::string why = WhyUnreachable(file);
  if (!why.empty()) throw UsageError(why);
  auto channel = ConnectToPool(file.socket);
  if (!channel) throw Error(fmt::format("the pool '{}' does not answer", name));
  channel->Send({{"say", "stop"}, {"now", now}});
  const Fd process = WatchProcess(static_cast<pid_t>(file.pid), file.start);
  if (!process) return 0;
  pollfd ended{process.get(), POLLIN, 0};
  const bool at_once = poll(&ended, 1, now ? 20'000 : 2'000) > 0;
  fmt::print("the pool '{}' {}\n", name,
             at_once ? "has ended"
             : now   ? "is ending"
                     : "ends when what runs there has ended; --now ends it at once");
  return 0;
}

int PoolCommandLine(const CommandLine& line) {
  po::variables_map values;
  if (!ParseOptions(line, kPool, values)) return 0;
  const auto words = Positional(values);
  const std::string verb = words.empty() ? "" : words[0];
  const bool known = verb == "start" || verb == "list" || verb == "status" || verb == "stop";
  if (!known) throw UsageError("cq pool start NAME, list, status NAME, or stop NAME");
  const size_t wanted = verb == "list" ? 1 : 2;
  if (words.size() != wanted) {
    throw UsageError(fmt::format("cq pool {}{}", verb, wanted == 2 ? " NAME" : " takes no name"));
  }
  for (const auto& [option, value] : values) {
    const bool of_start = option != "now" && option != "json" && option != "positional";
    const bool fits = of_start           ? verb == "start"
                      : option == "now"  ? verb == "stop"
                      : option == "json" ? verb == "list" || verb == "status"
                                         : true;
    if (!fits) throw UsageError(fmt::format("--{} is not for 'cq pool {}'", option, verb));
  }
  const bool json = values.count("json") > 0;
  if (verb == "list") return ListPools(json);
  PoolDirectory(words[1]);
  if (verb == "status") return ShowPool(words[1], json);
  if (verb == "stop") return StopPool(words[1], values.count("now") > 0);
  if (values.count("foreground") > 0) return KeepPool(values, words[1]);
  const bool varies = values.count("workers") > 0 &&
                      values["workers"].as<std::string>().find(':') != std::string::npos;
  return StartPool(line, words[1], varies);
}

}  // namespace

const Subcommand kPool = {"pool", "keep workers warm for runs to come", kPoolHelp, PoolDescription,
                          PoolCommandLine};

}  // namespace cq
