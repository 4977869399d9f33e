#include "worker/slots/run_context.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "base/files.h"
#include "base/text.h"

extern char** environ;

namespace cq {
namespace {

bool Has(const Extras& extras, std::string_view name) {
  return std::any_of(extras.begin(), extras.end(),
                     [&](const auto& extra) { return extra.first == name; });
}

}  // namespace

RunContext::RunContext(RunText text)
    : text_(std::move(text)), request_(TakenBy(text_.extras).value_or(TaskRequest())) {
  for (char** entry = environ; *entry != nullptr; ++entry) environment_.emplace_back(*entry);
  const std::string cpus = std::to_string(text_.cpus);
  for (const char* name : {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"}) {
    Set(name, cpus, false);
  }
  for (const auto& [name, value] : text_.env) Set(name, value, true);
  Set("CQ_RUN_DIR", text_.run_dir, true);
  Set("CQ_CPUS", cpus, true);
  if (text_.memory_bytes > 0) Set("CQ_MEMORY", std::to_string(text_.memory_bytes), true);
  const auto path = std::find_if(environment_.begin(), environment_.end(),
                                 [](const std::string& e) { return e.starts_with("PATH="); });
  path_ = path == environment_.end() ? OwnPath() : path->substr(5);
  const auto& command = text_.command;
  if (!command.empty() && command[0].size() == 1 &&
      std::holds_alternative<std::string>(command[0][0])) {
    constant_program_ = std::get<std::string>(command[0][0]);
    constant_file_ = FindProgram(constant_program_, path_, text_.cwd);
  }
}

TaskRequest RunContext::RequestOf(const Task& task) const {
  return TakenBy(task.details->extras).value_or(request_);
}

std::shared_ptr<const RunContext> RunContext::For(const TaskRequest& share, uint64_t memory_limit,
                                                  const std::vector<std::string>& gpus) const {
  RunText text = text_;
  if (share.cpus > 0) text.cpus = share.cpus;
  if (memory_limit > 0) text.memory_bytes = memory_limit;
  // The user's own stays what it is: it comes last.
  if (share.needs.contains("gpu") || Has(text_.extras, kGpusAsked)) {
    text.env.insert(text.env.begin(), {"CUDA_VISIBLE_DEVICES", Joined(gpus, ",")});
  }
  return std::make_shared<RunContext>(std::move(text));
}

bool RunContext::asks() const { return Has(text_.extras, kRequests); }

bool RunContext::rows_differ() const {
  return std::any_of(text_.extras.begin(), text_.extras.end(), [](const auto& extra) {
    return extra.first == kRequests && extra.second == Value(true);
  });
}

void RunContext::Set(const std::string& name, const std::string& value, bool replace) {
  const std::string key = name + "=";
  for (std::string& entry : environment_) {
    if (!entry.starts_with(key)) continue;
    if (replace) entry = key + value;
    return;
  }
  environment_.push_back(key + value);
}

std::string RunContext::Problem() const {
  for (const auto& [name, value] : text_.extras) {
    if (name.starts_with('!') && name != kRequests) {
      return fmt::format("the run asks for '{}', which this worker does not know", name);
    }
  }
  struct stat status {};
  if (stat(text_.cwd.c_str(), &status) != 0) {
    return fmt::format("the working directory '{}' cannot be used here: {}", text_.cwd,
                       strerror(errno));
  }
  if (!S_ISDIR(status.st_mode)) return fmt::format("'{}' is no directory here", text_.cwd);
  if (access(text_.cwd.c_str(), X_OK) != 0) {
    return fmt::format("the working directory '{}' cannot be entered: {}", text_.cwd,
                       strerror(errno));
  }
  return {};
}

std::string RunContext::ResolveProgram(const std::string& name) const {
  if (name == constant_program_ && !constant_file_.empty()) return constant_file_;
  return FindProgram(name, path_, text_.cwd);
}

}  // namespace cq
