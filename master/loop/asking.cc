#include "master/loop/asking.h"

#include <fmt/format.h>

#include <string_view>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/text.h"
#include "master/journal/value_text.h"
#include "protocol/spans.h"

namespace cq {
namespace {

/// What one message holds.
constexpr uint64_t kEndingsMax = 10'000;
constexpr size_t kBytesMax = 1u << 20;
constexpr std::chrono::seconds kNoteAfter{60};
/// Marks the requests of a proposer among those that add rows.
constexpr uint64_t kOwnRequest = uint64_t{1} << 63;

}  // namespace

Telling& RoomIn(std::deque<Telling>& tellings) {
  const bool full = !tellings.empty() && (tellings.back().count >= kEndingsMax ||
                                          tellings.back().endings.size() > kBytesMax ||
                                          tellings.back().waiting.size() > kBytesMax);
  return tellings.empty() || full ? tellings.emplace_back() : tellings.back();
}

Asking::Asking(ReadyProposer ready, Core& core, Doors doors)
    : ready_(std::move(ready)),
      core_(core),
      asker_(core.asker()),
      doors_(std::move(doors)),
      form_(core.form()) {
  ready_.proposer->Listen(doors_.answer);
  // Nothing ends before it has heard all that went before.
  if (!ready_.replay.empty()) asker_.OnSpokenTo(0, 0, core_.NeedOfRows().open);
}

void Asking::OnEnded(const ResultRecord& record, TaskSource& tasks) {
  const TaskResult& result = record.result;
  std::string returned;
  std::string_view answers = result.answers;
  std::vector<std::string> names;
  Answer answer;
  for (uint64_t i = 0; i < result.count; ++i) {
    returned.clear();
    if (TakeAnswer(answers, answer)) {
      AppendPackedJson(returned, answer.value, names);
    } else if (!result.values.empty()) {
      AppendJson(returned, result.values);
    }
    Telling& telling = RoomIn(gathered_);
    telling.last = result.task + i;
    ++telling.count;
    AppendEnding(telling.endings, telling.last, result.outcome, tasks.Fields(telling.last),
                 returned, form_);
  }
}

void Asking::OnBack(const AddedRow& row) {
  Telling& telling = RoomIn(gathered_);
  telling.last = row.task;
  ++telling.count;
  AppendEnding(telling.endings, row.task, row.ended()->outcome, row.row.fields,
               row.ended()->returned, form_);
}

void Asking::Steer(Time now) {
  if (!ready_.proposer) return;
  // What it would answer is left to the next start, which tells it again.
  if (core_.draining()) return Close(false);
  if (told_) {
    if (told_->answered || now < told_->note_at) return;
    told_->note_at = Time::max();
    return doors_.note(fmt::format("the proposer has not answered for {} s; {} results wait for it",
                                   kNoteAfter.count(), asker_.untold()));
  }
  if (!ready_.replay.empty()) {
    const Telling telling = std::move(ready_.replay.front());
    ready_.replay.pop_front();
    return Tell(now, telling, telling.known ? Told::What::kKnown : Told::What::kAgain);
  }
  // Rows that are not durable are not counted yet.
  const Asker::Need need = core_.NeedOfRows();
  if (!asker_.IsToBeSpokenTo(need) || (asker_.asks() && writing_ > 0)) return;
  CQ_ASSERT((asker_.untold() == 0) == gathered_.empty(), "{} endings are to be told, {} are here",
            asker_.untold(), gathered_.size());
  Telling telling;
  if (!gathered_.empty()) {
    telling = std::move(gathered_.front());
    gathered_.pop_front();
  }
  if (gathered_.empty()) telling.wanted = asker_.Wanted(need);
  asker_.OnSpokenTo(telling.count, telling.wanted, need.open);
  Tell(now, telling, Told::What::kNews);
}

void Asking::Tell(Time now, const Telling& telling, Told::What what) {
  told_ = Told{what, ++last_id_, telling.last, false, now + kNoteAfter};
  others_added_ = false;
  ready_.proposer->Tell(TellLine(last_id_, telling));
}

std::string Asking::OnAnswer(ProposerAnswer answer) {
  // Who has said that it is done may end.
  if (!ready_.proposer || asker_.done()) return {};
  if (answer.ended && was_done_) {
    told_.reset();
    ready_.replay.clear();
    asker_.OnDone();
    return {};
  }
  if (!answer.problem.empty()) return std::move(answer.problem);
  if (!told_ || told_->answered || answer.id != told_->id) {
    return fmt::format("the proposer answers what it was not told (id {})", answer.id);
  }
  if (told_->what == Told::What::kKnown) {
    was_done_ = was_done_ || answer.done;
    Answered(Asker::Answer::kNothing);
    return {};
  }
  const auto kind = answer.done           ? Asker::Answer::kDone
                    : answer.rows.empty() ? Asker::Answer::kNothing
                                          : Asker::Answer::kRows;
  const bool counts =
      kind == Asker::Answer::kRows && asker_.asks() && told_->what == Told::What::kNews;
  if (told_->last != 0 || kind != Asker::Answer::kNothing) Write(answer);
  // Whether any of its rows is new is known then.
  if (counts) {
    told_->answered = true;
  } else {
    Answered(kind);
  }
  return {};
}

void Asking::Write(ProposerAnswer& answer) {
  AddRecord record;
  record.request = kOwnRequest | answer.id;
  record.rows = std::move(answer.rows);
  // Rows that others have added meanwhile it does not know.
  record.proposed = {told_->last, answer.done && !others_added_, std::move(answer.parents)};
  core_.OnAdding();
  ++writing_;
  doors_.write(std::move(record));
}

void Asking::Answered(Asker::Answer answer) {
  const auto what = std::exchange(told_, std::nullopt)->what;
  if (what == Told::What::kNews) return asker_.OnAnswer(answer);
  const bool done = answer == Asker::Answer::kDone;
  if (done) ready_.replay.clear();
  if (ready_.replay.empty()) asker_.OnAnswer(done ? answer : Asker::Answer::kNothing);
}

bool Asking::OnDurable(uint64_t request, size_t rows) {
  if ((request & kOwnRequest) == 0) return false;
  --writing_;
  const bool awaited = told_ && told_->answered && told_->id == (request & ~kOwnRequest);
  if (awaited) Answered(rows > 0 ? Asker::Answer::kRows : Asker::Answer::kNothing);
  return true;
}

void Asking::Close(bool patiently) {
  if (!ready_.proposer) return;
  ready_.proposer->Close(patiently);
  ready_.proposer.reset();
}

}  // namespace cq
