#pragma once

#include "protocol/messages.h"

namespace cq::sim {

inline const char* NameOf(const FromWorker& message) {
  constexpr const char* kNames[] = {"hello",   "started", "results", "returned", "heartbeat",
                                    "leaving", "goodbye", "output",  "request"};
  return kNames[message.index()];
}

inline const char* NameOf(const ToWorker& message) {
  constexpr const char* kNames[] = {"refuse",  "who",    "welcome",   "run",   "assign", "ack",
                                    "retract", "cancel", "heartbeat", "drain", "stop",   "reply"};
  return kNames[message.index()];
}

}  // namespace cq::sim
