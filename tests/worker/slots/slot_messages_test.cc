#include "worker/slots/slot_messages.h"

#include <gtest/gtest.h>

#include "cq/error.h"

namespace cq {
namespace {

// All messages of a program that come in pieces of `step` bytes.
std::vector<FromProgram> ReadAll(const std::string& bytes, size_t step) {
  ProgramReader reader;
  std::vector<FromProgram> all;
  for (size_t at = 0; at < bytes.size(); at += step) {
    reader.Append(std::string_view(bytes).substr(at, step));
    while (auto message = reader.Next()) all.push_back(std::move(*message));
  }
  return all;
}

TEST(SlotMessagesTest, LinesOfJsonAreReadWhereverReadsEnd) {
  const std::string lines =
      "{\"type\": \"hello\", \"version\": 1, \"helper\": \"x 1\"}\n"
      "{\"type\": \"ready\"}\n"
      "{\"type\": \"result\", \"task\": 3, \"value\": {\"y\": 1.5}}\n"
      "{\"type\": \"push\", \"id\": 7}\n";
  const auto whole = ReadAll(lines, lines.size());
  for (size_t step = 1; step < 40; ++step) {
    const auto parts = ReadAll(lines, step);
    ASSERT_EQ(parts.size(), whole.size()) << step;
    for (size_t i = 0; i < parts.size(); ++i) EXPECT_EQ(parts[i].index(), whole[i].index());
  }
  ASSERT_FALSE(whole.empty());
  ASSERT_TRUE(std::holds_alternative<SlotHello>(whole[0]));
  EXPECT_EQ(std::get<SlotHello>(whole[0]).helper, "x 1");
}

TEST(SlotMessagesTest, WhatIsNoMessageIsAnErrorAndNoCrash) {
  for (const char* bad : {"nonsense\n", "{}\n", "{\"type\": 5}\n", "{\"type\": \"hello\"\n"}) {
    ProgramReader reader;
    reader.Append(bad);
    EXPECT_THROW(reader.Next(), Error) << bad;
  }
  ProgramReader frames;
  frames.Append(std::string_view("\xff\xff\xff\xff\xff\xff\xff\xff", 8));
  EXPECT_THROW(
      {
        while (frames.Next()) {
        }
      },
      Error);
}

// [6, 0, [[1, true, nil, 0, "", "", rows]]]: a list of rows, and a map that is none.
TEST(SlotMessagesTest, TheRowsThatATaskPushesAreAList) {
  const std::string head = {'\x93', 6, 0, '\x91', '\x97', 1, '\xc3', '\xc0', 0, '\xa0', '\xa0'};
  const auto read = [&](const std::string& rows) {
    const std::string frame = head + rows;
    ProgramReader reader;
    reader.Append(std::string({0, 0, 0, static_cast<char>(frame.size())}) + frame);
    return std::get<TaskResult>(*reader.Next());
  };
  const TaskResult result = read(
      "\x91\x81\xa1"
      "a\x01");
  ASSERT_EQ(result.values.size(), 2u);
  EXPECT_EQ(result.values[1].second, Value(Json{R"([{"a":1}])"}));
  EXPECT_THROW(read("\x80"), Error);
  EXPECT_THROW(read("\xc0"), Error);
}

TEST(SlotMessagesTest, TasksAreToldInTheFormThatTheProgramSpeaks) {
  Program program;
  program.columns = {"a"};
  program.types = {ColumnType::kText};
  Task task;
  task.task = 3;
  task.attempt = MakeSerial(1, 3);
  task.values = {"x\"y"};
  const std::string line = EncodeTasks(SlotFormat::kJson, 1, program, {&task});
  EXPECT_EQ(line.back(), '\n');
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
  EXPECT_NE(line.find("x\\\"y"), std::string::npos) << line;
  const std::string frame = EncodeTasks(SlotFormat::kMessagePack, 1, program, {&task});
  EXPECT_NE(frame.find("x\"y"), std::string::npos);
}

}  // namespace
}  // namespace cq
