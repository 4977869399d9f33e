// map_bench [N [SLOTS [WINDOW]]]: a function over a range through cq::Master::map, results in
// memory, once the workers are up.
#include <cq/master.h>
#include <cq/runtime.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ranges>

double twice(double x) { return 2 * x; }
CQ_FUNCTION(twice);

int main(int argc, char** argv) {
  cq::Runtime runtime(argc, argv);
  const int count = argc > 1 ? std::atoi(argv[1]) : 1'000'000;
  const unsigned slots = argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 2;
  const size_t window = argc > 3 ? static_cast<size_t>(std::atoll(argv[3])) : 16'384;
  cq::Master master({.pools = {cq::Local(slots)}});
  for (auto& result : master.map(twice, std::views::iota(0, 1000))) result.value();
  const auto begin = std::chrono::steady_clock::now();
  double sum = 0;
  for (auto& result : master.map(twice, std::views::iota(0, count), {.window = window}))
    sum += *result;
  const double took =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (sum != static_cast<double>(count) * (count - 1)) return 1;
  std::printf("%d tasks, %u slots: %.3f s, %.3f us per task\n", count, slots, took,
              took / count * 1e6);
}
