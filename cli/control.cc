#include "cli/control.h"

#include <fmt/format.h>

#include <chrono>

#include "cq/error.h"
#include "protocol/codec.h"
#include "protocol/connection_file.h"
#include "worker/link.h"

namespace cq {

std::string AskMaster(const std::string& run_dir, RequestKind kind, const std::string& text) {
  using Clock = std::chrono::steady_clock;
  const ConnectionFile file = ReadConnectionFile(run_dir + "/connect.json");
  Link link;
  link.Connect(file);
  link.Send({}, Encode({}, FromWorker(Request{file.run, kind, text})));
  std::string answer;
  auto deadline = Clock::now() + std::chrono::seconds(10);
  while (Clock::now() < deadline) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    link.Wait({}, left);
    while (const auto incoming = link.Receive()) {
      const auto decoded = DecodeToWorker(incoming->frame);
      const auto* message = std::get_if<Decoded<ToWorker>>(&decoded);
      if (message == nullptr) continue;
      if (const auto* refuse = std::get_if<Refuse>(&message->message)) throw Error(refuse->text);
      const auto* reply = std::get_if<Reply>(&message->message);
      if (reply == nullptr) continue;
      if (!reply->ok) throw Error(reply->text);
      answer += reply->text;
      if (!reply->more) return answer;
      deadline = Clock::now() + std::chrono::seconds(10);
    }
  }
  throw Error(fmt::format("the master of '{}' does not answer at {}", run_dir,
                          fmt::join(file.endpoints, ", ")));
}

}  // namespace cq
