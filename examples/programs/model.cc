// How long a random walk with drift `alpha` takes to leave an interval: one call for each row.
//   g++ -std=c++20 -O2 -shared -fPIC model.cc -o libmodel.so
#include <cq/function.h>

#include <cmath>
#include <random>

struct Walk {
  int64_t steps;
  double end;
};
CQ_FIELDS(Walk, steps, end)

Walk walk(double alpha, double limit) {
  std::mt19937_64 random(cq::task().seed);
  std::normal_distribution<double> noise;
  Walk walk{0, 0};
  for (; std::abs(walk.end) < limit; ++walk.steps) walk.end += alpha + noise(random);
  return walk;
}
CQ_FUNCTION(walk, "alpha", "limit");
