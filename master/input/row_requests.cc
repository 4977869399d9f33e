#include "master/input/row_requests.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/quantities.h"
#include "cq/error.h"
#include "master/input/columns.h"

namespace cq {
namespace {

bool HasColumn(const std::string& text) { return text.find('{') != std::string::npos; }

// Up, to two digits.
uint64_t RoundedSize(uint64_t bytes) {
  uint64_t unit = 1;
  while (bytes / unit >= 100) unit *= 10;
  return (bytes + unit - 1) / unit * unit;
}

uint64_t RoundedTime(uint64_t ms) {
  if (ms <= 1) return ms;
  // A little less, so that a power stays what it is.
  const double power = std::ceil(2 * std::log2(static_cast<double>(ms)) - 1e-9);
  return static_cast<uint64_t>(std::llround(std::exp2(power / 2)));
}

}  // namespace

bool RequestTexts::vary() const {
  return !kind.empty() || HasColumn(cpus) || HasColumn(memory) || HasColumn(time) ||
         HasColumn(pool) || std::any_of(needs.begin(), needs.end(), [](const auto& need) {
           return HasColumn(need.second);
         });
}

RowRequests::RowRequests(const RequestTexts& texts, const std::vector<std::string>& columns) {
  const auto compile = [&](const std::string& text, const char* option) -> std::optional<Text> {
    if (text.empty()) return std::nullopt;
    try {
      return Text{option, CompileCommand({text}, columns, {}, false)};
    } catch (const UsageError& error) {
      throw UsageError(fmt::format("{} '{}': {}", option, text, error.what()));
    }
  };
  cpus_ = compile(texts.cpus, "--task-cpus");
  memory_ = compile(texts.memory, "--task-memory");
  time_ = compile(texts.time, "--task-time");
  pool_ = compile(texts.pool, "--task-pool");
  for (const auto& [name, text] : texts.needs) {
    needs_.emplace(name, *compile(text, "--task-need"));
  }
  kind_ = ColumnIndices(texts.kind, "--kind", columns);
}

std::string RowRequests::Fill(const Text& text, const std::vector<std::string>& fields) {
  std::vector<std::string> values;
  bool empty = !text.text.columns.empty();
  for (const size_t column : text.text.columns) {
    values.push_back(fields.at(column));
    empty = empty && values.back().empty();
  }
  if (empty) return {};
  const auto filled = RenderCommand(text.text.arguments, values, 0);
  if (const auto* problem = std::get_if<std::string>(&filled)) {
    throw UsageError(fmt::format("{}: {}", text.name, *problem));
  }
  return std::get<std::vector<std::string>>(filled).at(0);
}

TaskRequest RowRequests::Of(const std::vector<std::string>& fields) const {
  TaskRequest request;
  const auto fill = [&](const std::optional<Text>& text) {
    return text ? Fill(*text, fields) : std::string();
  };
  if (const std::string cpus = fill(cpus_); !cpus.empty()) {
    request.cpus = ParseCount(cpus, cpus_->name, 1);
  }
  if (const std::string memory = fill(memory_); !memory.empty()) {
    request.memory_bytes = ParseMemory(memory, memory_->name);
  }
  if (const std::string time = fill(time_); !time.empty()) {
    request.time_ms = static_cast<uint64_t>(ParseDuration(time, time_->name).count());
  }
  request.pool = fill(pool_);
  for (const auto& [name, text] : needs_) {
    const std::string count = Fill(text, fields);
    const std::string option = fmt::format("{} {}", text.name, name);
    const uint64_t wanted = count.empty() ? 0 : ParseCount(count, option, 0);
    if (wanted > 0) request.needs[name] = wanted;
  }
  for (const size_t column : kind_) {
    const std::string& value = fields.at(column);
    request.kind += fmt::format("{}:{}", value.size(), value);
  }
  return request;
}

uint32_t ClassFinder::Intern(const TaskRequest& request) {
  return known_.try_emplace(request, static_cast<uint32_t>(known_.size())).first->second;
}

// As it would be, if it is work for the same pools then; else up to what these have.
TaskRequest ClassFinder::Rounded(TaskRequest request) const {
  const auto homes = HomesOf(request, pools_);
  request.memory_bytes = RoundedSize(request.memory_bytes);
  // That of rows that do not ask is nobody's to say.
  if (!homes.empty() && HomesOf(request, pools_) != homes) {
    request.memory_bytes = *pools_[homes[0]].capacity.memory_bytes;
  }
  return request;
}

void ClassFinder::Add(TaskId task, const TaskRequest& request) {
  TaskRequest asked = request;
  asked.time_ms = RoundedTime(asked.time_ms);
  const auto homes = HomesOf(request, pools_);
  if (homes.empty()) {
    throw UsageError(
        fmt::format("it asks for {}: {}", Describe(request), WhyHomeless(request, pools_)));
  }
  if (HomesOf(asked, pools_) != homes) asked.time_ms = pools_[homes[0]].time_ms;
  if (of_.size() < task) of_.resize(task);
  of_[task - 1] = Intern(known_.size() > kExactMax ? Rounded(std::move(asked)) : asked);
}

RequestClasses ClassFinder::Take() {
  RequestClasses classes;
  classes.classes.resize(known_.size());
  for (const auto& [request, at] : known_) classes.classes[at] = request;
  if (known_.size() > kExactMax) {
    // Those that came first were not rounded.
    std::vector<uint32_t> now(known_.size());
    const auto before = std::exchange(classes.classes, {});
    known_ = {{TaskRequest(), 0}};
    for (size_t i = 0; i < before.size(); ++i) now[i] = Intern(Rounded(before[i]));
    for (uint32_t& of : of_) of = now[of];
    classes.classes.resize(known_.size());
    for (const auto& [request, at] : known_) classes.classes[at] = request;
  }
  if (classes.classes.size() > kClassesMax) {
    throw UsageError(
        fmt::format("the rows ask for {} different things, or are of as many kinds; at most {}: "
                    "round what --task-memory and its like say, and name fewer columns as --kind",
                    classes.classes.size() - 1, kClassesMax - 1));
  }
  classes.of.assign(of_.begin(), of_.end());
  return classes;
}

}  // namespace cq
