#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "protocol/messages.h"

namespace cq {

/// Encodes one message as one frame (PROTOCOL.md, "Frames"). Thread-safe.
/// The sender keeps lists within kBatchMax and frames within kFrameBytesMax.
std::string Encode(Envelope envelope, const FromWorker& message);
std::string Encode(Envelope envelope, const ToWorker& message);

template <class Message>
struct Decoded {
  Envelope envelope;
  Message message;
};

/// Why a frame was not understood.
struct DecodeError {
  std::string reason;
  /// The frame's version, if it is another than ours and the frame is otherwise a frame.
  std::optional<uint64_t> other_version;
  /// Version and path of the sender of such a `hello`, as far as it has them.
  std::string sender_version;
  std::string sender_path;
};

/// Decodes bytes from outside; never throws for what they hold. Everything is copied out of
/// `frame`.
std::variant<Decoded<FromWorker>, DecodeError> DecodeFromWorker(std::string_view frame);
std::variant<Decoded<ToWorker>, DecodeError> DecodeToWorker(std::string_view frame);

}  // namespace cq
