// changepoints PROFILE.bedGraph: the segmentation of a profile for 200 penalties. The profile goes
// to each slot once.
#include <cq/master.h>
#include <cq/runtime.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <ranges>
#include <string>

#include "segmentation.h"

CQ_FIELDS(Stretch, weight, count)
CQ_FIELDS(Segmentation, segments, loss)

Segmentation fit(double penalty) {
  return Segment(cq::constant<std::vector<Stretch>>("profile"), penalty);
}
CQ_FUNCTION(fit);

std::vector<Stretch> ReadProfile(const char* path) {
  std::vector<Stretch> profile;
  std::ifstream file(path);
  std::string chromosome;
  double start = 0, end = 0, count = 0;
  while (file >> chromosome >> start >> end >> count) profile.push_back({end - start, count});
  return profile;
}

int main(int argc, char** argv) {
  cq::Runtime runtime(argc, argv);
  const auto profile = ReadProfile(argc == 2 ? argv[1] : "");
  if (profile.empty()) {
    std::fprintf(stderr, "usage: changepoints PROFILE.bedGraph\n");
    return 2;
  }
  cq::Master master({.constants = cq::Constants().add("profile", profile)});
  const auto penalty = [](int i) { return std::pow(10, 1 + 4 * i / 199.0); };
  std::printf("penalty,segments,loss\n");
  for (auto& model : master.map(fit, std::views::iota(0, 200) | std::views::transform(penalty))) {
    const double at = penalty(static_cast<int>(model.index()));
    if (model) {
      std::printf("%.17g,%zu,%.17g\n", at, model->segments, model->loss);
    } else {
      std::fprintf(stderr, "penalty %g: %s\n", at, model.error().message.c_str());
    }
  }
}
