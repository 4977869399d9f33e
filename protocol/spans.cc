#include "protocol/spans.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "protocol/limits.h"
#include "protocol/pieces.h"

namespace cq {
namespace {

// Their numbers alone.
AttemptSpan& Numbers(AttemptSpan& span) { return span; }

// All of it, of which nothing stays.
template <class T>
T TakeAll(T& whole) {
  T all = std::exchange(whole, {});
  Numbers(whole) = {all.task + all.count, all.attempt + all.count, 0};
  return all;
}

std::string_view FirstPieces(std::string_view pieces, uint64_t count) {
  std::string_view left = pieces;
  std::string_view piece;
  while (count-- > 0) TakePiece(left, piece);
  return pieces.substr(0, pieces.size() - left.size());
}

std::string TakePieces(std::string& pieces, uint64_t count) {
  std::string front(FirstPieces(pieces, count));
  pieces.erase(0, front.size());
  return front;
}

bool IsPossible(const AttemptSpan& span) {
  return span.task >= 1 && span.count >= 1 && span.count <= kBatchMax &&
         span.task <= UINT64_MAX - span.count && span.attempt <= UINT64_MAX - span.count;
}

}  // namespace

bool TakeAnswer(std::string_view& answers, Answer& answer) {
  std::string_view piece;
  if (!TakePiece(answers, piece) || piece.size() < sizeof answer.wall_us) return false;
  std::memcpy(&answer.wall_us, piece.data(), sizeof answer.wall_us);
  answer.value = piece.substr(sizeof answer.wall_us);
  return true;
}

void AppendAnswer(std::string& answers, uint64_t wall_us, std::string_view value) {
  const auto size = static_cast<uint32_t>(sizeof wall_us + value.size());
  answers.append(reinterpret_cast<const char*>(&size), sizeof size);
  answers.append(reinterpret_cast<const char*>(&wall_us), sizeof wall_us);
  answers += value;
}

AttemptSpan CutFront(AttemptSpan& span, uint64_t count) {
  const AttemptSpan front{span.task, span.attempt, count};
  span.task += count;
  span.attempt += count;
  span.count -= count;
  return front;
}

Task CutFront(Task& tasks, uint64_t count) {
  if (count == tasks.count) return TakeAll(tasks);
  Task front;
  Numbers(front) = CutFront(Numbers(tasks), count);
  front.rows = TakePieces(tasks.rows, count);
  return front;
}

TaskResult CutFront(TaskResult& results, uint64_t count) {
  if (count == results.count) return TakeAll(results);
  TaskResult front;
  Numbers(front) = CutFront(Numbers(results), count);
  front.slot = results.slot;
  front.started_us = results.started_us;
  front.answers = TakePieces(results.answers, count);
  front.wall_us = WallOf(front.answers);
  results.started_us += front.wall_us;
  results.wall_us -= std::min(results.wall_us, front.wall_us);
  return front;
}

uint64_t WallOf(std::string_view answers) {
  uint64_t wall_us = 0;
  for (Answer answer; TakeAnswer(answers, answer);) wall_us += answer.wall_us;
  return wall_us;
}

std::vector<Task> Apart(Task whole) {
  std::vector<Task> each(whole.count);
  if (whole.count == 1) {
    each[0] = std::move(whole);
    return each;
  }
  std::string_view rows = whole.rows;
  for (Task& task : each) {
    Numbers(task) = CutFront(Numbers(whole), 1);
    task.rows = FirstPieces(rows, 1);
    rows.remove_prefix(task.rows.size());
  }
  return each;
}

std::vector<TaskResult> Apart(TaskResult whole) {
  std::vector<TaskResult> each(whole.count);
  if (whole.count == 1) {
    each[0] = std::move(whole);
    return each;
  }
  std::string_view answers = whole.answers;
  for (TaskResult& result : each) {
    Numbers(result) = CutFront(Numbers(whole), 1);
    result.answers = FirstPieces(answers, 1);
    answers.remove_prefix(result.answers.size());
    result.slot = whole.slot;
    result.started_us = whole.started_us;
    result.wall_us = WallOf(result.answers);
    whole.started_us += result.wall_us;
  }
  return each;
}

bool IsWhole(const Task& tasks) {
  std::string_view rows = tasks.rows;
  std::string_view row;
  uint64_t count = 0;
  while (TakePiece(rows, row)) ++count;
  return IsPossible(tasks) && count == tasks.count && rows.empty();
}

bool IsWhole(const TaskResult& results) {
  std::string_view answers = results.answers;
  Answer answer;
  uint64_t count = 0;
  while (TakeAnswer(answers, answer) && answer.value.size() <= kAnswerBytesMax) ++count;
  return IsPossible(results) && count == results.count && answers.empty();
}

}  // namespace cq
