// What a C++ program answers: together, but not late.
#include "worker/slots/answer_writer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/files.h"
#include "protocol/spans.h"

namespace cq {
namespace {

using Clock = AnswerWriter::Clock;

class AnswerWriterTest : public ::testing::Test {
 protected:
  // Blocks until there is one.
  FromProgram Next() {
    for (;;) {
      if (auto message = reader_.Next()) return std::move(*message);
      char bytes[4096];
      const ssize_t n = read(pipe_.read.get(), bytes, sizeof bytes);
      EXPECT_GT(n, 0);
      reader_.Append({bytes, static_cast<size_t>(std::max<ssize_t>(n, 0))});
    }
  }
  TaskResult NextResult() { return std::get<TaskResult>(Next()); }

  static std::string Number(double value) {
    msgpack::sbuffer buffer;
    msgpack::packer<msgpack::sbuffer>(buffer).pack_double(value);
    return {buffer.data(), buffer.size()};
  }

  Pipe pipe_ = MakePipe();
  AnswerWriter writer_{pipe_.write.get()};
  ProgramReader reader_;
};

TEST_F(AnswerWriterTest, ValuesOfABatchTravelTogether) {
  AnswerWriter patient(pipe_.write.get(), std::chrono::hours(1));
  patient.BeginBatch(3, true, Clock::now());
  for (uint64_t task = 10; task < 15; ++task) {
    patient.Value(task, 7, Number(1.5), Clock::now());
  }
  patient.EndBatch();
  const TaskResult all = NextResult();
  EXPECT_EQ(all.task, 10u);
  EXPECT_EQ(all.count, 5u);
  EXPECT_EQ(all.wall_us, 5 * 7u);
  EXPECT_EQ(Apart(all).size(), 5u);
}

TEST_F(AnswerWriterTest, OtherAnswersKeepTheirPlaceAmongThem) {
  const auto now = Clock::now();
  const auto error = [](auto& packer) {
    PackText(packer, "no");
    packer.pack_uint64(1);
    PackText(packer, "");
    PackText(packer, "");
  };
  writer_.BeginBatch(3, true, now);
  writer_.Value(1, 7, Number(1.5), now);
  writer_.Answer(2, false, now, error);
  writer_.Answer(3, false, now, error);
  writer_.Value(4, 7, Number(1.5), now);
  // Not the next one.
  writer_.Value(6, 7, Number(1.5), now);
  writer_.EndBatch();
  std::vector<TaskId> tasks;
  while (tasks.size() < 5) {
    const TaskResult result = NextResult();
    EXPECT_EQ(result.outcome,
              result.task == 2 || result.task == 3 ? Outcome::kError : Outcome::kOk);
    for (uint64_t i = 0; i < result.count; ++i) tasks.push_back(result.task + i);
  }
  EXPECT_EQ(tasks, (std::vector<TaskId>{1, 2, 3, 4, 6}));
}

// The next task takes for ever: what was answered before it is sent all the same.
TEST_F(AnswerWriterTest, NoAnswerWaitsForTheNextTask) {
  writer_.BeginBatch(3, true, Clock::now());
  writer_.Value(1, 7, Number(1.5), Clock::now());
  EXPECT_EQ(NextResult().task, 1u);
  writer_.EndBatch();
  // And again once the thread that saw to it has gone to sleep.
  writer_.BeginBatch(4, true, Clock::now());
  writer_.Value(2, 7, Number(1.5), Clock::now());
  EXPECT_EQ(NextResult().task, 2u);
  writer_.EndBatch();
}

TEST_F(AnswerWriterTest, OneTaskIsAnsweredAtTheEndOfItsBatch) {
  writer_.BeginBatch(3, false, Clock::now());
  writer_.Value(1, 7, Number(1.5), Clock::now());
  writer_.EndBatch();
  EXPECT_EQ(NextResult().count, 1u);
  writer_.Say(SlotType::kReady, 9, 0, [](auto&) {});
  EXPECT_TRUE(std::holds_alternative<SlotReady>(Next()));
}

}  // namespace
}  // namespace cq
