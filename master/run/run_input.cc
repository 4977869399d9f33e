#include "master/run/run_input.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "cq/error.h"
#include "master/run/run_directory.h"
#include "protocol/column_types.h"
#include "protocol/command.h"

namespace cq {

std::string IdentityOf(const RunOptions& options) {
  return options.input_name.empty() ? InputIdentity(options.input) : options.input_name;
}

// Another file's rows are never an edit of this one's, and its results are not theirs. A folder
// that was moved as a whole has the same bytes at another path.
void RequireSameInput(const KnownInput& known, const RunOptions& options, const std::string& copy,
                      bool same_bytes) {
  const auto name = [](const std::string& path) {
    return path == "-" ? std::string("standard input") : fmt::format("'{}'", path);
  };
  const std::string& before = known.input;
  const std::string now = IdentityOf(options);
  std::error_code none;
  const bool same_file = now != "-" && before != "-" &&
                         (now == before || std::filesystem::equivalent(now, before, none));
  const bool moved = before == "-" ? now == "-" : now != "-" && access(before.c_str(), F_OK) != 0;
  // As an older cq recorded it.
  const bool old_stream = now == "-" && before == AbsolutePath(options.input);
  if (same_file || ((moved || old_stream) && same_bytes)) return;
  throw UsageError(fmt::format(
      "the run in '{}' is of {}, not of {}: to go on with it, 'cq resume {}'; for another run, "
      "--run-dir DIR, or --fresh, which moves the old one aside{}",
      known.run_dir, name(before), now == before ? "this " + name(now) : name(now),
      ShellQuote(known.run_dir),
      now == "-" ? fmt::format(" (its rows were kept as '{}')", copy) : ""));
}

void WarnOfNoHeader(const std::vector<std::string>& columns, RunObserver& observer) {
  const auto is_data = [](const std::string& name) {
    return TypeOf(name) != ColumnType::kText || name.find_first_of("/\\ ") != name.npos;
  };
  const auto found = std::find_if(columns.begin(), columns.end(), is_data);
  if (found == columns.end()) return;
  observer.Warning(fmt::format(
      "the command uses no column, and the first line, which names the columns, looks like a row "
      "('{}'): does the input have a header?",
      *found));
}

}  // namespace cq
