#pragma once

#include "protocol/messages.h"

namespace cq::sim {

inline const char* NameOf(const FromWorker& message) {
  constexpr const char* kNames[] = {"hello",   "started", "results", "returned", "heartbeat",
                                    "leaving", "goodbye", "output",  "request"};
  static_assert(std::size(kNames) == std::variant_size_v<FromWorker>);
  return kNames[message.index()];
}

inline const char* NameOf(const ToWorker& message) {
  constexpr const char* kNames[] = {"refuse",  "who",    "welcome",   "run",   "assign", "ack",
                                    "retract", "cancel", "heartbeat", "drain", "stop",   "reply"};
  static_assert(std::size(kNames) == std::variant_size_v<ToWorker>);
  return kNames[message.index()];
}

}  // namespace cq::sim
