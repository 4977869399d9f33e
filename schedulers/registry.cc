#include "schedulers/registry.h"

#include <fmt/format.h>

#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include "base/text.h"
#include "protocol/pool_file.h"
#include "schedulers/traits.h"
#include "schedulers/warm.h"

namespace cq {
namespace {

struct Kind {
  std::string_view name;
  SchedulerTraits traits;
  std::unique_ptr<Scheduler> (*make)(WorkerLaunch);
};

constexpr std::array<Kind, 3> kKinds = {{
    {"local", {.ends_silent = true, .same_host = true}, MakeLocalScheduler},
    {"slurm", {.outlives_master = true, .explains_late = true}, MakeSlurmScheduler},
    {kByHand, {.by_hand = true}, MakeByHand},
}};

/// Before the name of a warm pool.
constexpr std::string_view kPool = "pool:";

std::optional<PoolFile> PoolOf(const std::string& name) {
  if (!name.starts_with(kPool)) return std::nullopt;
  try {
    return ReadPoolFile(name.substr(kPool.size()));
  } catch (const UsageError& error) {
    throw UsageError(fmt::format("{}; to run elsewhere: --on OTHER, or -s local", error.what()));
  }
}

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
  names.reserve(std::size(kKinds));
  for (const Kind& kind : kKinds) {
    if (!kind.traits.by_hand) names.emplace_back(kind.name);
  }
  return names;
}

SchedulerTraits TraitsOf(const std::string& name) {
  const auto pool = PoolOf(name);
  return pool ? TraitsOfPool(*pool) : Find(name).traits;
}

std::unique_ptr<Scheduler> MakeScheduler(const std::string& name, WorkerLaunch launch) {
  const auto pool = PoolOf(name);
  return pool ? MakeWarmScheduler(*pool, std::move(launch)) : Find(name).make(std::move(launch));
}

}  // namespace cq
