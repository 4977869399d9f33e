// The frames of sample_messages.h stand in PROTOCOL.md, so that no field moves unseen and a worker
// in another language has something to be tested with. With CQ_REWRITE=1 they are written anew.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "tests/protocol/sample_messages.h"

namespace cq {
namespace {

constexpr const char* kPage = CQ_SOURCE_DIR "/protocol/PROTOCOL.md";
constexpr std::string_view kBegin = "<!-- golden frames -->\n";
constexpr size_t kColumns = 96;
constexpr Envelope kEnvelope{MakeSerial(1, 2), 3};

// In the order of the variants of messages.h.
constexpr const char* kFromWorker[] = {"hello",   "started", "results", "returned", "heartbeat",
                                       "leaving", "goodbye", "output",  "request"};
constexpr const char* kToWorker[] = {"refuse",  "who",    "welcome",   "run",   "assign", "ack",
                                     "retract", "cancel", "heartbeat", "drain", "stop",   "reply"};
static_assert(std::size(kFromWorker) == std::variant_size_v<FromWorker>);
static_assert(std::size(kToWorker) == std::variant_size_v<ToWorker>);

std::string Hex(std::string_view frame) {
  std::string text;
  for (const char c : frame) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return text;
}

// Indented lines; JSON is broken behind commas, which may stand in a text, too.
std::string Lines(std::string_view text, bool at_commas) {
  std::string lines;
  while (!text.empty()) {
    size_t size = std::min(text.size(), kColumns);
    const size_t comma = text.substr(0, size).rfind(',');
    if (at_commas && size < text.size() && comma != text.npos) size = comma + 1;
    lines += fmt::format("    {}\n", text.substr(0, size));
    text.remove_prefix(size);
  }
  return lines;
}

std::string PageEntry(const char* name, const std::string& frame) {
  // Another decoder than ours says what is in it.
  const std::string json = nlohmann::json::from_msgpack(frame).dump(
      -1, ' ', false, nlohmann::json::error_handler_t::replace);
  return fmt::format("{}\n{}{}\n", name, Lines(json, true), Lines(Hex(frame), false));
}

std::string Frames() {
  std::string text = "```\n";
  for (const FromWorker& message : AllFromWorker()) {
    text += PageEntry(kFromWorker[message.index()], Encode(kEnvelope, message));
  }
  for (const ToWorker& message : AllToWorker()) {
    text += PageEntry(kToWorker[message.index()], Encode(kEnvelope, message));
  }
  text.back() = '`';
  return text + "``\n";
}

TEST(GoldenFramesTest, EveryMessageHasTheBytesOfThePage) {
  std::stringstream page;
  page << std::ifstream(kPage).rdbuf();
  const size_t at = page.str().find(kBegin);
  ASSERT_NE(at, std::string::npos);
  const std::string before = page.str().substr(0, at + kBegin.size());
  if (getenv("CQ_REWRITE") != nullptr) {
    std::ofstream(kPage) << before << Frames();
    return;
  }
  EXPECT_EQ(page.str().substr(before.size()), Frames())
      << kPage
      << ": a message has other bytes than the page says. If that is meant, it is a new "
         "version of the protocol; CQ_REWRITE=1 writes them anew";
}

TEST(GoldenFramesTest, ThereIsOneOfEachMessage) {
  std::set<size_t> from, to;
  for (const FromWorker& message : AllFromWorker()) from.insert(message.index());
  for (const ToWorker& message : AllToWorker()) to.insert(message.index());
  EXPECT_EQ(from.size(), std::variant_size_v<FromWorker>);
  EXPECT_EQ(to.size(), std::variant_size_v<ToWorker>);
}

}  // namespace
}  // namespace cq
