#include "protocol/codec.h"

#include <gtest/gtest.h>

#include <msgpack.hpp>

#include "tests/protocol/sample_messages.h"

namespace cq {
namespace {

TEST(CodecTest, EveryMessageOfAWorkerComesBackAsItWas) {
  for (const FromWorker& message : AllFromWorker()) {
    const Envelope envelope{MakeSerial(1, 2), 3};
    const auto decoded = DecodeFromWorker(Encode(envelope, message));
    ASSERT_TRUE(std::holds_alternative<Decoded<FromWorker>>(decoded)) << message.index();
    EXPECT_EQ(std::get<Decoded<FromWorker>>(decoded).envelope, envelope);
    EXPECT_EQ(std::get<Decoded<FromWorker>>(decoded).message, message) << message.index();
  }
}

TEST(CodecTest, EveryMessageOfAMasterComesBackAsItWas) {
  for (const ToWorker& message : AllToWorker()) {
    const auto decoded = DecodeToWorker(Encode({1, 2}, message));
    ASSERT_TRUE(std::holds_alternative<Decoded<ToWorker>>(decoded)) << message.index();
    EXPECT_EQ(std::get<Decoded<ToWorker>>(decoded).message, message) << message.index();
  }
}

TEST(CodecTest, EveryPrefixOfAFrameIsRefusedAndNeverRead) {
  for (const FromWorker& message : AllFromWorker()) {
    const std::string frame = Encode({1, 2}, message);
    for (size_t size = 0; size < frame.size(); ++size) {
      EXPECT_TRUE(std::holds_alternative<DecodeError>(DecodeFromWorker(frame.substr(0, size))));
    }
    EXPECT_TRUE(std::holds_alternative<DecodeError>(DecodeFromWorker(frame + "x")));
  }
}

TEST(CodecTest, EveryFlippedByteIsDecodedOrRefusedWithoutHarm) {
  for (const FromWorker& message : AllFromWorker()) {
    const std::string frame = Encode({1, 2}, message);
    for (size_t at = 0; at < frame.size(); ++at) {
      for (const char flip : {'\x01', '\x80', '\xff'}) {
        std::string broken = frame;
        broken[at] = static_cast<char>(broken[at] ^ flip);
        const auto decoded = DecodeFromWorker(broken);
        // What still decodes must also encode: no value out of its range got in.
        if (const auto* good = std::get_if<Decoded<FromWorker>>(&decoded)) {
          EXPECT_FALSE(Encode(good->envelope, good->message).empty());
        }
      }
    }
  }
}

std::string HelloOfVersion(uint64_t version) {
  msgpack::sbuffer buffer;
  msgpack::packer<msgpack::sbuffer> p(buffer);
  p.pack_array(7).pack(version).pack(1).pack(0).pack(0).pack("9.9").pack("/opt/cq").pack("new");
  return {buffer.data(), buffer.size()};
}

TEST(CodecTest, AHelloOfAnotherVersionTellsVersionAndPath) {
  const auto decoded = DecodeFromWorker(HelloOfVersion(2));
  const auto& error = std::get<DecodeError>(decoded);
  EXPECT_EQ(error.other_version, 2u);
  EXPECT_EQ(error.sender_version, "9.9");
  EXPECT_EQ(error.sender_path, "/opt/cq");
}

TEST(CodecTest, RefuseIsReadWhateverItsVersion) {
  std::string frame = Encode({0, 0}, ToWorker(Refuse{"0.2.0", "/p", "use the same cq"}));
  frame[1] = 2;  // the version
  const auto decoded = DecodeToWorker(frame);
  ASSERT_TRUE(std::holds_alternative<Decoded<ToWorker>>(decoded));
  EXPECT_EQ(std::get<Refuse>(std::get<Decoded<ToWorker>>(decoded).message).text, "use the same cq");
}

TEST(CodecTest, DeepNestingIsRefused) {
  std::string frame(100, '\x91');  // arrays of one array
  frame += '\xc0';
  EXPECT_TRUE(std::holds_alternative<DecodeError>(DecodeFromWorker(frame)));
}

TEST(CodecTest, AnArrayThatClaimsMillionsOfEntriesCostsNothing) {
  const std::string frame("\xdd\xff\xff\xff\xff\x01", 6);
  EXPECT_TRUE(std::holds_alternative<DecodeError>(DecodeFromWorker(frame)));
}

}  // namespace
}  // namespace cq
