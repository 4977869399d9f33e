#include "master/run/pool_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/cpus.h"
#include "base/gpus.h"
#include "base/quantities.h"
#include "cq/error.h"
#include "master/run/run_directory.h"
#include "master/run/run_plan.h"
#include "protocol/command.h"
#include "protocol/own_program.h"

namespace cq {
namespace {

constexpr const char* kDefaultPool = "default";
constexpr const char* kGpu = "gpu";
/// The numbers of a pool's local workers: it may replace them for ever.
constexpr unsigned kNumbersOfPool = 1'000'000;

bool Asks(const RunOptions& options) {
  return !options.task_cpus.empty() || !options.task_memory.empty() || !options.task_time.empty() ||
         !options.task_pool.empty() || !options.task_needs.empty() || options.escalate_memory > 1 ||
         options.escalate_time > 1;
}

// In Slurm's notation, whose numbers are MB: "4000", "4G".
std::optional<uint64_t> SlurmMemory(const std::map<std::string, std::string>& set) {
  const auto found = set.find("memory");
  if (found == set.end() || found->second.empty()) return std::nullopt;
  std::string text = found->second;
  if (text.find_first_not_of("0123456789") == std::string::npos) text += 'M';
  try {
    // 0: all of the node's, whatever that is.
    const uint64_t bytes = ParseSize(text, "--set memory");
    return bytes > 0 ? std::optional(bytes) : std::nullopt;
  } catch (const UsageError&) {
    return std::nullopt;  // Slurm's to say
  }
}

// What its jobs are given, if the user says so.
std::optional<uint64_t> TemplateCpus(const PoolOptions& plan) {
  const auto found = plan.template_values.find("cpus");
  if (found == plan.template_values.end()) return std::nullopt;
  const uint64_t cpus = std::strtoull(found->second.c_str(), nullptr, 10);
  return cpus > 0 ? std::optional(cpus) : std::nullopt;
}

// What was not said of a pool where tasks ask for something.
void FillCapacity(PoolOptions& plan) {
  Capacity& has = plan.capacity;
  // Each says it itself.
  if (TraitsOf(plan.scheduler).by_hand) return;
  if (TraitsOf(plan.scheduler).same_host) {
    // They share the machine.
    plan.divided = true;
    if (!has.cpus) has.cpus = std::max(UsableCpus() / plan.workers, 1u);
    if (!has.memory_bytes) has.memory_bytes = UsableMemory() / plan.workers;
    const uint64_t gpus = VisibleGpus(true).size();
    if (gpus > 0 && plan.workers == 1 && !plan.named) has.needs.try_emplace(kGpu, gpus);
    return;
  }
  if (!has.cpus) has.cpus = TemplateCpus(plan).value_or(plan.slots);
  if (!has.memory_bytes) has.memory_bytes = SlurmMemory(plan.template_values);
}

// A scheduler is asked for what the pool has, unless the pool's own values of the template say
// otherwise; what the run's say is less than both.
void AskScheduler(PoolOptions& plan, const RunPool& pool) {
  const auto ask = [&](const std::string& key, const std::string& value) {
    if (!pool.template_values.contains(key)) plan.template_values.insert_or_assign(key, value);
  };
  if (pool.cpus) ask("cpus", std::to_string(*pool.cpus));
  if (pool.memory_bytes) {
    ask("memory", fmt::format("{}M", (*pool.memory_bytes + (1 << 20) - 1) >> 20));
  }
  if (pool.time.count() > 0) {
    ask("time", std::to_string(std::chrono::ceil<std::chrono::minutes>(pool.time).count()));
  }
  const auto gpus = pool.resources.find(kGpu);
  if (gpus != pool.resources.end()) ask("gpu", std::to_string(gpus->second));
}

void RequireOfThisMachine(const RunPool& pool) {
  if (!pool.template_values.empty()) {
    throw UsageError(fmt::format("--pool {}: set.{} is for the template of a batch scheduler",
                                 pool.name, pool.template_values.begin()->first));
  }
  if (pool.resources.contains(kGpu) && pool.workers.value_or(1) > 1) {
    throw UsageError(
        fmt::format("--pool {}: {} workers on this machine would each have the same GPUs: "
                    "workers=1, and as many slots as run at a time",
                    pool.name, *pool.workers));
  }
}

PoolOptions PlanNamed(const RunOptions& options, const RunPool& pool) {
  RunOptions own = options;
  if (!pool.scheduler.empty()) own.scheduler = pool.scheduler;
  own.workers = pool.workers;
  own.workers_least = pool.workers_least;
  own.slots = pool.slots;
  if (!own.slots && pool.cpus) own.slots = static_cast<unsigned>(*pool.cpus);
  if (pool.idle_timeout) own.idle_timeout = *pool.idle_timeout;
  if (pool.worker_tasks) own.worker_tasks = *pool.worker_tasks;
  if (!pool.template_file.empty()) own.template_file = pool.template_file;
  if (!pool.worker_init.empty()) own.worker_init = pool.worker_init;
  for (const auto& [key, value] : pool.template_values) {
    own.template_values.insert_or_assign(key, value);
  }
  const SchedulerTraits traits = TraitsOf(own.scheduler);
  if (traits.lends) {
    throw UsageError(
        fmt::format("--pool {}: a warm pool is named by --on, and is the only one", pool.name));
  }
  if (!traits.same_host && !pool.workers) {
    throw UsageError(fmt::format("--pool {}: on {} it needs workers=N or workers=MIN:MAX",
                                 pool.name, own.scheduler));
  }
  if (traits.same_host) {
    RequireOfThisMachine(pool);
    // What the run's other pools tell a batch system.
    own.template_values.clear();
    own.template_file.clear();
  }
  PoolOptions plan = PlanPool(own);
  plan.name = pool.name;
  plan.capacity = {pool.cpus, pool.memory_bytes, pool.resources};
  plan.time = pool.time;
  if (!traits.same_host && !pool.cpus) plan.capacity.cpus = TemplateCpus(plan);
  if (plan.capacity.cpus) plan.capacity.cpus_of_task = *plan.capacity.cpus / plan.slots;
  if (traits.same_host) return plan;
  if (pool.memory_bytes) plan.capacity.memory_of_task = *pool.memory_bytes / plan.slots;
  AskScheduler(plan, pool);
  return plan;
}

// Two pools of this machine would give away the same ones.
void RequireGpusApart(const std::vector<PoolOptions>& plans) {
  const PoolOptions* other = nullptr;
  for (const PoolOptions& plan : plans) {
    if (!TraitsOf(plan.scheduler).same_host || !plan.capacity.needs.contains(kGpu)) continue;
    if (other != nullptr) {
      throw UsageError(fmt::format(
          "the pools '{}' and '{}' are both on this machine, and would give the same GPU to two "
          "tasks: put all of them in one of these pools",
          other->name, plan.name));
    }
    other = &plan;
  }
}

void RequireNoneOfLent(const RunOptions& options) {
  if (!TraitsOf(options.scheduler).lends) return;
  if (Asks(options)) {
    throw UsageError(
        "--task-cpus, --task-time, --task-need, --task-pool, --escalate and a --task-memory that "
        "differs from row to row are for a run's own workers: what a warm pool (--on) lends are "
        "single slots");
  }
  if (!options.kind.empty()) {
    throw UsageError("--kind is for a run's own workers, whose time left is known to it");
  }
  if (!options.pools.empty()) throw UsageError("--on and --pool: choose one");
}

}  // namespace

PoolOptions PlanPool(const RunOptions& options) {
  PoolOptions pool;
  pool.scheduler = options.scheduler;
  pool.priority = options.priority;
  const SchedulerTraits traits = TraitsOf(options.scheduler);
  // --slots N alone, or nothing, is one worker with so many slots; --workers N alone is N of one
  // slot.
  const bool one = options.workers || !traits.same_host || traits.lends;
  pool.workers = options.workers.value_or(traits.lends ? traits.lent_at_most : 1);
  pool.least = options.workers_least;
  pool.idle_timeout = options.idle_timeout;
  pool.launch_timeout = options.launch_timeout;
  pool.tasks_of_worker = options.worker_tasks;
  pool.at_most = options.workers.has_value();
  pool.slots = options.slots.value_or(one ? 1 : UsableCpus());
  pool.program = options.worker_program.empty() ? OwnCommand()
                                                : std::vector<std::string>{options.worker_program};
  pool.run_dir = RunDirectoryPath(options);
  pool.worker_init = options.worker_init;
  pool.template_file = options.template_file;
  pool.template_values = options.template_values;
  if (pool.workers == 0) {
    if (!traits.same_host || traits.lends) {
      throw UsageError(
          fmt::format("--workers 0 is for workers that are started by hand, and no matter of {}: "
                      "with --workers 0:N there are some while there is work",
                      options.scheduler));
    }
    if (!pool.template_values.empty() || !pool.template_file.empty() || !pool.worker_init.empty()) {
      throw UsageError(
          "--set, --template and --worker-init are for workers that cq starts, and --workers 0 "
          "starts none");
    }
    pool.scheduler = kByHand;
  }
  return pool;
}

std::vector<PoolOptions> PlanPools(const RunOptions& options) {
  RequireNoneOfLent(options);
  std::vector<PoolOptions> plans;
  if (options.pools.empty() || options.workers) plans.push_back(PlanPool(options));
  for (const RunPool& pool : options.pools) plans.push_back(PlanNamed(options, pool));
  std::set<std::string> names;
  for (size_t i = 0; i < plans.size(); ++i) {
    PoolOptions& plan = plans[i];
    if (!names.insert(plan.name).second) {
      throw UsageError(
          fmt::format("there are two pools '{}'{}", plan.name,
                      plan.name == kDefaultPool ? ": --workers makes one of that name, too" : ""));
    }
    plan.place = static_cast<unsigned>(i);
    plan.first_number = static_cast<unsigned>(i) * kNumbersOfPool + 1;
    plan.named = !options.pools.empty();
    if (Asks(options)) FillCapacity(plan);
  }
  RequireGpusApart(plans);
  return plans;
}

std::vector<PoolKind> KindsOf(const std::vector<PoolOptions>& plans) {
  std::vector<PoolKind> kinds;
  kinds.reserve(plans.size());
  for (const PoolOptions& plan : plans) {
    kinds.push_back({plan.name, plan.capacity, plan.slots, static_cast<uint64_t>(plan.time.count()),
                     plan.tasks_of_worker});
  }
  return kinds;
}

RequestTexts RequestsOf(const RunOptions& options, const std::vector<PoolOptions>& plans) {
  RequestTexts texts{options.task_cpus, options.task_memory, options.task_time,
                     options.task_pool, options.task_needs,  options.kind};
  const bool counted =
      std::any_of(options.pools.begin(), options.pools.end(),
                  [](const RunPool& pool) { return pool.memory_bytes.has_value(); }) ||
      options.escalate_memory > 1;
  if (counted && options.task_memory_bytes > 0) {
    texts.memory = std::to_string(options.task_memory_bytes);
  }
  if (!texts.vary()) ConstantRequest(texts, plans);
  return texts;
}

TaskRequest ConstantRequest(const RequestTexts& texts, const std::vector<PoolOptions>& plans) {
  TaskRequest request = RowRequests(texts, {}).Of({});
  const auto kinds = KindsOf(plans);
  if (HomesOf(request, kinds).empty()) {
    throw UsageError(
        fmt::format("tasks ask for {}: {}", Describe(request), WhyHomeless(request, kinds)));
  }
  return request;
}

namespace {

// How those are started that it does not start itself.
std::string WorkersLine(const PoolOptions& plan, const std::string& run_dir) {
  std::string program;
  for (const std::string& word : plan.program) program += ShellQuote(word) + " ";
  return fmt::format(
      "it starts no worker; each of yours, on any machine that sees this directory: {}worker "
      "--connect {}{}",
      program, ShellQuote(run_dir + "/connect.json"),
      plan.slots > 1 ? fmt::format(" --slots {}", plan.slots) : "");
}

}  // namespace

void TellPlans(const std::vector<PoolOptions>& plans, const RequestTexts& requests,
               const std::string& run_dir, RunObserver& observer) {
  for (const PoolOptions& plan : plans) {
    if (plan.workers == 0) {
      observer.Started("", 0, 0, plan.slots);
      observer.Resumed(WorkersLine(plan, run_dir));
      continue;
    }
    observer.Started(plan.named ? plan.name : "", plan.least.value_or(plan.workers), plan.workers,
                     plan.slots);
    if (requests.vary() || requests.empty()) continue;
    const TaskRequest asked = ConstantRequest(requests, plans);
    const uint64_t places = plan.capacity.Places(asked, plan.slots);
    if (places == plan.slots || places == 0) continue;
    observer.Resumed(fmt::format("{} at a time on each worker: a task asks for {}, and it has {}",
                                 places, Describe(asked), Describe(plan.capacity)));
  }
}

}  // namespace cq
