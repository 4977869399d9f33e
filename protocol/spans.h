#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/messages.h"

// Tasks and results that go together as spans, and how they are taken apart.
namespace cq {

/// A row as its program takes it, or of texts (PROTOCOL.md), stands in `rows`, a result's time and
/// value in `answers`, each as a piece (protocol/pieces.h).
void AppendAnswer(std::string& answers, uint64_t wall_us, std::string_view value);

struct Answer {
  uint64_t wall_us = 0;
  /// Packed by its program, or by its slot for one that speaks JSON.
  std::string_view value;
};
/// Takes the first one. False if there is none, or a part of one.
bool TakeAnswer(std::string_view& answers, Answer& answer);

/// A task, a result or the like of these attempts, and with nothing else yet.
template <class T>
T For(const AttemptSpan& attempts) {
  T made;
  static_cast<AttemptSpan&>(made) = attempts;
  return made;
}

/// What the tasks of these answers took, in all.
uint64_t WallOf(std::string_view answers);

/// Takes the first `count` off what has more, or as many.
AttemptSpan CutFront(AttemptSpan& span, uint64_t count);
Task CutFront(Task& tasks, uint64_t count);
TaskResult CutFront(TaskResult& results, uint64_t count);

/// Each by itself.
std::vector<Task> Apart(Task whole);
std::vector<TaskResult> Apart(TaskResult whole);

/// Of a span: whether there are as many rows or answers as it says, and its numbers are possible.
bool IsWhole(const Task& tasks);
bool IsWhole(const TaskResult& results);

}  // namespace cq
