// simulate [FIRST [COUNT]] [--pools|--scaled] [--trace]: runs seeds FIRST to FIRST + COUNT - 1
// (default 1, 1000). A seed that fails is printed with what broke; `--trace` prints everything that
// happens, for one seed.
#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "tests/simulation/simulation.h"

int main(int argc, char** argv) {
  std::vector<uint64_t> numbers;
  bool trace = false;
  cq::sim::World (*draw)(uint64_t) = cq::sim::Draw;
  std::string how;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--trace") == 0) {
      trace = true;
    } else if (std::strcmp(argv[i], "--pools") == 0) {
      draw = cq::sim::DrawPool;
      how = " --pools";
    } else if (std::strcmp(argv[i], "--scaled") == 0) {
      draw = cq::sim::DrawScaled;
      how = " --scaled";
    } else {
      numbers.push_back(std::strtoull(argv[i], nullptr, 10));
    }
  }
  const uint64_t first = numbers.empty() ? 1 : numbers[0];
  const uint64_t count = trace ? 1 : numbers.size() < 2 ? 1000 : numbers[1];
  uint64_t failed = 0;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    const cq::sim::World world = draw(seed);
    // An invariant of the cores aborts: the seed must be known then.
    setenv("CQ_SEED_RUNNING", std::to_string(seed).c_str(), 1);
    const auto print = [](const std::string& line) { fmt::print("{}\n", line); };
    if (trace) print(cq::sim::Describe(world));
    const auto broken = cq::sim::Run(world, trace ? std::function(print) : nullptr);
    if (!broken) continue;
    ++failed;
    fmt::print("FAILED {}\n  {}\n  replay: simulate {}{} --trace\n", cq::sim::Describe(world),
               *broken, seed, how);
    std::fflush(stdout);
  }
  fmt::print("{} seeds, {} failed\n", count, failed);
  return failed == 0 ? 0 : 1;
}
