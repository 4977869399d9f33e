#include "protocol/pool_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "base/files.h"
#include "base/json.h"
#include "base/nearest.h"
#include "base/proc.h"
#include "cq/error.h"

namespace cq {
namespace {

namespace fs = std::filesystem;

std::string PoolsDirectory() { return StateDirectory() + "/pools"; }

}  // namespace

std::string PoolDirectory(const std::string& name) {
  const bool good = !name.empty() && name.size() <= 64 && name[0] != '.' && name[0] != '-' &&
                    std::all_of(name.begin(), name.end(), [](unsigned char c) {
                      return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.';
                    });
  if (!good) {
    throw UsageError(fmt::format(
        "'{}' is no name for a pool: it has 1 to 64 letters, digits, '_', '-' and '.', and starts "
        "with none of the last two",
        name));
  }
  return fmt::format("{}/{}", PoolsDirectory(), name);
}

std::vector<std::string> PoolNames() {
  std::vector<std::string> names;
  std::error_code none;
  for (fs::directory_iterator at(PoolsDirectory(), none), end; !none && at != end;
       at.increment(none)) {
    if (fs::exists(at->path() / "pool.json")) names.push_back(at->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

void WritePoolFile(const PoolFile& file) {
  const OrderedJson json = {{"format", 1},
                            {"name", file.name},
                            {"host", file.host},
                            {"boot_id", file.boot_id},
                            {"pid", file.pid},
                            {"start", file.start},
                            {"socket", file.socket},
                            {"scheduler", file.scheduler},
                            {"workers", file.workers},
                            {"slots", file.slots},
                            {"same_host", file.same_host}};
  ReplaceFile(PoolDirectory(file.name) + "/pool.json", JsonText(json, 2) + "\n", 0600);
}

PoolFile ReadPoolFile(const std::string& name) {
  const std::string path = PoolDirectory(name) + "/pool.json";
  std::string text;
  try {
    text = ReadFile(path);
  } catch (const Error&) {
    const auto names = PoolNames();
    const std::string near = Nearest(name, {names.begin(), names.end()});
    throw UsageError(
        fmt::format("there is no pool '{}'{}; 'cq pool list' lists yours, 'cq pool start {}' "
                    "starts it",
                    name, near.empty() ? "" : fmt::format("; did you mean '{}'?", near), name));
  }
  try {
    const auto json = ParseJson(text);
    PoolFile file;
    file.name = name;
    json.at("host").get_to(file.host);
    json.at("boot_id").get_to(file.boot_id);
    json.at("pid").get_to(file.pid);
    json.at("start").get_to(file.start);
    json.at("socket").get_to(file.socket);
    json.at("scheduler").get_to(file.scheduler);
    json.at("workers").get_to(file.workers);
    json.at("slots").get_to(file.slots);
    json.at("same_host").get_to(file.same_host);
    return file;
  } catch (const OrderedJson::exception& error) {
    throw Error(fmt::format("'{}' does not describe a pool: {}", path, error.what()));
  }
}

std::string WhyUnreachable(const PoolFile& file) {
  if (file.host != HostName()) {
    return fmt::format("the pool '{}' was started on {}, and can be used there only", file.name,
                       file.host);
  }
  const bool lives =
      file.boot_id == BootId() && StartTimeOf(static_cast<pid_t>(file.pid)) == file.start;
  if (lives) return {};
  return fmt::format(
      "the master of the pool '{}' is gone; 'cq pool start {}' starts it again, with the workers "
      "that it still has",
      file.name, file.name);
}

}  // namespace cq
