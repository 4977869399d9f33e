#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/messages.h"

// Spans of tasks and of results, and how they are taken apart.
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

/// Takes its first `count` off a span that has as many or more.
AttemptSpan CutFront(AttemptSpan& span, uint64_t count);
TaskSpan CutFront(TaskSpan& span, uint64_t count);
ResultSpan CutFront(ResultSpan& span, uint64_t count);

/// What the tasks of these answers took, in all.
uint64_t WallOf(std::string_view answers);

/// Each by itself.
std::vector<Task> TasksOf(const TaskSpan& span);
std::vector<TaskResult> ResultsOf(const ResultSpan& span);

/// Whether there are as many rows or answers as the span says, and its numbers are possible.
bool IsWhole(const TaskSpan& span);
bool IsWhole(const ResultSpan& span);

}  // namespace cq
