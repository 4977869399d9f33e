#pragma once

#include <map>
#include <string>
#include <variant>
#include <vector>

#include "protocol/messages.h"

// A command with placeholders: compiled once by the master, rendered for each task by a worker.
namespace cq {

/// The numbers that stand for a value in a CommandPart (PROTOCOL.md, `run`).
inline constexpr int64_t kTaskNumberPart = -1;
constexpr int64_t QuotedPart(int64_t value) { return -2 - value; }

/// A command as compiled: the parts that workers get, and which columns of the input they need.
struct CompiledCommand {
  std::vector<CommandArgument> arguments;
  /// Value k of a task is column `columns[k]` of the input.
  std::vector<size_t> columns;
};

/// Replaces the placeholders of each argument: `{NAME}` is a column, a constant (`constants`,
/// filled in here) or
/// `{#}`, the task's number; `{{NAME}}` gives `{NAME}`; other braces are literal. `shell`:
/// `arguments` is one text for `/bin/sh -c`, and values go in single-quoted. Throws UsageError for
/// a name that is neither, listing the columns.
CompiledCommand CompileCommand(const std::vector<std::string>& arguments,
                               const std::vector<std::string>& columns,
                               const std::map<std::string, std::string>& constants, bool shell);

/// The argument list of one task, or why it cannot be one (a NUL byte, an argument over
/// kFieldBytesMax).
std::variant<std::vector<std::string>, std::string> RenderCommand(
    const std::vector<CommandArgument>& command, const std::vector<std::string>& values,
    TaskId task);

/// `text` in single quotes for a POSIX shell.
std::string ShellQuote(std::string_view text);

/// Splits text into words as a POSIX shell does that expands nothing: quotes, double quotes and
/// backslashes. Throws UsageError for a quote that is not closed.
std::vector<std::string> SplitWords(std::string_view text);

}  // namespace cq
