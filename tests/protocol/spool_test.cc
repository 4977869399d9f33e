#include "protocol/spool.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/files.h"
#include "protocol/codec.h"
#include "tests/support/temporary_directory.h"

namespace cq {
namespace {

Results ResultsOfTask(TaskId task) {
  TaskResult result;
  result.task = task;
  result.attempt = MakeSerial(1, task);
  return {7, {}, {result}};
}

TEST(SpoolTest, WhatAWorkerLeavesIsFoundInOrderAndReadAsItWas) {
  TemporaryDirectory directory;
  const WorkerId worker{1, 2, 255};
  const std::string first = WriteSpoolFile(directory.path(), worker, ResultsOfTask(1));
  const std::string second = WriteSpoolFile(directory.path(), worker, ResultsOfTask(2));
  EXPECT_NE(first, second);
  // What another writes, or has not finished, is none of them.
  ReplaceFile(directory.File("x.tmp"), "half", 0600);
  EXPECT_EQ(SpoolFiles(directory.path()), (std::vector<std::string>{first, second}));
  const auto read = ReadSpoolFile(second);
  ASSERT_TRUE(std::holds_alternative<Results>(read));
  EXPECT_EQ(std::get<Results>(read).results.at(0).task, 2u);
  EXPECT_TRUE(SpoolFiles(directory.File("none")).empty());
}

TEST(SpoolTest, AFileThatIsNoneSaysWhy) {
  TemporaryDirectory directory;
  const auto reason = [&](const std::string& path) {
    const auto read = ReadSpoolFile(path);
    const auto* text = std::get_if<std::string>(&read);
    return text == nullptr ? "no reason" : *text;
  };
  const std::string path = directory.File("a.results");
  EXPECT_NE(reason(path).find(path), std::string::npos);
  ReplaceFile(path, "nonsense", 0600);
  EXPECT_NE(reason(path).find(path), std::string::npos);
  ReplaceFile(path, Encode({}, FromWorker(Leaving{"x"})), 0600);
  EXPECT_NE(reason(path).find("holds no results"), std::string::npos) << reason(path);
  const std::string fifo = directory.File("b.results");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_NE(reason(fifo).find(fifo), std::string::npos);
}

}  // namespace
}  // namespace cq
