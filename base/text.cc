#include "base/text.h"

#include <utf8.h>

#include <algorithm>
#include <iterator>

namespace cq {
namespace {
constexpr std::string_view kReplacement = "\xef\xbf\xbd";
}  // namespace

bool IsUtf8(std::string_view text) {
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) { return (c & 0x80) == 0; });
  return plain || utf8::is_valid(text.begin(), text.end());
}

std::string ValidText(std::string_view text) {
  std::string valid;
  if (IsUtf8(text)) {
    valid = text;
  } else {
    utf8::replace_invalid(text.begin(), text.end(), std::back_inserter(valid), 0xfffd);
  }
  for (size_t at = 0; (at = valid.find('\0', at)) != std::string::npos; at += kReplacement.size()) {
    valid.replace(at, 1, kReplacement);
  }
  return valid;
}

std::string LastLines(std::string_view text, int lines) {
  text = text.substr(0, text.find_last_not_of(" \n\r\t") + 1);
  size_t begin = text.size();
  while (begin != 0 && begin != std::string_view::npos && lines-- > 0) {
    begin = text.rfind('\n', begin - 1);
  }
  return std::string(begin == std::string_view::npos || begin == 0 ? text : text.substr(begin + 1));
}

std::string PrintableText(std::string_view text) {
  const std::string valid = ValidText(text);
  std::string printable;
  printable.reserve(valid.size());
  for (size_t i = 0; i < valid.size(); ++i) {
    const auto byte = static_cast<unsigned char>(valid[i]);
    const bool more = i + 1 < valid.size();
    if (byte == '\r') {
      if (!more || valid[i + 1] != '\n') printable += '\n';
    } else if (byte == 0xc2 && more && static_cast<unsigned char>(valid[i + 1]) < 0xa0) {
      // The controls above ASCII, U+0080 to U+009F.
      printable += kReplacement;
      ++i;
    } else if ((byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f) {
      printable += kReplacement;
    } else {
      printable += valid[i];
    }
  }
  return printable;
}

std::string_view CutText(std::string_view text, size_t bytes) {
  if (text.size() <= bytes) return text;
  size_t end = bytes;
  // A character has four bytes at most; what has more of these is no UTF-8.
  for (int i = 0; i < 3 && end > 0 && (text[end] & 0xc0) == 0x80; ++i) --end;
  return text.substr(0, (text[end] & 0xc0) == 0x80 ? bytes : end);
}

void Say(std::FILE* stream, std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stream);
  std::fflush(stream);
}

void SayError(std::string_view what) { Say(stderr, "cq: error: " + PrintableText(what) + "\n"); }

std::vector<std::string> SplitCommas(const std::string& text) {
  std::vector<std::string> words;
  for (size_t begin = 0; !text.empty() && begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

}  // namespace cq
