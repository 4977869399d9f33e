#include "worker/slots/run_context.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "base/files.h"
#include "tests/support/temporary_directory.h"
#include "worker/slots/printed_text.h"

namespace cq {
namespace {

RunText TextIn(const std::string& cwd) {
  RunText text;
  text.cwd = cwd;
  text.run_dir = "/run";
  text.command = {{"true"}};
  return text;
}

TEST(RunContextTest, TheEnvironmentIsOursWithWhatTheRunSaysAndEachNameOnce) {
  RunText text = TextIn("/tmp");
  text.cpus = 3;
  text.env = {{"X", "1"}, {"X", "2"}, {"OMP_NUM_THREADS", "9"}};
  const RunContext run(text);
  const auto values = [&](const std::string& name) {
    std::vector<std::string> found;
    for (const std::string& entry : run.environment()) {
      if (entry.starts_with(name + "=")) found.push_back(entry.substr(name.size() + 1));
    }
    return found;
  };
  using Values = std::vector<std::string>;
  EXPECT_EQ(values("X"), Values{"2"});
  EXPECT_EQ(values("OMP_NUM_THREADS"), Values{"9"});
  EXPECT_EQ(values("OPENBLAS_NUM_THREADS"), Values{"3"});
  EXPECT_EQ(values("CQ_RUN_DIR"), Values{"/run"});
  EXPECT_EQ(values("PATH").size(), 1u);
}

TEST(RunContextTest, AProgramIsFoundInTheTasksPathAndDirectory) {
  TemporaryDirectory directory;
  std::filesystem::create_directory(directory.File("bin"));
  ReplaceFile(directory.File("bin/tool"), "#!/bin/sh\n", 0700);
  ReplaceFile(directory.File("bin/text"), "no program", 0600);
  RunText text = TextIn(directory.path());
  text.env = {{"PATH", "bin:/usr/bin"}};
  const RunContext run(text);
  EXPECT_NE(run.ResolveProgram("tool"), "");
  EXPECT_EQ(run.ResolveProgram("text"), "");
  EXPECT_EQ(run.ResolveProgram("no-such-program"), "");
  EXPECT_NE(run.ResolveProgram("./bin/tool"), "");
}

TEST(RunContextTest, WhatCannotRunHereIsSaid) {
  TemporaryDirectory directory;
  EXPECT_EQ(RunContext(TextIn(directory.path())).Problem(), "");
  EXPECT_NE(RunContext(TextIn(directory.File("none"))).Problem().find("none"), std::string::npos);
  ReplaceFile(directory.File("f"), "", 0600);
  EXPECT_NE(RunContext(TextIn(directory.File("f"))).Problem().find("no directory"),
            std::string::npos);
  RunText later = TextIn(directory.path());
  later.extras = {{"optional", int64_t{1}}};
  EXPECT_EQ(RunContext(later).Problem(), "");
  later.extras = {{"!must", int64_t{1}}};
  EXPECT_NE(RunContext(later).Problem().find("!must"), std::string::npos);
}

TEST(RunContextTest, ATasksOwnLimitComesBeforeTheRuns) {
  RunText text = TextIn("/tmp");
  text.timeout_ms = 100;
  const RunContext run(text);
  Task task;
  EXPECT_EQ(run.LimitOf(task), std::chrono::milliseconds(100));
  task.details.Edit().timeout_ms = 7;
  EXPECT_EQ(run.LimitOf(task), std::chrono::milliseconds(7));
}

TEST(PrintedTextTest, MarksGiveEachTaskWhatItPrintedWhereverReadsEnd) {
  const std::string all =
      "one\x1etok 1\x1e"
      "tw\x1eo\n\x1etok 2\x1e"
      "rest\x1etok 99";
  for (size_t step = 1; step < all.size(); ++step) {
    PrintedText printed("tok");
    for (size_t at = 0; at < all.size(); at += step) printed.Append(all.substr(at, step));
    EXPECT_EQ(printed.Take(2), "tw\x1eo\n");
    EXPECT_EQ(printed.Take(1), "one");
    EXPECT_EQ(printed.Take(1), "");
    EXPECT_EQ(printed.TakeRest(), "rest\x1etok 99");
    EXPECT_TRUE(printed.empty());
  }
}

}  // namespace
}  // namespace cq
