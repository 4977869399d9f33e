// What a program says in a slot: any bytes give messages, or an Error that says what is wrong.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "cq/error.h"
#include "worker/slots/slot_messages.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  // At once, and in two pieces.
  for (const size_t cut : {size, size / 2}) {
    cq::ProgramReader reader;
    try {
      for (const std::string_view piece : {bytes.substr(0, cut), bytes.substr(cut)}) {
        reader.Append(piece);
        while (reader.Next()) {
        }
      }
    } catch (const cq::Error&) {
    }
  }
  return 0;
}
