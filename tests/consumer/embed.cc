#include <cq/master.h>
#include <cq/runtime.h>

#include <vector>

double twice(double x) { return 2 * x; }
CQ_FUNCTION(twice);

int main(int argc, char** argv) {
  cq::Runtime runtime(argc, argv);
  cq::Master master({.pools = {cq::Local(1)}});
  double sum = 0;
  for (auto& result : master.map(twice, std::vector<double>{1, 2, 3})) sum += *result;
  return sum == 12 && *master.submit(twice, 21).get() == 42 ? 0 : 1;
}
