#include "cli/inline_rows.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <regex>
#include <string>
#include <vector>

#include "base/text.h"
#include "cq/error.h"
#include "master/input/csv_reader.h"
#include "master/input/grid.h"
#include "master/run/run_directory.h"

namespace cq {
namespace {

namespace po = boost::program_options;
using Words = std::vector<std::string>;

constexpr const char* kUsage =
    "cq run [options] -- COMMAND {1} {2} ::: A … ::: B …, as users of GNU parallel write it";

bool IsSource(const std::string& word) {
  return word == ":::" || word == ":::+" || word == "::::" || word == "::::+";
}

std::string TextOf(const std::string& path) {
  try {
    return ReadStream(path == "-" ? "/dev/stdin" : path);
  } catch (const Error& error) {
    throw UsageError(error.what());
  }
}

// A last line without an end is one, too.
Words LinesOf(const std::string& path) {
  Words lines;
  const std::string text = TextOf(path);
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    if (lines.back().ends_with('\r')) lines.back().pop_back();
    at = end + 1;
  }
  return lines;
}

// Parts of lines are columns.
Table TableOfLines(const std::string& path, const std::string& separator) {
  Table table;
  table.name = path;
  uint64_t line = 0;
  for (const std::string& text : LinesOf(path)) {
    ++line;
    Words parts;
    for (size_t at = 0; !separator.empty();) {
      const size_t end = text.find(separator, at);
      parts.push_back(text.substr(at, end - at));
      if (end == std::string::npos) break;
      at = end + separator.size();
    }
    if (separator.empty()) parts.push_back(text);
    if (!table.rows.empty() && parts.size() != table.rows[0].size()) {
      throw UsageError(fmt::format("{}:{}: this line has {} parts, the first has {}", path, line,
                                   parts.size(), table.rows[0].size()));
    }
    table.rows.push_back(std::move(parts));
  }
  const size_t columns = table.rows.empty() ? 1 : table.rows[0].size();
  for (size_t i = 1; i <= columns; ++i) table.columns.push_back(std::to_string(i));
  return table;
}

Grid GridOf(Words::const_iterator at, Words::const_iterator end) {
  Grid grid;
  for (size_t column = 1; at != end; ++column) {
    const std::string kind = *at++;
    const auto next = std::find_if(at, end, IsSource);
    Table table{fmt::format("source {} ({})", column, kind), {std::to_string(column)}, {}};
    for (; at != next; ++at) {
      if (!kind.starts_with("::::")) {
        table.rows.push_back({*at});
        continue;
      }
      for (const std::string& line : LinesOf(*at)) table.rows.push_back({line});
    }
    if (table.rows.empty()) throw UsageError(fmt::format("'{}' without a value: {}", kind, kUsage));
    if (!kind.ends_with('+')) {
      grid.Times(std::move(table));
    } else if (column > 1) {
      grid.Zip(table);
    } else {
      throw UsageError(fmt::format("'{}' has nothing before it that it goes with", kind));
    }
  }
  return grid;
}

// A word of the command with {} as all parts of a row, and whether it names any part, or {#}. {3}
// where there are two would be passed on as it stands. {{3}} and {{}} are meant so: where commands
// are made of rows only what names a part is taken out of its second braces.
std::string Filled(const std::string& word, const Words& parts, bool& named) {
  static const std::regex kBraces(R"(\{\{([0-9]*)\}\}|\{([0-9]*|#)\})");
  std::string filled;
  auto rest = word.begin();
  for (std::sregex_iterator at(word.begin(), word.end(), kBraces), end; at != end; ++at) {
    const std::smatch& found = *at;
    const bool literal = found[1].matched;
    const std::string part = fmt::format("{{{}}}", (literal ? found[1] : found[2]).str());
    const bool known = std::find(parts.begin(), parts.end(), part) != parts.end();
    filled.append(rest, found[0].first);
    rest = found[0].second;
    if (literal) {
      filled += known ? found.str() : part;
      continue;
    }
    if (!known && part != "{}" && part != "{#}") {
      throw UsageError(
          fmt::format("'{}': there is no {}, the parts of a row are {}; to pass it on literally, "
                      "write {{{}}}",
                      word, part, Joined(parts, ", "), part));
    }
    named = true;
    filled += part == "{}" ? Joined(parts, " ") : part;
  }
  return filled.append(rest, word.end());
}

// Who names no part gets all of them at the end.
Words Filled(const Words& command, size_t columns, bool shell) {
  Words parts;
  for (size_t i = 1; i <= columns; ++i) parts.push_back(fmt::format("{{{}}}", i));
  Words filled;
  filled.reserve(command.size());
  bool named = false;
  for (const std::string& word : command) filled.push_back(Filled(word, parts, named));
  if (named || command.empty()) return filled;
  if (shell) {
    filled.back() += " " + Joined(parts, " ");
  } else {
    filled.insert(filled.end(), parts.begin(), parts.end());
  }
  return filled;
}

// The columns that a command names, each once.
Words ColumnsOf(const CommandLine& line, const po::variables_map& values) {
  static const std::regex kNames(R"(\{\{[^}]*\}\}|\$?\{([A-Za-z_][A-Za-z0-9_.-]*)\})");
  Words taken;
  if (values.count("const") > 0) {
    for (const std::string& pair : values["const"].as<Words>()) {
      taken.push_back(pair.substr(0, pair.find('=')));
    }
  }
  Words columns;
  const auto add = [&](const std::string& name) {
    const auto is = [&](const Words& names) {
      return std::find(names.begin(), names.end(), name) != names.end();
    };
    if (!is(taken) && !is(columns)) columns.push_back(name);
  };
  if (values.count("types") > 0) {
    for (const std::string& pair : values["types"].as<Words>()) add(pair.substr(0, pair.find('=')));
  }
  for (const std::string& word : line.command) {
    for (std::sregex_iterator at(word.begin(), word.end(), kNames), end; at != end; ++at) {
      if ((*at)[1].matched && at->str()[0] == '{') add((*at)[1].str());
    }
  }
  if (!columns.empty()) return columns;
  throw UsageError(line.command.empty()
                       ? "--ask without a CSV: name the columns, as in --types alpha=number "
                         "--types n=integer, or give a CSV (its header is enough)"
                       : "--ask without a CSV: the command names no column, as in {alpha}");
}

// As long as this process lives, and no process that it starts.
Fd InMemory(const Grid& grid) {
  Fd fd(memfd_create("rows", MFD_CLOEXEC));
  std::string text;
  const auto write = [&] {
    if (!WriteAll(fd.get(), text)) throw Error(fmt::format("the rows: {}", strerror(errno)));
    text.clear();
  };
  const auto add = [&](const Words& fields) {
    AppendCsvLineAsItIs(text, fields);
    if (text.size() >= 1u << 20) write();
  };
  add(grid.columns());
  grid.Each(add);
  write();
  return fd;
}

}  // namespace

