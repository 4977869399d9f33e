#include "protocol/spans.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "protocol/limits.h"
#include "protocol/pieces.h"

namespace cq {
namespace {

std::string TakePieces(std::string& pieces, uint64_t count) {
  std::string_view left = pieces;
  std::string_view piece;
  while (count-- > 0) TakePiece(left, piece);
  const size_t size = pieces.size() - left.size();
  std::string front = pieces.substr(0, size);
  pieces.erase(0, size);
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

TaskSpan CutFront(TaskSpan& span, uint64_t count) {
  return {CutFront(span.span, count), TakePieces(span.rows, count)};
}

ResultSpan CutFront(ResultSpan& span, uint64_t count) {
  ResultSpan front{CutFront(span.span, count), span.slot, span.started_us, 0,
                   TakePieces(span.answers, count)};
  front.wall_us = WallOf(front.answers);
  span.started_us += front.wall_us;
  span.wall_us -= std::min(span.wall_us, front.wall_us);
  return front;
}

uint64_t WallOf(std::string_view answers) {
  uint64_t wall_us = 0;
  for (Answer answer; TakeAnswer(answers, answer);) wall_us += answer.wall_us;
  return wall_us;
}

std::vector<Task> TasksOf(const TaskSpan& span) {
  std::vector<Task> tasks(span.span.count);
  std::string_view rows = span.rows;
  for (uint64_t i = 0; i < span.span.count; ++i) {
    std::string_view row;
    TakePiece(rows, row);
    tasks[i].task = span.span.task + i;
    tasks[i].attempt = span.span.attempt + i;
    tasks[i].packed = row;
  }
  return tasks;
}

std::vector<TaskResult> ResultsOf(const ResultSpan& span) {
  std::vector<TaskResult> results(span.span.count);
  std::string_view answers = span.answers;
  uint64_t started_us = span.started_us;
  for (uint64_t i = 0; i < span.span.count; ++i) {
    Answer answer;
    TakeAnswer(answers, answer);
    TaskResult& result = results[i];
    result.task = span.span.task + i;
    result.attempt = span.span.attempt + i;
    result.slot = span.slot;
    result.started_us = started_us;
    result.wall_us = answer.wall_us;
    result.packed = answer.value;
    started_us += answer.wall_us;
  }
  return results;
}

bool IsWhole(const TaskSpan& span) {
  std::string_view rows = span.rows;
  std::string_view row;
  uint64_t count = 0;
  while (TakePiece(rows, row)) ++count;
  return IsPossible(span.span) && count == span.span.count && rows.empty();
}

bool IsWhole(const ResultSpan& span) {
  std::string_view answers = span.answers;
  Answer answer;
  uint64_t count = 0;
  while (TakeAnswer(answers, answer) && answer.value.size() <= kAnswerBytesMax) ++count;
  return IsPossible(span.span) && count == span.span.count && answers.empty();
}

}  // namespace cq
