// The same in C++: a library that cq loads.
#include <cq/function.h>

#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>

#include "segmentation.h"

struct Model {
  int64_t segments;
  double loss;
};
CQ_FIELDS(Model, segments, loss)
struct Row {
  double penalty;
};
CQ_FIELDS(Row, penalty)

std::vector<Stretch> ReadProfile(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read '" + path + "'");
  std::vector<Stretch> profile;
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string chromosome;
    double start = 0, end = 0, count = 0;
    fields >> chromosome >> start >> end >> count;
    profile.push_back({end - start, count});
  }
  return profile;
}

// Once in each slot.
Model fit(double penalty) {
  static const std::vector<Stretch> profile = ReadProfile("../changepoint/Mono27ac.bedGraph");
  const Segmentation best = Segment(profile, penalty);
  return {static_cast<int64_t>(best.segments), best.loss};
}
CQ_FUNCTION(fit, "penalty");

// Beside the master: all that are known.
void between(double penalty, int64_t segments, double loss) {
  static std::map<double, Model> models;
  const auto at = models.emplace(penalty, Model{segments, loss}).first;
  const auto try_between = [](auto a, auto b) {
    const auto more = a->second.segments - b->second.segments;
    if (more <= 1) return;
    const double equal = (b->second.loss - a->second.loss) / static_cast<double>(more);
    if (a->first < equal && equal < b->first) cq::push(Row{equal});
  };
  if (at != models.begin()) try_between(std::prev(at), at);
  if (std::next(at) != models.end()) try_between(at, std::next(at));
}
CQ_PROPOSE(fit, between, "penalty", "segments", "loss")
