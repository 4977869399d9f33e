#include "master/input/grid.h"

#include <fmt/format.h>

#include "base/quantities.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cq/error.h"
#include "master/input/csv_reader.h"
#include "master/run/output_file.h"

namespace cq {
namespace {

namespace po = boost::program_options;
using Words = std::vector<std::string>;

constexpr HelpPage kGridHelp = {
    "cq grid A.csv [x B.csv …] [--zip C.csv] [--repls N] [-o FILE]",
    "Writes the CSV of all combinations: each row of A.csv with each row of B.csv, and so on; the "
    "first changes\n"
    "slowest. 'cq run params.csv --seed-by problem,repl' then gives all algorithms the same random "
    "numbers on each\n"
    "repetition of a problem.",
    "cq grid problems.csv x algorithms.csv --repls 10 -o params.csv"};

po::options_description GridDescription() {
  po::options_description options("options", 100, 60);
  options.add_options()("zip", po::value<Words>()->composing()->value_name("FILE"),
                        "its first row goes with the first of the last file, its second with the "
                        "second, and so on (repeatable)")(
      "repls", po::value<std::string>()->value_name("N"),
      "each combination N times, numbered in a column 'repl'")(
      "output,o", po::value<std::string>()->value_name("FILE"), "where to write [standard output]")(
      "help,h", "show this page");
  return options;
}

Table Repls(const std::string& text) {
  const uint64_t repls = ParseCount(text, "--repls", 1);
  if (repls > 100'000'000) throw UsageError(fmt::format("--repls {}: at most 100000000", text));
  Table table{"--repls", {"repl"}, {}};
  for (uint64_t i = 1; i <= repls; ++i) table.rows.push_back({std::to_string(i)});
  return table;
}

std::string Line(const Words& fields) {
  std::string line;
  AppendCsvLineAsItIs(line, fields);
  return line;
}

bool IsTimes(const std::string& word) { return word == "x" || word == "×"; }

int GridCommandLine(const CommandLine& line) {
  po::variables_map values;
  if (!ParseOptions(line, kGrid, values)) return 0;
  const Words words = Positional(values);
  Grid grid;
  Words files;
  for (size_t i = 0; i < words.size(); ++i) {
    if (IsTimes(words[i]) == (i % 2 == 0)) {
      throw UsageError(
          fmt::format("'{}': files and x take turns, as in cq grid A.csv x B.csv", words[i]));
    }
    if (i % 2 != 0) continue;
    grid.Times(ReadTable(words[i]));
    files.push_back(words[i]);
  }
  if (words.size() % 2 == 0) {
    throw UsageError(words.empty() ? "no file: cq grid A.csv x B.csv"
                                   : "there is no file behind x");
  }
  if (values.count("zip") > 0) {
    for (const std::string& path : values["zip"].as<Words>()) {
      grid.Zip(ReadTable(path));
      files.push_back(path);
    }
  }
  if (values.count("repls") > 0) grid.Times(Repls(values["repls"].as<std::string>()));
  const uint64_t rows = grid.rows();
  const std::string output = values.count("output") > 0 ? values["output"].as<std::string>() : "-";
  for (const char* other : {".tsv", ".gz", ".zst", ".xz", ".bz2"}) {
    if (!output.ends_with(other)) continue;
    throw UsageError(fmt::format(
        "--output '{}': it is a CSV of commas, and not compressed: call it .csv", output));
  }
  // None of its own inputs.
  CheckOutput(output, {}, files);
  OutputFile file(output);
  file.Append(Line(grid.columns()));
  grid.Each([&](const Words& fields) { file.Append(Line(fields)); });
  file.Close();
  if (rows == 0) Say(stderr, "cq: one of the files has no rows, and so has the grid\n");
  if (output != "-") fmt::print("{}: {} rows\n", output, rows);
  return 0;
}

}  // namespace

const Subcommand kGrid = {"grid", "write the CSV of all combinations of rows", kGridHelp,
                          GridDescription, GridCommandLine};

}  // namespace cq