InlineRows::InlineRows(const CommandLine& line, const po::variables_map& values) : line_(line) {
  const auto source = std::find_if(line.command.begin(), line.command.end(), IsSource);
  const bool lines = values.count("each-line") > 0;
  const bool sources = source != line.command.end();
  const auto given = Positional(values);
  // Its proposer names all rows.
  const bool none = !lines && !sources && given.empty() && values.count("ask") > 0;
  if (!lines && !sources && !none) return;
  if (!given.empty() || (lines && sources)) {
    throw UsageError(fmt::format(
        "rows are said twice: by {} and by {}; where that is the command's own: --shell",
        given.empty() ? "--each-line" : "'" + given[0] + "'", sources ? *source : "--each-line"));
  }
  const bool reads = lines ? values["each-line"].as<std::string>() == "-"
                           : std::find(source, line.command.end(), "-") != line.command.end();
  if (reads && values.count("detach") > 0) {
    throw UsageError("--detach: it cannot take standard input with it: put the lines in a file");
  }
  Grid grid;
  std::string directory = "arguments.cq";
  if (none) {
    Table header;
    header.columns = ColumnsOf(line, values);
    grid.Times(std::move(header));
    name_ = "--ask";
    directory = "ask.cq";
  } else if (lines) {
    const auto path = values["each-line"].as<std::string>();
    const std::string separator =
        values.count("separator") > 0 ? values["separator"].as<std::string>() : "";
    grid.Times(TableOfLines(path, separator == "tab" ? "\t" : separator));
    if (path != "-") name_ = AbsolutePath(path);
    directory = path == "-" ? "stdin.cq" : std::filesystem::path(path).filename().string() + ".cq";
  } else {
    grid = GridOf(source, line.command.end());
    name_ = ":::";
    line_.command.erase(line_.command.begin() + (source - line.command.begin()),
                        line_.command.end());
    line_.has_command = !line_.command.empty();
  }
  if (!none) {
    line_.command = Filled(line_.command, grid.columns().size(), values.count("shell") > 0);
  }
  csv_ = InMemory(grid);
  if (values.count("run-dir") == 0) {
    line_.words.insert(line_.words.end(), {"--run-dir", directory});
  }
  line_.words.push_back(fmt::format("/dev/fd/{}", csv_.get()));
}

}  // namespace cq
