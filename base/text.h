#pragma once

#include <cstddef>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

namespace cq {

/// Whether all of it is UTF-8.
bool IsUtf8(std::string_view text);

/// The same as UTF-8 that every reader of a CSV takes: each byte that is none, and NUL, becomes
/// U+FFFD.
std::string ValidText(std::string_view text);

/// The same for a terminal: without any control character but newline and tab. A carriage return
/// is a newline.
std::string PrintableText(std::string_view text);

/// The last lines of a text, without the blanks behind them.
std::string LastLines(std::string_view text, int lines);

/// What stands between the commas; nothing of an empty text.
std::vector<std::string> SplitCommas(const std::string& text);

/// All of them, with `between` between two.
template <class Texts>
std::string Joined(const Texts& texts, std::string_view between) {
  std::string joined;
  for (const std::string& text : texts) {
    if (&text != &*texts.begin()) joined += between;
    joined += text;
  }
  return joined;
}

/// Its beginning, of at most so many bytes, without a part of a character at the end.
std::string_view CutText(std::string_view text, size_t bytes);

/// Writes it to a standard stream. That nobody can read it there is no reason to end.
void Say(std::FILE* stream, std::string_view text);

/// Tells an error on standard error, in one line or more.
void SayError(std::string_view what);

}  // namespace cq
