#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/process.h"

namespace cq {

using Words = std::vector<std::string>;

class RunTest : public ::testing::Test {
 protected:
  // Runs `cq run in.csv OPTIONS... -- COMMAND...`.
  Ended Run(const std::string& csv, const Words& options, const Words& command) {
    WriteFile(directory_.File("in.csv"), csv);
    Words words = {"run", "in.csv"};
    words.insert(words.end(), options.begin(), options.end());
    words.push_back("--");
    words.insert(words.end(), command.begin(), command.end());
    return Cq(words, directory_.path());
  }
  Words Column(const std::string& name) { return cq::Column(Results(), name); }
  std::string Results() const { return directory_.File("in.cq/results.csv"); }
  bool Exists(const std::string& name) const {
    return std::filesystem::exists(directory_.File(name));
  }
  // Nothing started and nothing left behind.
  void ExpectRefused(const Ended& ended, const std::string& text) {
    EXPECT_EQ(ended.status, 2) << ended.err;
    EXPECT_NE(ended.err.find(text), std::string::npos) << ended.err;
    for (const auto& entry : std::filesystem::directory_iterator(directory_.path())) {
      EXPECT_EQ(entry.path().string().find(".cq"), std::string::npos) << entry.path();
    }
  }

  TemporaryDirectory directory_;
};

}  // namespace cq
