#include "master/run/result_feed.h"

#include <limits.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/blocked_signals.h"
#include "cq/error.h"
#include "master/journal/pushed_table.h"
#include "master/journal/recovery.h"

namespace cq {
namespace {

constexpr const char* kOfRange =
    "SELECT task, outcome, stdout, returned FROM results WHERE task BETWEEN ?1 AND ?2 ORDER BY "
    "task";
constexpr const char* kOfPushed =
    "SELECT p.task, outcome, stdout, returned FROM pushed p LEFT JOIN results USING(task) WHERE "
    "p.task > ?1 ORDER BY p.task";
constexpr const char* kOfLivePushed =
    "SELECT p.task, outcome, stdout, returned FROM live_pushed p LEFT JOIN results USING(task) "
    "WHERE p.task > ?1 ORDER BY p.task";
/// So many are read before they are given: who takes them may wait for a person, and a statement
/// that is open holds the journal's log together.
constexpr size_t kRowsAtOnce = 1000;
constexpr size_t kBytesAtOnce = size_t{4} << 20;

Fd MakeFlag() { return Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

void Raise(const Fd& flag) {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = write(flag.get(), &one, sizeof one);
}

}  // namespace

ResultFeed::ResultFeed(Options options, ResultTaker& taker)
    : options_(std::move(options)),
      taker_(taker),
      journal_(options_.run_dir + "/journal.db", Database::Mode::kRead),
      stop_(MakeFlag()),
      done_(MakeFlag()) {
  if (options_.live) Start();
}

void ResultFeed::Start() {
  const bool fresh = options_.order == Order::kFresh;
  ranges_ = ReadRanges(journal_);
  if (!fresh && HasPushed(journal_)) {
    auto dormant = journal_.Prepare(
        "SELECT task FROM pushed WHERE task NOT IN (SELECT task FROM live_pushed)");
    while (dormant.Step()) dormant_.insert(static_cast<TaskId>(dormant.Int(0)));
  }
  const BlockedSignals none;
  thread_ = std::thread([this] { Work(); });
}

ResultFeed::~ResultFeed() {
  if (!thread_.joinable()) return;
  Raise(stop_);
  {
    const Lock lock(mutex_);
    finishing_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
}

void ResultFeed::OnCommitted(const Committed& committed) {
  {
    const Lock lock(mutex_);
    news_ = true;
    if (options_.order != Order::kInput && options_.live) {
      fresh_.insert(fresh_.end(), committed.attempts.begin(), committed.attempts.end());
      for (const AddedRow& row : committed.added) {
        if (row.ended() != nullptr) fresh_.push_back({row.task, 0});
      }
    }
  }
  changed_.NotifyAll();
}

std::string ResultFeed::Finish(int hurry_fd) {
  {
    const Lock lock(mutex_);
    finishing_ = true;
  }
  if (!options_.live) Start();
  changed_.NotifyAll();
  std::array<pollfd, 2> fds{{{done_.get(), POLLIN, 0}, {hurry_fd, POLLIN, 0}}};
  while (poll(fds.data(), fds.size(), -1) < 0 && errno == EINTR) {
  }
  Raise(stop_);
  thread_.join();
  return problem_;
}

void ResultFeed::Work() {
  try {
    Read();
  } catch (const Error& error) {
    problem_ = error.what();
  }
  Raise(done_);
}

void ResultFeed::Read() {
  bool wanted = true;
  if (options_.order == Order::kAnyOrder && options_.live) wanted = GiveInOrder(true);
  for (bool last = false; wanted && !last;) {
    std::vector<AttemptSpan> fresh;
    {
      const Lock lock(mutex_);
      while (!news_ && !finishing_) changed_.Wait(mutex_);
      news_ = false;
      last = finishing_;
      fresh.swap(fresh_);
    }
    const bool in_order = options_.order == Order::kInput || !options_.live;
    wanted = in_order ? GiveInOrder(last) : GiveFresh(std::move(fresh));
    wanted = wanted && taker_.Pause(stop_.get());
  }
}

// As far as they have ended without a gap; or all that have.
bool ResultFeed::GiveInOrder(bool all) {
  for (; place_.range < ranges_.size(); ++place_.range) {
    const RowRange& range = ranges_[place_.range];
    if (!GiveRange(range, all)) return false;
    if (place_.row < range.rows) return true;
    place_.row = 0;
  }
  return GivePushed(all);
}

bool ResultFeed::GiveRange(const RowRange& range, bool all) {
  const auto skip = [this](uint64_t rows) {
    place_.row += rows;
    place_.position += rows;
  };
  auto rows = journal_.Prepare(kOfRange);
  while (place_.row < range.rows) {
    rows.Bind(1, static_cast<int64_t>(range.task + place_.row))
        .Bind(2, static_cast<int64_t>(range.task + range.rows - 1));
    const std::vector<Row> some = ReadSome(rows);
    if (some.empty() && !all) return true;
    for (const Row& row : some) {
      const uint64_t gap = row.task - (range.task + place_.row);
      const bool beyond = options_.limit > 0 && place_.position >= options_.limit;
      if (!all && (gap > 0 || beyond)) return true;
      skip(gap);
      if (!Give(row)) return false;
      skip(1);
    }
    if (some.empty()) skip(range.rows - place_.row);
  }
  return true;
}

// A row that is dormant may be the run's again by the end.
bool ResultFeed::GivePushed(bool all) {
  if (!HasPushed(journal_)) return true;
  auto rows = journal_.Prepare(all ? kOfLivePushed : kOfPushed);
  for (;;) {
    rows.Bind(1, static_cast<int64_t>(place_.pushed));
    const std::vector<Row> some = ReadSome(rows);
    if (some.empty()) return true;
    for (const Row& row : some) {
      if (!all && (!row.ended || dormant_.contains(row.task))) return true;
      if (row.ended && !Give(row)) return false;
      place_.pushed = row.task;
    }
  }
}

bool ResultFeed::GiveFresh(std::vector<AttemptSpan> spans) {
  if (options_.order == Order::kAnyOrder) {
    // Near ones after each other: whoever looks for their rows reads the input on.
    std::sort(spans.begin(), spans.end());
  }
  auto rows = journal_.Prepare(kOfRange);
  for (const AttemptSpan& span : spans) {
    const TaskId last = span.last().task;
    // An attempt may have ended without an outcome of its task.
    for (TaskId next = span.task; next <= last;) {
      rows.Bind(1, static_cast<int64_t>(next)).Bind(2, static_cast<int64_t>(last));
      const std::vector<Row> some = ReadSome(rows);
      if (some.empty()) break;
      for (const Row& row : some) {
        if (!Give(row)) return false;
      }
      next = some.back().task + 1;
    }
  }
  return true;
}

std::vector<ResultFeed::Row> ResultFeed::ReadSome(Statement& rows) const {
  std::vector<Row> some;
  for (size_t bytes = 0; some.size() < kRowsAtOnce && bytes < kBytesAtOnce && rows.Step();) {
    Row row{static_cast<TaskId>(rows.Int(0)), !rows.IsNull(1), static_cast<Outcome>(rows.Int(1)),
            std::string(rows.Text(2)), std::string(rows.Text(3))};
    bytes += row.out.size() + row.returned.size();
    some.push_back(std::move(row));
  }
  rows.Reset();
  return some;
}

bool ResultFeed::Give(const Row& row) {
  if (options_.order == Order::kAnyOrder) {
    if (given_.Contains(row.task)) return true;
    given_.Insert(row.task);
  }
  return taker_.Take({row.task, row.outcome, row.out, row.returned}, stop_.get());
}

bool WriteWhileWanted(int fd, std::string_view text, int stop_fd) {
  while (!text.empty()) {
    std::array<pollfd, 2> fds{{{fd, POLLOUT, 0}, {stop_fd, POLLIN, 0}}};
    if (poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) return false;
    if (fds[1].revents != 0 && fds[0].revents == 0) return false;
    // So much a pipe that is writable takes without a wait.
    const ssize_t n = write(fd, text.data(), std::min<size_t>(text.size(), PIPE_BUF));
    if (n > 0) text.remove_prefix(static_cast<size_t>(n));
    if (n < 0 && errno != EINTR && errno != EAGAIN) return false;
  }
  return true;
}

}  // namespace cq
