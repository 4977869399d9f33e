#include "worker/worker.h"

#include <fmt/format.h>

#include "cli/commands.h"
#include "cq/error.h"
#include "protocol/limits.h"
#include "worker/processes/guardian.h"

namespace cq {
namespace {

namespace po = boost::program_options;

constexpr HelpPage kWorkerHelp = {
    "cq worker --connect FILE [options]",
    "Connects to the master whose connection file this is, runs the tasks that it gives, and ends "
    "when the master\n"
    "says so. Submission templates end in this command. It is two processes: a guardian, and the "
    "worker proper;\n"
    "when either ends, however it ended, the other ends all tasks and whatever they started.\n"
    "SIGTERM makes it finish what runs and leave. Exit status: 0 told to end; 4 refused by the "
    "master (another version,\n"
    "another run); 5 no master was heard for too long; 6, 7 its master or guardian is gone.",
    "cq worker --connect params.cq/connect.json --slots 4"};

po::options_description WorkerDescription() {
  po::options_description options("options", 100, 60);
  options.add_options()("connect", po::value<std::string>()->value_name("FILE"),
                        "the run's connect.json")(
      "slots", po::value<std::string>()->value_name("N"), "tasks at a time [1]")(
      "pool", po::value<std::string>()->value_name("NAME"),
      "the pool of the run that it is of [the first]")(
      "allocation", po::value<std::string>()->value_name("NAME"),
      "the scheduler's name of this job [found in the environment]")("help,h", "show this page");
  return options;
}

int WorkerCommandLine(const CommandLine& line) {
  po::options_description internal;
  // Between a master, a guardian and its worker: the pipes at whose end each sees that the other is
  // gone.
  // `away`: it was started for a master on another machine.
  // `trial`: the file that keeps dangerous tasks apart (TrialLock).
  internal.add_options()("away", "")("trial", po::value<std::string>())(
      "master-fd", po::value<int>())("life-fd", po::value<int>())("held-fd", po::value<int>())(
      "init", po::value<std::string>());
  po::variables_map values;
  if (!ParseOptions(line, kWorker, values, internal)) return 0;
  if (values.count("connect") == 0) throw UsageError("--connect FILE is required");
  if (values.count("life-fd") == 0) {
    const int master_fd = values.count("master-fd") > 0 ? values["master-fd"].as<int>() : -1;
    std::vector<std::string> worker = line.before;
    worker.emplace_back("worker");
    worker.insert(worker.end(), line.words.begin(), line.words.end());
    const int held_fd = values.count("held-fd") > 0 ? values["held-fd"].as<int>() : -1;
    return RunGuardian(worker, master_fd, held_fd,
                       values.count("init") > 0 ? values["init"].as<std::string>() : "");
  }
  WorkerOptions worker;
  worker.connection_file = values["connect"].as<std::string>();
  if (values.count("slots") > 0) {
    worker.slots = ParseCount(values["slots"].as<std::string>(), "--slots", 1);
    if (worker.slots > kSlotsMax) throw UsageError(fmt::format("--slots: at most {}", kSlotsMax));
  }
  if (values.count("pool") > 0) worker.pool = values["pool"].as<std::string>();
  if (values.count("allocation") > 0) worker.allocation = values["allocation"].as<std::string>();
  worker.local = values.count("master-fd") > 0 && values.count("away") == 0;
  worker.life_fd = values["life-fd"].as<int>();
  if (values.count("trial") > 0) worker.trial = values["trial"].as<std::string>();
  if (values.count("held-fd") > 0) worker.held_fd = values["held-fd"].as<int>();
  return RunWorker(worker);
}

}  // namespace

const Subcommand kWorker = {"worker",
                            "serve a master (started by 'cq run', a scheduler, or by hand)",
                            kWorkerHelp, WorkerDescription, WorkerCommandLine};

}  // namespace cq
