#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "cq/master.h"
#include "tests/support/process.h"
#include "tests/support/temporary_directory.h"

// Functions of embed_test.cc.
double twice(double x);
int64_t product(int a, int64_t b);
int64_t waits(const std::string& begun, const std::string& go);
int64_t fails(int64_t x);
int64_t dies(int64_t x);
int64_t counted(const std::string& file, int64_t x);
double slowly(double x);
std::string echo(const std::string& text);

class EmbedTest : public testing::Test {
 protected:
  ~EmbedTest() override { EXPECT_TRUE(Left().empty()) << "processes are left"; }

  // Workers and slots of this process.
  static std::vector<pid_t> Left() { return cq::DescendantsWith(getpid(), "--cq"); }
  std::string File(const std::string& name) const { return directory_.File(name); }
  size_t Calls() const {
    std::error_code none;
    const auto size = std::filesystem::file_size(File("calls"), none);
    return none ? 0 : size;
  }
  static void Touch(const std::string& path) { std::ofstream(path).put('x'); }
  static bool Appears(const std::string& path) {
    return cq::Eventually([&] { return std::filesystem::exists(path); });
  }

  cq::TemporaryDirectory directory_;
};
