#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "master/core/asker.h"
#include "protocol/messages.h"
#include "protocol/pushed_rows.h"

// What a run and its proposer say to each other, JSON lines (PROPOSER_PROTOCOL.md).
namespace cq {

inline constexpr uint64_t kProposerProtocol = 1;

/// What it is told at first.
struct ProposerStart {
  Asker::Kind kind = Asker::Kind::kIsTold;
  std::vector<std::pair<std::string, std::string>> constants;
  uint64_t seed = 0;
};
std::string StartLine(const ProposerStart& start, const RowForm& form);

/// A row with its task, as it stands in a list.
void AppendRow(std::string& list, TaskId task, const std::vector<std::string>& fields,
               const RowForm& form);
/// The same of one that has ended; `returned` as the journal keeps it.
void AppendEnding(std::string& list, TaskId task, Outcome outcome,
                  const std::vector<std::string>& fields, std::string_view returned,
                  const RowForm& form);

/// What it is told, and asked.
struct Telling {
  /// What has ended since the last time, as AppendEnding makes it, and how many; the last of them.
  std::string endings;
  uint64_t count = 0;
  TaskId last = 0;
  /// It has answered these before, and its answer is kept.
  bool known = false;
  /// Rows that wait or run, at a start.
  std::string waiting;
  /// How many rows are wanted now.
  uint64_t wanted = 0;
};
std::string TellLine(uint64_t id, const Telling& telling);

/// What it answers.
struct ProposerAnswer {
  uint64_t id = 0;
  std::vector<PushedRow> rows;
  /// Of each row the task whose ending led to it; 0: none in particular.
  std::vector<TaskId> parents;
  bool done = false;
  /// Why it cannot be gone on with; the rest means nothing then. `ended`: it has ended by itself,
  /// and well.
  std::string problem = {};
  bool ended = false;
};
ProposerAnswer ReadAnswer(std::string_view line, const RowForm& form);

/// Whether the line says that it is ready; and if it cannot work on this run, why.
bool IsReady(std::string_view line, std::string& refusal);

}  // namespace cq
