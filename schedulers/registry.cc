#include "schedulers/registry.h"

#include <fmt/format.h>

#include <array>
#include <string_view>
#include <utility>

#include "base/text.h"
#include "schedulers/traits.h"

namespace cq {
namespace {

struct Kind {
  std::string_view name;
  SchedulerTraits traits;
  std::unique_ptr<Scheduler> (*make)(WorkerLaunch);
};

constexpr std::array<Kind, 2> kKinds = {{
    {"local", {.replaces = true, .same_host = true}, MakeLocalScheduler},
    {"slurm", {.outlives_master = true, .explains_late = true}, MakeSlurmScheduler},
}};

const Kind& Find(const std::string& name) {
  for (const Kind& kind : kKinds) {
    if (kind.name == name) return kind;
  }
  throw UsageError(
      fmt::format("unknown scheduler '{}'; there are: {}", name, Joined(SchedulerNames(), ", ")));
}

}  // namespace

std::vector<std::string> SchedulerNames() {
  std::vector<std::string> names;
  for (const Kind& kind : kKinds) names.emplace_back(kind.name);
  return names;
}

SchedulerTraits TraitsOf(const std::string& name) { return Find(name).traits; }

std::unique_ptr<Scheduler> MakeScheduler(const std::string& name, WorkerLaunch launch) {
  return Find(name).make(std::move(launch));
}

}  // namespace cq
