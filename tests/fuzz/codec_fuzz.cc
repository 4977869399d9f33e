// libFuzzer: whatever bytes arrive, decoding returns a value, and what it accepts encodes and
// decodes to the same again.
#include <cstdlib>

#include "protocol/codec.h"

namespace {

template <class Decoded>
void Check(const Decoded& decoded, Decoded (*decode)(std::string_view)) {
  const auto* good = std::get_if<0>(&decoded);
  if (good == nullptr) return;
  const auto frame = cq::Encode(good->envelope, good->message);
  const auto again = decode(frame);
  // Compared as bytes: a NaN is not equal to itself.
  if (cq::Encode(std::get<0>(again).envelope, std::get<0>(again).message) != frame) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view frame(reinterpret_cast<const char*>(data), size);
  Check(cq::DecodeFromWorker(frame), cq::DecodeFromWorker);
  Check(cq::DecodeToWorker(frame), cq::DecodeToWorker);
  return 0;
}
