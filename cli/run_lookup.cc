#include "cli/run_lookup.h"

#include <fmt/format.h>

#include <filesystem>
#include <vector>

#include "base/text.h"
#include "cq/error.h"
#include "master/run/run_directory.h"

namespace cq {
namespace {

namespace fs = std::filesystem;

bool IsRun(const fs::path& path) {
  std::error_code error;
  return fs::exists(path / "journal.db", error);
}

}  // namespace

std::string FindRun(const std::vector<std::string>& words, bool own) {
  if (words.size() > 1) throw UsageError(fmt::format("unexpected '{}'", words[1]));
  if (!words.empty()) {
    const std::string& name = words[0];
    if (IsRun(name)) return AbsolutePath(name);
    if (IsRun(name + ".cq")) return AbsolutePath(name + ".cq");
    throw UsageError(fmt::format("'{}' is no run directory: it has no journal.db", name));
  }
  std::vector<fs::path> runs;
  std::vector<std::string> live;
  for (const auto& entry : fs::directory_iterator(".")) {
    if (entry.path().extension() != ".cq" || !IsRun(entry.path())) continue;
    if (own && !IsOwn(entry.path())) continue;
    runs.push_back(entry.path());
    if (HeldByMaster(entry.path())) live.push_back(entry.path().filename());
  }
  if (runs.empty()) {
    throw UsageError("there is no run directory (*.cq) here; name one: cq SUBCOMMAND RUN");
  }
  if (live.size() > 1) {
    throw UsageError(fmt::format("several runs are live here; name one: {}", Joined(live, ", ")));
  }
  fs::path chosen = runs[0];
  for (const fs::path& run : runs) {
    const auto changed = [](const fs::path& path) {
      return fs::last_write_time(path / "journal.db");
    };
    if (changed(run) > changed(chosen)) chosen = run;
  }
  if (!live.empty()) chosen = live[0];
  if (runs.size() > 1) {
    Say(stderr, PrintableText(fmt::format("cq: {} runs here; this is about {}\n", runs.size(),
                                          chosen.filename().string())));
  }
  return AbsolutePath(chosen);
}

}  // namespace cq
