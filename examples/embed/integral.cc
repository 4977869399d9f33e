// integral [ERROR]: the integral of exp(-x² - y²) over the unit square by Monte Carlo, until its
// standard error is small enough.
#include <cq/master.h>
#include <cq/runtime.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <ranges>

struct Sums {
  double draws = 0, sum = 0, squares = 0;
};
CQ_FIELDS(Sums, draws, sum, squares)

Sums sample(int draws) {
  std::mt19937_64 random(cq::task().seed);
  std::uniform_real_distribution<double> side(0, 1);
  Sums sums;
  for (int i = 0; i < draws; ++i) {
    const double x = side(random), y = side(random);
    const double value = std::exp(-x * x - y * y);
    sums.draws += 1;
    sums.sum += value;
    sums.squares += value * value;
  }
  return sums;
}
CQ_FUNCTION(sample);

int main(int argc, char** argv) {
  cq::Runtime runtime(argc, argv);
  const double wanted = argc > 1 ? std::atof(argv[1]) : 1e-4;
  cq::Master master({.seed = 1});
  Sums all;
  double error = 0;
  // As many tasks as it takes: those that are not needed any more are cancelled at the end of the
  // loop.
  const auto draws = std::views::iota(0) | std::views::transform([](int) { return 100'000; });
  for (auto& part : master.map(sample, draws)) {
    if (!part) continue;
    all.draws += part->draws;
    all.sum += part->sum;
    all.squares += part->squares;
    const double mean = all.sum / all.draws;
    error = std::sqrt((all.squares / all.draws - mean * mean) / all.draws);
    if (error < wanted) break;
  }
  std::printf("%.6f ± %.6f after %.0f draws\n", all.sum / all.draws, error, all.draws);
}
