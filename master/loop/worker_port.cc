#include "master/loop/worker_port.h"

#include <fmt/format.h>

#include <utility>

#include "base/files.h"
#include "cq/version.h"
#include "protocol/codec.h"
#include "protocol/limits.h"

namespace cq {

std::optional<WorkerPort::Incoming> WorkerPort::Receive(int& frames) {
  while (frames-- > 0) {
    const auto incoming = transport_.Receive();
    if (!incoming) return std::nullopt;
    auto decoded = DecodeFromWorker(incoming->frame);
    if (auto* read = std::get_if<Decoded<FromWorker>>(&decoded)) {
      return Incoming{incoming->from, read->envelope, std::move(read->message)};
    }
    const auto& error = std::get<DecodeError>(decoded);
    if (error.other_version) {
      const std::string text = fmt::format(
          "the worker {} (cq {}) speaks protocol version {}, its master {} (cq {}) version {}: "
          "use the same cq on both sides",
          error.sender_path, error.sender_version, *error.other_version, OwnExecutable(), kVersion,
          kProtocolVersion);
      transport_.Send(incoming->from, 0, Refuse{kVersion, OwnExecutable(), text});
      observer_.Warning(text);
    } else {
      OnUnreadable(incoming->from, error.reason);
    }
  }
  return std::nullopt;
}

// It would be sent again for ever: whoever speaks another language has to go.
void WorkerPort::OnUnreadable(ConnectionId from, const std::string& reason) {
  constexpr uint64_t kPatience = 8;
  if (unreadable_++ == 0) {
    observer_.Warning(fmt::format("a worker's message was dropped: {}", reason));
  }
  if (++unreadable_of_[from] % kPatience != 0) return;
  const std::string text =
      fmt::format("{} messages of this worker could not be read: {}", kPatience, reason);
  transport_.Send(from, 0, Refuse{kVersion, OwnExecutable(), text});
  observer_.Warning(text);
}

bool WorkerPort::Send(cq::Send& send) {
  if (auto* refuse = std::get_if<Refuse>(&send.message)) {
    refuse->version = kVersion;
    refuse->path = OwnExecutable();
  }
  return transport_.Send(send.to, send.session, send.message);
}

}  // namespace cq
