#pragma once

#include <chrono>
#include <cstdint>
#include <msgpack.hpp>
#include <string>
#include <string_view>
#include <thread>

#include "base/mutex.h"
#include "worker/slots/slot_messages.h"

namespace cq {

/// What a C++ program says to its slot (SLOT_PROTOCOL.md): messages, and the answers to its tasks.
/// These are gathered, but none is kept for long, whatever the next task does: a thread sees to it.
/// Ends the process if nobody listens.
class AnswerWriter {
 public:
  using Clock = std::chrono::steady_clock;
  using Packer = msgpack::packer<msgpack::sbuffer>;

  /// Answers are sent once `flush_every` has passed since the last ones, or the batch is done.
  explicit AnswerWriter(int out, Clock::duration flush_every = std::chrono::milliseconds(5))
      : out_(out), flush_every_(flush_every) {}
  ~AnswerWriter();
  AnswerWriter(const AnswerWriter&) = delete;
  AnswerWriter& operator=(const AnswerWriter&) = delete;

  /// A message outside of a batch; `pack` appends so many fields.
  template <class Pack>
  void Say(SlotType type, uint64_t id, uint32_t fields, const Pack& pack) {
    const Lock lock(mutex_);
    Begin(type, id, fields);
    pack(packer_);
    Flush();
  }

  /// Answers to the tasks message `id` follow, several of them or one.
  void BeginBatch(uint64_t id, bool several, Clock::time_point now);
  void EndBatch();
  /// A task returned this value, packed, and has nothing else to tell.
  void Value(uint64_t task, uint64_t took_us, std::string_view value, Clock::time_point now);
  /// Another answer: `pack` appends the fields behind its task and `ok`, so many in all.
  template <class Pack>
  void Answer(uint64_t task, bool ok, Clock::time_point now, const Pack& pack,
              uint32_t fields = 6) {
    const Lock lock(mutex_);
    if (values_ > 0) StartAnew(now);
    packer_.pack_array(fields);
    packer_.pack_uint64(task);
    ok ? packer_.pack_true() : packer_.pack_false();
    ++count_;
    pack(packer_);
    FlushIfDue(now, flush_every_);
  }

 private:
  void Begin(SlotType type, uint64_t id, uint32_t fields) CQ_REQUIRES(mutex_);
  void Flush() CQ_REQUIRES(mutex_);
  void BeginAnswers(uint64_t id, Clock::time_point now) CQ_REQUIRES(mutex_);
  void FlushAnswers() CQ_REQUIRES(mutex_);
  void StartAnew(Clock::time_point now) CQ_REQUIRES(mutex_);
  void FlushIfDue(Clock::time_point now, Clock::duration age) CQ_REQUIRES(mutex_);
  void SendInTime();

  const int out_;
  const Clock::duration flush_every_;
  Mutex mutex_;
  Condition wake_;
  msgpack::sbuffer buffer_ CQ_GUARDED_BY(mutex_);
  Packer packer_ CQ_GUARDED_BY(mutex_){buffer_};
  /// Of the batch that is answered, and since when there are answers.
  uint64_t id_ CQ_GUARDED_BY(mutex_) = 0;
  Clock::time_point since_ CQ_GUARDED_BY(mutex_){};
  /// Answers in `buffer_`, and where their count stands.
  uint32_t count_ CQ_GUARDED_BY(mutex_) = 0;
  size_t count_at_ CQ_GUARDED_BY(mutex_) = 0;
  /// After them, values of tasks that follow each other.
  uint64_t first_ CQ_GUARDED_BY(mutex_) = 0;
  uint64_t values_ CQ_GUARDED_BY(mutex_) = 0;
  std::string packed_ CQ_GUARDED_BY(mutex_);
  /// A batch of several is being worked on.
  bool armed_ CQ_GUARDED_BY(mutex_) = false;
  bool asleep_ CQ_GUARDED_BY(mutex_) = false;
  bool stopping_ CQ_GUARDED_BY(mutex_) = false;
  std::thread flusher_;
};

/// Appends a text.
void PackText(AnswerWriter::Packer& packer, std::string_view text);

}  // namespace cq
