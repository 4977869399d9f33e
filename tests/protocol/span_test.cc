// Spans: the table that keeps them, how they are cut, and what of them a frame may hold.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "protocol/codec.h"
#include "protocol/limits.h"
#include "protocol/pieces.h"
#include "protocol/span_table.h"
#include "protocol/spans.h"

namespace cq {
namespace {

struct Entry {
  uint64_t first = 0;
  uint64_t count = 1;
  int mark = 0;
  void CutFront(uint64_t n, Entry& front) {
    front.first = first;
    front.mark = mark;
    first += n;
  }
};

// Against a map of single keys: whatever is cut, every key keeps what its span had.
TEST(SpanTableTest, CutAnywhereEveryKeyIsWhereItWas) {
  std::mt19937_64 random(1);
  SpanTable<uint64_t, Entry> table;
  std::map<uint64_t, int> truth;
  uint64_t next = 1;
  for (int step = 0; step < 20'000; ++step) {
    const uint64_t key = 1 + random() % (next + 2);
    switch (random() % 5) {
      case 0: {
        const uint64_t count = 1 + random() % 8;
        const auto [entry, added] = table.Add(next, count);
        ASSERT_TRUE(added);
        entry.first = next;
        entry.mark = step;
        for (uint64_t i = 0; i < count; ++i) truth[next + i] = step;
        next += count + random() % 2;
        break;
      }
      case 1: {
        Entry* entry = table.Find(key);
        ASSERT_EQ(entry != nullptr, truth.contains(key)) << key;
        if (entry == nullptr) break;
        ASSERT_EQ(entry->first, key);
        ASSERT_EQ(entry->count, 1u);
        // Alone it has its own fate.
        entry->mark = -step;
        truth[key] = -step;
        break;
      }
      case 2: {
        const uint64_t count = 1 + random() % 5;
        const Entry* before = table.Containing(key);
        const bool whole = before != nullptr && key + count <= before->first + before->count;
        const Entry* entry = table.Isolate(key, count);
        ASSERT_EQ(entry != nullptr, whole);
        if (entry == nullptr) break;
        ASSERT_EQ(entry->first, key);
        ASSERT_EQ(entry->count, count);
        break;
      }
      case 3: {
        const Entry* entry = table.EndingAt(key);
        if (entry == nullptr) break;
        for (uint64_t i = 0; i < entry->count; ++i) truth.erase(entry->first + i);
        table.Erase(key);
        break;
      }
      default: {
        const Entry* entry = table.Containing(key);
        ASSERT_EQ(entry != nullptr, truth.contains(key)) << key;
        if (entry != nullptr) {
          ASSERT_EQ(entry->mark, truth[key]);
        }
      }
    }
    ASSERT_EQ(table.size(), truth.size());
  }
  uint64_t keys = 0;
  for (const uint64_t end : table.Ends()) {
    const Entry& entry = *table.EndingAt(end);
    ASSERT_EQ(entry.first + entry.count - 1, end);
    keys += entry.count;
  }
  EXPECT_EQ(keys, truth.size());
}

TEST(SpanTableTest, AKeyOfASpanIsNotAddedAgain) {
  SpanTable<uint64_t, Entry> table;
  table.Add(5, 3).first.first = 5;
  const auto [entry, added] = table.Add(6);
  EXPECT_FALSE(added);
  EXPECT_EQ(entry.first, 6u);
  EXPECT_EQ(table.size(), 3u);
}

TaskResult Answers(uint64_t count) {
  auto span = For<TaskResult>({10, MakeSerial(1, 7), count});
  span.slot = 3;
  span.started_us = 1000;
  for (uint64_t i = 0; i < count; ++i) {
    AppendAnswer(span.answers, i, "value " + std::to_string(10 + i));
    span.wall_us += i;
  }
  return span;
}

// Of one answer.
std::string ValueOf(const TaskResult& result) {
  std::string_view answers = result.answers;
  Answer answer;
  EXPECT_TRUE(TakeAnswer(answers, answer) && answers.empty());
  return std::string(answer.value);
}

std::string RowOf(const Task& task) {
  std::string_view rows = task.rows;
  std::string_view row;
  EXPECT_TRUE(TakePiece(rows, row) && rows.empty());
  return std::string(row);
}

TEST(SpanTest, PartsHaveTheTimesAndValuesOfTheWhole) {
  const auto whole = Apart(Answers(6));
  ASSERT_EQ(whole.size(), 6u);
  EXPECT_EQ(ValueOf(whole[5]), "value 15");
  EXPECT_EQ(whole[5].started_us, 1000u + 0 + 1 + 2 + 3 + 4);
  TaskResult rest = Answers(6);
  const TaskResult front = CutFront(rest, 4);
  EXPECT_EQ(front.wall_us + rest.wall_us, Answers(6).wall_us);
  auto parts = Apart(front);
  for (TaskResult& result : Apart(rest)) parts.push_back(std::move(result));
  EXPECT_EQ(parts, whole);
}

TEST(SpanTest, OneThatStandsAloneIsTakenWithAllThatItHas) {
  TaskResult result = For<TaskResult>({5, 6});
  result.values = {{"y", 1.5}};
  const TaskResult same = result;
  EXPECT_EQ(Apart(result), std::vector{same});
  EXPECT_EQ(CutFront(result, 1), same);
  EXPECT_EQ(result.count, 0u);
  Task task = For<Task>({5, 6});
  task.group = "g";
  EXPECT_EQ(CutFront(task, 1).group, "g");
  EXPECT_EQ(task.task, 6u);
}

TEST(SpanTest, ATaskMayTakeDays) {
  auto span = For<TaskResult>({1, 1, 2});
  AppendAnswer(span.answers, uint64_t{3} << 40, "value");
  EXPECT_EQ(Apart(span).at(0).wall_us, uint64_t{3} << 40);
  EXPECT_EQ(WallOf(span.answers), uint64_t{3} << 40);
}

TEST(SpanTest, TasksKnowTheirRows) {
  auto span = For<Task>({5, MakeSerial(1, 2), 3});
  for (const char* row : {"a", "", "c"}) AppendPiece(span.rows, row);
  EXPECT_EQ(RowOf(CutFront(span, 1)), "a");
  const auto rest = Apart(span);
  ASSERT_EQ(rest.size(), 2u);
  EXPECT_EQ(RowOf(rest[0]), "");
  EXPECT_EQ(rest[1].task, 7u);
  EXPECT_EQ(rest[1].attempt, MakeSerial(1, 4));
  EXPECT_EQ(RowOf(rest[1]), "c");
}

// What a broken peer may send: a frame is dropped, and nothing in it is used.
TEST(SpanTest, AFrameWithASpanThatIsNotWholeIsRefused) {
  const auto decodes = [](const TaskResult& span) {
    Results results;
    results.run = 1;
    results.results = {span};
    return std::holds_alternative<Decoded<FromWorker>>(DecodeFromWorker(Encode({1, 1}, results)));
  };
  EXPECT_TRUE(decodes(Answers(3)));
  const auto broken = [&](auto change) {
    TaskResult span = Answers(3);
    change(span);
    return !decodes(span);
  };
  EXPECT_TRUE(broken([](TaskResult& s) { s.count = 4; }));
  EXPECT_TRUE(broken([](TaskResult& s) { s.count = 2; }));
  EXPECT_TRUE(broken([](TaskResult& s) { s.count = 0; }));
  EXPECT_TRUE(broken([](TaskResult& s) { s.answers.pop_back(); }));
  EXPECT_TRUE(broken([](TaskResult& s) { s.answers += 'x'; }));
  EXPECT_TRUE(broken([](TaskResult& s) { s.task = 0; }));
  EXPECT_TRUE(broken([](TaskResult& s) { s.task = UINT64_MAX - 1; }));
  EXPECT_TRUE(broken([](TaskResult& s) { s.attempt = UINT64_MAX - 1; }));
  // A piece that is too short for its time.
  EXPECT_TRUE(broken([](TaskResult& s) {
    s = For<TaskResult>({1, 1});
    AppendPiece(s.answers, "abc");
  }));
  EXPECT_TRUE(broken([](TaskResult& s) { s = Answers(kBatchMax + 1); }));
}

TEST(SpanTest, AFrameNamesNoMoreTasksThanAWorkerMayHold) {
  Results results;
  results.run = 1;
  for (uint64_t i = 0; i < kHeldMax / kBatchMax; ++i) {
    results.results.push_back(Answers(kBatchMax));
  }
  const auto decodes = [&] {
    return std::holds_alternative<Decoded<FromWorker>>(DecodeFromWorker(Encode({1, 1}, results)));
  };
  EXPECT_TRUE(decodes());
  results.results.push_back(Answers(1));
  EXPECT_FALSE(decodes());
}

}  // namespace
}  // namespace cq
