// What the tasks of bench/functions do.
#include <cq/function.h>
#include <unistd.h>

#include <cstdint>
#include <string>

double twice(double x) { return 2 * x; }
CQ_FUNCTION(twice);

double nap(double seconds) {
  usleep(static_cast<useconds_t>(seconds * 1e6));
  return seconds;
}
CQ_FUNCTION(nap, "seconds");

// Whether it had to load its data set, which takes a second; then 50 ms of work on it.
int64_t of_group(int64_t) {
  static std::string loaded;
  const bool load = loaded != cq::task().group;
  if (load) usleep(1'000'000);
  loaded = cq::task().group;
  usleep(50'000);
  return load ? 1 : 0;
}
CQ_FUNCTION(of_group, "set");
