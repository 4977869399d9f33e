// A user's library, built with nothing but the public header.
#include <cq/function.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <map>
#include <stdexcept>

struct All {
  std::optional<int64_t> out_i;
  std::optional<double> out_x;
  std::optional<bool> out_b;
  std::string out_s;
};
CQ_FIELDS(All, out_i, out_x, out_b, out_s)
All echo_all(std::optional<int64_t> i, std::optional<double> x, std::optional<bool> b,
             const std::string& s) {
  return {i, x, b, s};
}
CQ_FUNCTION(echo_all);

struct Ten {
  double out_x0, out_x1, out_x2, out_x3, out_x4, out_x5, out_x6, out_x7, out_x8, out_x9;
};
CQ_FIELDS(Ten, out_x0, out_x1, out_x2, out_x3, out_x4, out_x5, out_x6, out_x7, out_x8, out_x9)
Ten echo_numbers(double a, double b, double c, double d, double e, double f, double g, double h,
                 double i, double j) {
  return {a, b, c, d, e, f, g, h, i, j};
}
CQ_FUNCTION(echo_numbers);

double weigh(int64_t a, double k) { return static_cast<double>(a) + k; }
CQ_FUNCTION(weigh, "a", "k");

int fragile(int n) {
  static int calls = 0;
  ++calls;
  if (n == 3) throw std::runtime_error("three is too much");
  return calls;
}
CQ_FUNCTION(fragile);

int deadly(int n) {
  if (n == 300) std::abort();
  return n;
}
CQ_FUNCTION(deadly);

int whole(int a) { return a; }
CQ_FUNCTION(whole, "a");

int zebra(int a) { return a; }
CQ_FUNCTION(zebra, "zebra");

uint64_t seed_of(int) { return cq::task().seed; }
CQ_FUNCTION(seed_of);

struct Node {
  int64_t depth = 0;
  int64_t id = 0;
};
CQ_FIELDS(Node, depth, id)
// A node of a tree pushes the two below it.
int64_t grow(int64_t depth, int64_t id) {
  for (int64_t child = 2 * id; depth > 0 && child <= 2 * id + 1; ++child) {
    cq::push(Node{depth - 1, child});
    cq::push(std::map<std::string, int64_t>{{"depth", depth - 1}, {"id", child}});
  }
  return 10 * id;
}
CQ_FUNCTION(grow, "depth", "id");

std::string same(std::string s) { return s; }
CQ_FUNCTION(same);

// Of 2: once there is a file `go`.
double waits(double n) {
  while (n == 2 && access("go", F_OK) != 0) usleep(10'000);
  return n;
}
CQ_FUNCTION(waits);

// Something happens to a few of many.
double eventful(int64_t n) {
  if (n % 1000 == 7) throw std::runtime_error("seven");
  if (n % 5000 == 11) std::printf("eleven: %d\n", static_cast<int>(n));
  if (n == 12'345) std::abort();
  return static_cast<double>(n) / 2;
}
CQ_FUNCTION(eventful);

// One of many waits for the file `go`.
int64_t waits_late(int64_t n) {
  while (n == 20'000 && access("go", F_OK) != 0) usleep(10'000);
  return 2 * n;
}
CQ_FUNCTION(waits_late);

// A model's size by its penalty, and all of them between two.
struct Model {
  int64_t segments;
};
CQ_FIELDS(Model, segments)
struct Penalty {
  double penalty;
};
CQ_FIELDS(Penalty, penalty)

Model segments(double penalty) { return {static_cast<int64_t>(64 / penalty)}; }
CQ_FUNCTION(segments, "penalty");

void between(double penalty, int64_t size) {
  static std::map<double, int64_t> known;
  const auto at = known.emplace(penalty, size).first;
  const auto add = [](auto a, auto b) {
    if (a->second - b->second <= 1 || b->first - a->first <= 0.25) return;
    cq::push(Penalty{(a->first + b->first) / 2});
  };
  if (at != known.begin()) add(std::prev(at), at);
  if (std::next(at) != known.end()) add(at, std::next(at));
}
CQ_PROPOSE(segments, between, "penalty", "segments")
