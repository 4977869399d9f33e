#include "master/loop/answers.h"

#include <fmt/format.h>

#include <chrono>

#include "base/json.h"

namespace cq {
namespace {

OrderedJson JsonOf(const PoolView& pool) {
  OrderedJson json = {{"pool", pool.name},   {"scheduler", pool.scheduler},
                      {"least", pool.least}, {"most", pool.most},
                      {"alive", pool.alive}, {"pending", OrderedJson::object()}};
  for (const auto& [reason, workers] : pool.pending) json["pending"][reason] = workers;
  if (!pool.stopped.empty()) json["stopped"] = pool.stopped;
  return json;
}

OrderedJson JsonOf(const RunView::Member& worker) {
  OrderedJson json = {{"worker", worker.worker}, {"host", worker.host},
                      {"pool", worker.pool},     {"allocation", worker.allocation},
                      {"slots", worker.slots},   {"busy", worker.busy},
                      {"tasks", worker.held}};
  if (worker.left) json["seconds_left"] = InSeconds(*worker.left);
  if (!worker.state.empty()) json["state"] = worker.state;
  return json;
}

OrderedJson Look(Time now, Core& core, const Workforce& workforce, size_t rows, size_t workers) {
  const RunView view = core.Look(now, rows, workers);
  const Counts& counts = core.counts();
  const uint64_t ok = counts.outcomes[static_cast<size_t>(Outcome::kOk)];
  OrderedJson json = {{"seconds", InSeconds(now)},
                      {"tasks", counts.tasks},
                      {"done", counts.done},
                      {"failed", counts.done - ok},
                      {"workers_here", view.members},
                      {"running", view.running},
                      {"out", view.out},
                      {"ready", view.ready},
                      {"waiting", view.waiting},
                      {"slots", view.slots},
                      {"idle", view.idle}};
  if (view.rate) json["rate"] = *view.rate;
  if (view.left) json["left"] = {InSeconds(view.left->first), InSeconds(view.left->second)};
  json["bound"] = view.bound;
  if (!view.proposer.empty()) json["proposer"] = view.proposer;
  json["pools"] = OrderedJson::array();
  for (const PoolView& pool : workforce.Look()) json["pools"].push_back(JsonOf(pool));
  json["workers"] = OrderedJson::array();
  for (const RunView::Member& worker : view.workers) json["workers"].push_back(JsonOf(worker));
  json["rows"] = OrderedJson::array();
  for (const RunView::Row& row : view.rows) {
    json["rows"].push_back({{"task", row.task},
                            {"worker", row.worker},
                            {"host", row.host},
                            {"seconds", InSeconds(row.running)}});
  }
  return json;
}

OrderedJson Explain(Time now, Core& core, const Workforce& workforce, TaskId task) {
  OrderedJson lines = OrderedJson::array();
  for (const std::string& line : core.Explain(now, task)) lines.push_back(line);
  for (const PoolView& pool : workforce.Look()) {
    for (const auto& [reason, workers] : pool.pending) {
      lines.push_back(fmt::format("{} workers of the pool '{}' have not started: {}", workers,
                                  pool.name, reason));
    }
    if (!pool.stopped.empty()) {
      lines.push_back(fmt::format("no further worker of the pool '{}' is started: {}", pool.name,
                                  pool.stopped));
    }
  }
  return lines;
}

Reply Resize(const OrderedJson& how, Workforce& workforce) {
  const std::string problem =
      workforce.Resize(how.at("pool").get<std::string>(), how.at("least").get<uint64_t>(),
                       how.at("most").get<uint64_t>());
  return {problem.empty(), false, problem};
}

Reply CancelTasks(const OrderedJson& tasks, Core& core) {
  std::vector<TaskId> wanted;
  for (const OrderedJson& task : tasks) {
    wanted.push_back(task.get<TaskId>());
    if (!core.Exists(wanted.back())) {
      return {false, false, fmt::format("there is no task {}", wanted.back())};
    }
  }
  const uint64_t before = core.counts().done;
  core.OnCancelled(wanted);
  return {true, false, std::to_string(core.counts().done - before)};
}

}  // namespace

Reply AnswerTo(const Request& request, Time now, Core& core, Workforce& workforce) {
  try {
    const OrderedJson what = ParseJson(request.text);
    if (request.kind == RequestKind::kResize) return Resize(what, workforce);
    if (request.kind == RequestKind::kCancelTasks) return CancelTasks(what.at("tasks"), core);
    const OrderedJson answer = request.kind == RequestKind::kLook
                                   ? Look(now, core, workforce, what.at("rows").get<size_t>(),
                                          what.at("workers").get<size_t>())
                                   : Explain(now, core, workforce, what.at("task").get<TaskId>());
    return {true, false, ShownJson(answer)};
  } catch (const OrderedJson::exception& error) {
    return {false, false, fmt::format("it cannot be understood: {}", error.what())};
  }
}

}  // namespace cq
