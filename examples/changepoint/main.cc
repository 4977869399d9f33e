// changepoint --penalty P PROFILE.bedGraph: prints {"segments":N,"loss":L} for one penalty.
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>

#include "segmentation.h"

namespace {

[[noreturn]] void Fail(const std::string& what) {
  std::cerr << "changepoint: " << what << "\n";
  std::exit(2);
}

std::vector<Stretch> ReadProfile(const std::string& path) {
  std::ifstream file(path);
  if (!file) Fail("cannot read '" + path + "'");
  std::vector<Stretch> profile;
  size_t line_number = 0;
  for (std::string line; std::getline(file, line);) {
    ++line_number;
    std::istringstream fields(line);
    std::string chromosome;
    double start = 0;
    double end = 0;
    double count = 0;
    if (!(fields >> chromosome >> start >> end >> count) || end <= start || count < 0) {
      Fail(path + ":" + std::to_string(line_number) + ": want chromosome, start, end, count");
    }
    profile.push_back({end - start, count});
  }
  if (profile.empty()) Fail("'" + path + "' is empty");
  return profile;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4 || std::string(argv[1]) != "--penalty") {
    Fail("usage: changepoint --penalty P PROFILE.bedGraph");
  }
  const std::string text = argv[2];
  double penalty = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), penalty);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || penalty < 0) {
    Fail("the penalty '" + text + "' is no number of at least 0");
  }
  const Segmentation best = Segment(ReadProfile(argv[3]), penalty);
  char loss[64] = {};
  std::to_chars(loss, loss + sizeof loss, best.loss);
  std::printf("{\"segments\":%zu,\"loss\":%s}\n", best.segments, loss);
}
