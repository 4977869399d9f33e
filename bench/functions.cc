// What the tasks of bench/functions do.
#include <cq/function.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
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

// ---- bench/growing ----

namespace {

int64_t Setting(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? 0 : std::atoll(text);
}

}  // namespace

struct Step {
  int64_t step;
};
CQ_FIELDS(Step, step)

int64_t evaluate(int64_t step) {
  static const int64_t kMicroseconds = Setting("EVALUATE_US");
  if (kMicroseconds > 0) usleep(static_cast<useconds_t>(kMicroseconds));
  return step;
}
CQ_FUNCTION(evaluate, "step");

// As long as there are to be more, each result leads to so many.
void follow(int64_t) {
  static const int64_t kSteps = Setting("STEPS");
  static const int64_t kEach = Setting("FOLLOW_EACH");
  static const std::chrono::microseconds kTime(Setting("FOLLOW_US"));
  static int64_t last = 0;
  const auto until = std::chrono::steady_clock::now() + kTime;
  for (int64_t i = 0; i < kEach && last < kSteps; ++i) cq::push(Step{++last});
  while (std::chrono::steady_clock::now() < until) {
  }
}
CQ_PROPOSE(evaluate, follow, "step")

// The same of rows that are known.
int64_t evaluate_known(int64_t step) { return evaluate(step); }
CQ_FUNCTION(evaluate_known, "step");

// The first one pushes all others.
int64_t spread(int64_t step) {
  static const int64_t kSteps = Setting("STEPS");
  for (int64_t i = 1; step == 0 && i <= kSteps; ++i) cq::push(Step{i});
  return step;
}
CQ_FUNCTION(spread, "step");
