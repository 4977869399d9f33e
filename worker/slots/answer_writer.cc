#include "worker/slots/answer_writer.h"

#include <unistd.h>

#include <cstdio>

#include "base/files.h"
#include "protocol/limits.h"
#include "protocol/spans.h"

namespace cq {

void PackText(AnswerWriter::Packer& packer, std::string_view text) {
  packer.pack_str(static_cast<uint32_t>(text.size()));
  packer.pack_str_body(text.data(), static_cast<uint32_t>(text.size()));
}

AnswerWriter::~AnswerWriter() {
  {
    const Lock lock(mutex_);
    stopping_ = true;
  }
  wake_.NotifyOne();
  if (flusher_.joinable()) flusher_.join();
}

void AnswerWriter::Begin(SlotType type, uint64_t id, uint32_t fields) {
  buffer_.clear();
  buffer_.write("\0\0\0\0", 4);
  packer_.pack_array(2 + fields);
  packer_.pack_uint64(static_cast<uint64_t>(type));
  packer_.pack_uint64(id);
}

void AnswerWriter::Flush() {
  const size_t size = buffer_.size() - 4;
  for (size_t i = 0; i < 4; ++i) buffer_.data()[i] = static_cast<char>(size >> (8 * (3 - i)));
  if (!WriteAll(out_, {buffer_.data(), buffer_.size()})) _exit(0);
}

void AnswerWriter::BeginBatch(uint64_t id, bool several, Clock::time_point now) {
  bool wake = false;
  {
    const Lock lock(mutex_);
    BeginAnswers(id, now);
    armed_ = several;
    wake = several && asleep_;
    if (several && !flusher_.joinable()) flusher_ = std::thread([this] { SendInTime(); });
  }
  if (wake) wake_.NotifyOne();
}

void AnswerWriter::EndBatch() {
  const Lock lock(mutex_);
  armed_ = false;
  FlushAnswers();
}

void AnswerWriter::Value(uint64_t task, uint64_t took_us, std::string_view value,
                         Clock::time_point now) {
  const Lock lock(mutex_);
  const bool next = count_ == 0 && task == first_ + values_ && values_ < kBatchMax;
  if (!next) StartAnew(now);
  if (values_++ == 0) first_ = task;
  AppendAnswer(packed_, took_us, value);
  FlushIfDue(now, flush_every_);
}

// The count of a gathered list is known at its end only: a list of 32-bit length is patched.
void AnswerWriter::BeginAnswers(uint64_t id, Clock::time_point now) {
  Begin(SlotType::kResults, id, 1);
  count_at_ = buffer_.size();
  buffer_.write("\xdd\0\0\0\0", 5);
  id_ = id;
  since_ = now;
  count_ = 0;
}

void AnswerWriter::FlushAnswers() {
  std::fflush(stdout);
  std::fflush(stderr);
  if (count_ > 0) {
    for (size_t i = 0; i < 4; ++i) {
      buffer_.data()[count_at_ + 1 + i] = static_cast<char>(count_ >> (8 * (3 - i)));
    }
    Flush();
    count_ = 0;
  }
  if (values_ > 0) {
    Begin(SlotType::kAnswers, id_, 3);
    packer_.pack_uint64(first_);
    packer_.pack_uint64(values_);
    PackText(packer_, packed_);
    Flush();
    values_ = 0;
    packed_.clear();
  }
}

// Sends what cannot stand in one frame with what is next.
void AnswerWriter::StartAnew(Clock::time_point now) {
  if (count_ + values_ == 0) return;
  FlushAnswers();
  BeginAnswers(id_, now);
}

void AnswerWriter::FlushIfDue(Clock::time_point now, Clock::duration age) {
  if (now - since_ < age && buffer_.size() + packed_.size() < (1 << 20)) return;
  StartAnew(now);
}

// While batches follow each other it looks every few milliseconds; to be woken by each would cost
// more than they do.
void AnswerWriter::SendInTime() {
  const Lock lock(mutex_);
  while (!stopping_) {
    for (int idle = 0; !stopping_ && idle < 20; idle = armed_ ? 0 : idle + 1) {
      wake_.WaitFor(mutex_, flush_every_);
      if (armed_) FlushIfDue(Clock::now(), flush_every_ / 2);
    }
    asleep_ = true;
    while (!stopping_ && !armed_) wake_.Wait(mutex_);
    asleep_ = false;
  }
}

}  // namespace cq
