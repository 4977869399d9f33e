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

std::string& PiecesOf(Task& tasks) { return tasks.rows; }
std::string& PiecesOf(TaskResult& results) { return results.answers; }

// What the first ones, whose pieces these are, have beside their numbers; the rest keeps its own.
void Part(Task&, Task& front, std::string_view pieces) { front.rows = pieces; }
void Part(TaskResult& whole, TaskResult& front, std::string_view pieces) {
  front.slot = whole.slot;
  front.started_us = whole.started_us;
  front.answers = pieces;
  front.wall_us = WallOf(pieces);
  whole.started_us += front.wall_us;
  whole.wall_us -= std::min(whole.wall_us, front.wall_us);
}

template <class T>
T Cut(T& whole, uint64_t count) {
  if (count == whole.count) return TakeAll(whole);
  T front;
  Numbers(front) = CutFront(Numbers(whole), count);
  const std::string_view pieces = FirstPieces(PiecesOf(whole), count);
  Part(whole, front, pieces);
  PiecesOf(whole).erase(0, pieces.size());
  return front;
}

template <class T>
std::vector<T> CutAll(T& whole) {
  std::vector<T> each(whole.count);
  if (whole.count == 1) {
    each[0] = std::move(whole);
    return each;
  }
  std::string_view left = PiecesOf(whole);
  for (T& one : each) {
    Numbers(one) = CutFront(Numbers(whole), 1);
    const std::string_view piece = FirstPieces(left, 1);
    Part(whole, one, piece);
    left.remove_prefix(piece.size());
  }
  return each;
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

Task CutFront(Task& tasks, uint64_t count) { return Cut(tasks, count); }
TaskResult CutFront(TaskResult& results, uint64_t count) { return Cut(results, count); }
std::vector<Task> Apart(Task whole) { return CutAll(whole); }
std::vector<TaskResult> Apart(TaskResult whole) { return CutAll(whole); }

uint64_t WallOf(std::string_view answers) {
  uint64_t wall_us = 0;
  for (Answer answer; TakeAnswer(answers, answer);) wall_us += answer.wall_us;
  return wall_us;
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
