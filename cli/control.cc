#include "cli/control.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <chrono>

#include "base/text.h"
#include "cq/error.h"
#include "master/journal/recovery.h"
#include "master/run/run_directory.h"
#include "protocol/codec.h"
#include "protocol/connection_file.h"
#include "protocol/pool_channel.h"
#include "worker/link.h"

namespace cq {

std::string AskMaster(const std::string& run_dir, RequestKind kind, const std::string& text) {
  using Clock = std::chrono::steady_clock;
  const ConnectionFile file = ReadConnectionFile(run_dir + "/connect.json");
  Link link;
  link.Connect(file, false);
  link.Send({}, Encode({}, FromWorker(Request{file.run, kind, text})));
  std::string answer;
  // A large journal takes a while to copy.
  const auto patience = std::chrono::seconds(kind == RequestKind::kCopy ? 300 : 10);
  auto deadline = Clock::now() + patience;
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
      deadline = Clock::now() + patience;
    }
  }
  throw Error(fmt::format("the master of '{}' does not answer at {}", run_dir,
                          Joined(file.endpoints, ", ")));
}

std::optional<OrderedJson> AskPool(const PoolFile& pool, const OrderedJson& question) {
  auto channel = ConnectToPool(pool.socket);
  if (!channel) return std::nullopt;
  channel->Send(question);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!channel->broken() && std::chrono::steady_clock::now() < deadline) {
    pollfd readable{channel->fd(), POLLIN, 0};
    poll(&readable, 1, 1000);
    while (auto message = channel->Receive()) {
      if ((*message)["say"] == question["say"]) return message;
    }
  }
  return std::nullopt;
}

Database OpenToRead(const std::string& run_dir, bool tell_loss) {
  if (tell_loss && !HeldByMaster(run_dir)) {
    const std::string loss = LossOfLog(run_dir);
    if (!loss.empty()) Say(stderr, PrintableText("cq: " + loss + "\n"));
  }
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  for (;;) {
    try {
      Database journal(run_dir + "/journal.db", Database::Mode::kRead);
      RequireRun(journal, run_dir + "/journal.db");
      return journal;
    } catch (const DatabaseBusy&) {
      if (std::chrono::steady_clock::now() > deadline) throw;
    }
    if (!HeldByMaster(run_dir)) continue;
    try {
      const std::string copy = AskMaster(run_dir, RequestKind::kCopy);
      Database journal(copy, Database::Mode::kImmutable);
      unlink(copy.c_str());
      return journal;
    } catch (const Error&) {
      // A master that ended meanwhile has left the journal to us.
      if (HeldByMaster(run_dir)) throw;
    }
  }
}

}  // namespace cq
