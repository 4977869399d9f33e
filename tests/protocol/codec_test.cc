#include "protocol/codec.h"

#include <gtest/gtest.h>

#include <limits>
#include <msgpack.hpp>

#include "protocol/limits.h"
#include "protocol/pieces.h"
#include "protocol/spans.h"

namespace cq {
namespace {

Hello FullHello() {
  Hello hello;
  hello.version = "0.1.0";
  hello.path = "/usr/bin/cq";
  hello.run = 77;
  hello.worker = {1, 2, 3, 255};
  hello.epoch = 3;
  hello.host = "n1";
  hello.pid = 4711;
  hello.allocation = "slurm 12_3";
  hello.slots = 8;
  hello.capacity = 80;
  hello.problem = "no such directory";
  hello.leaving = true;
  hello.held = {{77, 5, 6, HeldState::kRunning}, {77, 7, 8, HeldState::kFinished}};
  hello.extras = {{"later", int64_t{4}}};
  return hello;
}

TaskResult FullResult() {
  TaskResult result;
  result.task = 1'000'000'000;
  result.attempt = MakeSerial(2, 5);
  result.slot = 3;
  result.outcome = Outcome::kTimeout;
  result.started_us = 1;
  result.wall_us = 2;
  result.values = {{"nothing", std::monostate{}},
                   {"yes", true},
                   {"least", std::numeric_limits<int64_t>::min()},
                   {"tiny", std::numeric_limits<double>::denorm_min()},
                   {"text", std::string("\xff\0x", 3)},
                   {"list", Json{"[1,2]"}}};
  result.blob.Edit() = {"rds", std::string("\0\xff", 2)};
  result.details.Edit() = {-9,  "ended",          3, 4, 5, std::string("a\0b\xfe", 4),
                           "e", {{"later", true}}};
  return result;
}

ResultSpan FullSpan() {
  ResultSpan span{{5, 6, 2}, 1, 1'700'000'000'000'000, 9, {}};
  AppendAnswer(span.answers, 4, "a value");
  AppendAnswer(span.answers, 5, std::string("\0\xff", 2));
  return span;
}

TaskSpan FullTaskSpan() {
  TaskSpan span{{5, 6, 2}, {}};
  AppendPiece(span.rows, "a row");
  AppendPiece(span.rows, std::string("\0\xff", 2));
  return span;
}

std::vector<FromWorker> AllFromWorker() {
  return {FullHello(),
          Started{77, {{1, 2, 0}}},
          Results{77, {{3, 4, 1}}, {FullResult(), TaskResult{}}, {}, {FullSpan()}},
          Returned{77, {{1, 2, ReturnReason::kToldToGo, -15, "SIGTERM"}}},
          WorkerHeartbeat{9, 10, "full", "its program"},
          Leaving{"SIGTERM"},
          Goodbye{"drained"},
          Output{77, {{1, 2, "out", "err"}}},
          Request{77, RequestKind::kCopy, ""}};
}

std::vector<ToWorker> AllToWorker() {
  Rarely<TaskDetails> limited;
  limited.Edit() = {9, "too long", {}};
  RunText text{77,
               "/run",
               "/home",
               {{"A", "b"}},
               {{{"echo"}}, {{"x"}, {int64_t{-2}}}},
               Parse::kJson,
               4,
               "true",
               5000,
               1 << 20,
               true,
               60'000,
               7,
               1000,
               {{"Rscript", "m.R"}, "lib.so:f", true, {"a"}, {ColumnType::kNumber}, {{"k", "1"}}},
               {}};
  return {Refuse{"0.1.0", "/bin/cq", "no"},
          Who{},
          Welcome{10'000, 30'000, {}},
          text,
          Assign{77,
                 {{1, 2, 3, 4, {"a", ""}, "", {}},
                  {5, 6, 1, 8, {}, "g", limited},
                  {7, 8, 1, 0, {}, "", {}}},
                 {FullTaskSpan()}},
          Ack{77, {{1, 2}, {3, 4, 3}, {6, 8}}},
          Retract{77, {{1, 2}}},
          Cancel{77, {}},
          MasterHeartbeat{5},
          Drain{"interrupted"},
          Stop{"done"},
          Reply{false, true, "no"}};
}

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
