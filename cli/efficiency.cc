#include "cli/efficiency.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "base/json.h"
#include "base/quantities.h"
#include "cli/recorded.h"
#include "cq/error.h"
#include "master/journal/recovery.h"

namespace cq {
namespace {

[[noreturn]] void NothingYet(const std::string& run) {
  throw UsageError(fmt::format(
      "'{}': no task has been accounted for yet: that is done every 10 s, and at the end", run));
}

std::string ShownTime(double seconds) {
  return DurationText(std::chrono::milliseconds(std::llround(seconds * 1000)));
}

std::string Percent(double part, double all) {
  return fmt::format("{:.0f} %", all > 0 ? 100 * part / all : 0.0);
}

double AllOf(const SlotTime& time) { return time.run + time.overhead + time.idle + time.lost; }

std::string ShownMicroseconds(double us) {
  if (us < 1e3) return fmt::format("{:.1f} µs", us);
  if (us < 1e6) return fmt::format("{:.2f} ms", us / 1e3);
  return fmt::format("{:.2f} s", us / 1e6);
}

struct Stage {
  const char* name;
  double us;
  const char* about;
};

}  // namespace

// What a task costs beside its own time is what its slot does meanwhile: starting and ending it,
// and waiting for the next one. The rest goes on beside the slots.
int ShowOverhead(Database& journal, const std::string& run, bool json) {
  auto row = journal.Prepare(
      "SELECT sum(tasks), sum(idle_us), sum(queue_us), sum(spawn_us), sum(run_us), sum(wire_us),"
      " sum(record_us) FROM ledgers");
  row.Step();
  const auto tasks = static_cast<double>(row.Int(0));
  if (tasks == 0) NothingYet(run);
  const auto mean = [&](int column) { return static_cast<double>(row.Int(column)) / tasks; };
  const Stage stages[] = {
      {"queue", mean(2), "at its worker, while the slots there are busy"},
      {"wire", mean(5), "on its way to the worker, and its result's way back"},
      {"spawn", mean(3), "its slot starts and ends its process, or calls its program"},
      {"run", mean(4), "its own time"},
      {"record", mean(6), "until its result is durable"},
      {"idle", mean(1), "a slot without a task"},
  };
  const double overhead = mean(3) + mean(1);
  const double efficient = 19 * overhead;
  const double efficiency = mean(4) / (mean(4) + overhead);
  if (json) {
    OrderedJson out = {{"tasks", row.Int(0)}};
    for (const Stage& stage : stages) out[fmt::format("{}_us", stage.name)] = stage.us;
    out["efficiency"] = efficiency;
    out["efficient_from_us"] = efficient;
    fmt::print("{}\n", JsonText(out));
    return 0;
  }
  fmt::print("{}: means over {} tasks\n", run, row.Int(0));
  for (const Stage& stage : stages) {
    // The sign for micro takes two bytes, and one column.
    const std::string shown = ShownMicroseconds(stage.us);
    const size_t width = 12 + (shown.find("µ") != std::string::npos ? 1 : 0);
    fmt::print("  {:<7}{:>{}}  {}\n", stage.name, shown, width, stage.about);
  }
  fmt::print(
      "slots spent {:.1f} % of their time on the tasks themselves; with {} of overhead a task, "
      "they "
      "spend 95 % from {} a task on\n",
      100 * efficiency, ShownMicroseconds(overhead), ShownMicroseconds(efficient));
  return 0;
}

namespace {

/// Of the tasks that have a result.
struct Usage {
  uint64_t tasks = 0;
  /// CPU time and run time of those of which both are known, in seconds.
  double cpu = 0;
  double wall = 0;
  uint64_t peak_kb = 0;
  uint64_t peak_task = 0;
  /// What 95 % of them had at most.
  uint64_t most_kb = 0;
  /// How many there are in all, and how many of them ended for want of time, and of memory.
  uint64_t results = 0;
  uint64_t late = 0;
  uint64_t greedy = 0;
};

Usage UsageOf(Database& journal) {
  Usage usage;
  auto sums = journal.Prepare(
      "SELECT count(*), sum(user_us + system_us), sum(wall_us) FROM results WHERE max_rss_kb > 0");
  sums.Step();
  usage.tasks = static_cast<uint64_t>(sums.Int(0));
  usage.cpu = static_cast<double>(sums.Int(1)) / 1e6;
  usage.wall = static_cast<double>(sums.Int(2)) / 1e6;
  auto ranked = journal.Prepare(
      "SELECT max_rss_kb, task FROM results WHERE max_rss_kb > 0 ORDER BY 1 LIMIT 1 OFFSET ?1");
  const auto at = [&](uint64_t rank) {
    ranked.Reset();
    ranked.Bind(1, static_cast<int64_t>(rank));
    return ranked.Step() ? std::pair(ranked.Int(0), ranked.Int(1)) : std::pair<int64_t, int64_t>();
  };
  auto ends = journal.Prepare("SELECT count(*), sum(outcome = 3), sum(outcome = 4) FROM results");
  ends.Step();
  usage.results = static_cast<uint64_t>(ends.Int(0));
  usage.late = static_cast<uint64_t>(ends.Int(1));
  usage.greedy = static_cast<uint64_t>(ends.Int(2));
  if (usage.tasks == 0) return usage;
  usage.most_kb = static_cast<uint64_t>(at((usage.tasks * 95 + 99) / 100 - 1).first);
  const auto [kb, task] = at(usage.tasks - 1);
  usage.peak_kb = static_cast<uint64_t>(kb);
  usage.peak_task = static_cast<uint64_t>(task);
  return usage;
}

// A fifth more, to two digits.
uint64_t WithRoom(uint64_t kb) {
  const double bytes = static_cast<double>(kb) * 1024 * 1.2;
  constexpr double kMega = 1024 * 1024;
  const double step =
      std::max(kMega, std::pow(10.0, std::floor(std::log10(bytes / kMega)) - 1) * kMega);
  return static_cast<uint64_t>(std::ceil(bytes / step) * step);
}

/// A worker's own, which is all that is known of smaller ones.
constexpr uint64_t kLeastKb = 65'536;

// `memory`: what was asked for, if it was, in the user's words.
std::vector<std::string> Advice(const SlotTime& time, const Usage& usage, uint64_t tasks,
                                const std::optional<std::string>& memory) {
  std::vector<std::string> advice;
  const double all = AllOf(time);
  const double cpus = usage.wall > 0 ? usage.cpu / usage.wall : 0;
  constexpr double kLongEnough = 0.1;
  const bool measured =
      usage.tasks > 0 && usage.wall / static_cast<double>(usage.tasks) > kLongEnough;
  const bool by_row = memory && memory->find('{') != std::string::npos;
  if (usage.greedy > 0) {
    advice.push_back(fmt::format(
        "--escalate memory=2, or a larger --task-memory: {} rows ended for want of memory",
        usage.greedy));
  } else if (usage.peak_kb > kLeastKb && !by_row) {
    advice.push_back(fmt::format(
        "--task-memory {}, if each task is one process (the largest had {}; the limit is on all "
        "processes of a task)",
        SizeText(WithRoom(usage.peak_kb)), SizeText(usage.peak_kb * 1024)));
    if (usage.peak_kb > 3 * usage.most_kb) {
      advice.push_back(fmt::format("or --task-memory {} --escalate memory=2: few need more",
                                   SizeText(WithRoom(usage.most_kb))));
    }
  }
  if (usage.late > 0) {
    advice.push_back(fmt::format(
        "--escalate time=2, or a longer --task-timeout: {} rows ended at their time limit",
        usage.late));
  }
  if (measured && cpus > 1.25) {
    advice.push_back(fmt::format("--task-cpus {:.0f} (a task had {:.1f} CPUs on average)",
                                 std::ceil(cpus - 0.25), cpus));
  }
  const bool idles = all > 0 && time.idle > 0.3 * all;
  if (measured && cpus < 0.5 && cpus > 0 && !idles) {
    advice.push_back(
        fmt::format("more slots a worker than CPUs (--slots): a task had {:.2f} of a CPU", cpus));
  }
  if (idles) {
    advice.push_back(
        fmt::format("fewer workers, or -w 0:MAX, which lets those without work go, or --order lpt, "
                    "if long rows "
                    "came last: slots idled for {} of the time",
                    Percent(time.idle, all)));
  }
  if (time.overhead > 0.2 * time.run && tasks > 0) {
    advice.push_back(fmt::format(
        "longer tasks, or a program or function that stays (--program, --function): to start and "
        "end one took {} of the time that it ran",
        Percent(time.overhead, time.run)));
  }
  if (all > 0 && time.lost > 0.1 * all) {
    advice.push_back(fmt::format(
        "workers that live longer, or --task-time: {} of the time was lost with workers that ended",
        Percent(time.lost, all)));
  }
  return advice;
}

}  // namespace

int ShowEfficiency(Database& journal, const std::string& run, bool json) {
  const bool knows_all = HasColumn(journal, "ledgers", "lost_us");
  auto row = journal.Prepare(
      fmt::format("SELECT sum(tasks), sum(run_us), sum(spawn_us), {} FROM ledgers",
                  knows_all ? "max(sum(idle_us), sum(vacant_us)), sum(lost_us)" : "sum(idle_us), 0")
          .c_str());
  row.Step();
  const auto tasks = static_cast<uint64_t>(row.Int(0));
  if (tasks == 0) NothingYet(run);
  const auto seconds = [&](int column) { return static_cast<double>(row.Int(column)) / 1e6; };
  const Usage usage = UsageOf(journal);
  SlotTime time;
  time.run = seconds(1);
  time.overhead = seconds(2);
  time.idle = seconds(3);
  time.lost = seconds(4);
  const auto memory = RecordedOption(journal, "task-memory");
  const auto advice = Advice(time, usage, tasks, memory);
  if (json) {
    OrderedJson out = {{"attempts", tasks},         {"results", usage.results},
                       {"run_seconds", time.run},   {"overhead_seconds", time.overhead},
                       {"idle_seconds", time.idle}, {"lost_seconds", time.lost}};
    if (usage.wall > 0) out["cpus_of_task"] = usage.cpu / usage.wall;
    if (usage.peak_kb > 0) {
      out["peak_memory_kb"] = usage.peak_kb;
      out["peak_memory_task"] = usage.peak_task;
      out["memory_95_percent_kb"] = usage.most_kb;
    }
    if (memory) out["task_memory"] = *memory;
    out["next_time"] = JsonOfList(advice);
    fmt::print("{}\n", ShownJson(out));
    return 0;
  }
  const double all = AllOf(time);
  fmt::print("{}: {} attempts at {} rows, {} of slots' time\n", run, tasks, usage.results,
             ShownTime(all));
  const auto line = [&](const char* name, double part, const std::string& about) {
    fmt::print("  {:<9}{:>8}{:>7}  {}\n", name, ShownTime(part), Percent(part, all), about);
  };
  if (usage.results > tasks) {
    fmt::print("  (what a master that was killed had not written yet is not known)\n");
  }
  line("tasks", time.run,
       usage.wall > 0 ? fmt::format("with {:.2f} CPUs on average", usage.cpu / usage.wall) : "");
  line("overhead", time.overhead, "to start and end them");
  line("idle", time.idle, "slots without a task");
  line("lost", time.lost, "tasks that ran on workers that were lost");
  if (usage.peak_kb > 0) {
    fmt::print(
        "  memory: the largest process of task {} had most, {}; those of 95 % had at most {}{}\n",
        usage.peak_task, SizeText(usage.peak_kb * 1024), SizeText(usage.most_kb * 1024),
        memory ? "; asked for were " + *memory : "");
  }
  for (const std::string& option : advice) fmt::print("  next time: {}\n", option);
  return 0;
}

std::string EfficiencyLine(const SlotTime& time) {
  const double all = AllOf(time);
  std::string text =
      fmt::format("of {} of slots' time {} on tasks", ShownTime(all), Percent(time.run, all));
  if (time.cpu > 0) text += fmt::format(" (CPU {} of that)", Percent(time.cpu, time.run));
  text +=
      fmt::format(", {} overhead, {} idle", Percent(time.overhead, all), Percent(time.idle, all));
  if (time.lost > 0) text += fmt::format(", {} lost with workers", Percent(time.lost, all));
  if (time.peak_memory_kb > 0) {
    text += fmt::format("; at most {} of memory", SizeText(time.peak_memory_kb * 1024));
  }
  return text + " (cq status --efficiency)";
}

}  // namespace cq
