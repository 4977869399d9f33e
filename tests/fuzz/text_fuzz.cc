// libFuzzer: templates and commands of any text are filled or refused with a message.
#include <cstdlib>
#include <string>
#include <vector>

#include "base/quantities.h"
#include "cq/error.h"
#include "protocol/command.h"
#include "schedulers/template.h"

namespace {

void Template(const std::string& text) {
  try {
    const auto filled =
        cq::FillTemplate(text, "fuzz", {{"a", "1"}, {"b", ""}}, {"a", "b"}, {}, "#SBATCH");
    // Where there is no key, nothing changes but a last line that is not ended.
    const std::string whole = text.empty() || text.ends_with('\n') ? text : text + "\n";
    if (text.find("{{") == std::string::npos && filled != whole) std::abort();
  } catch (const cq::UsageError&) {
  }
}

void Command(const std::string& text, bool shell) {
  std::vector<std::string> words;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = shell ? text.size() : std::min(text.find('\n', begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  try {
    const auto command = cq::CompileCommand(words, {"x", "y"}, {{"k", "{x}"}}, shell);
    const std::vector<std::string> values(command.columns.size(), "{y}'\n");
    const auto rendered = cq::RenderCommand(command.arguments, values, 7);
    const auto* arguments = std::get_if<std::vector<std::string>>(&rendered);
    if (arguments == nullptr) return;
    // Without braces there is nothing to replace.
    if (!shell && text.find('{') == std::string::npos && *arguments != words) std::abort();
  } catch (const cq::UsageError&) {
  }
}

void Quantity(const std::string& text) {
  try {
    if (cq::ParseDuration(text, "x").count() < 0) std::abort();
  } catch (const cq::UsageError&) {
  }
  try {
    cq::ParseSize(text, "x");
  } catch (const cq::UsageError&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      Template(text);
      break;
    case 1:
      Command(text, false);
      break;
    case 2:
      Command(text, true);
      break;
    default:
      Quantity(text);
  }
  return 0;
}
