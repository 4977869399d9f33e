#include "master/run/result_feed.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <exception>
#include <utility>

#include "base/blocked_signals.h"
#include "cq/error.h"
#include "master/journal/pushed_table.h"
#include "master/journal/recovery.h"

namespace cq {
namespace {

using std::chrono::steady_clock;

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
/// So much a pipe that is writable takes without a wait (PIPE_BUF).
constexpr size_t kPipeTakes = 4096;
/// Of what has ended so much is remembered in its order.
constexpr size_t kFreshMax = 100'000;
constexpr int kSlice = 100;
constexpr std::chrono::seconds kHurriedPatience{1};
constexpr std::chrono::seconds kAliveEvery{10};

Fd MakeFlag() { return Fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

void Raise(const Fd& flag) {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = write(flag.get(), &one, sizeof one);
}

}  // namespace

bool ReadersPatience::AwaitReadable(int fd) const {
  const auto begin = steady_clock::now();
  auto alive = begin;
  for (;;) {
    std::array<pollfd, 2> fds{{{fd, POLLIN, 0}, {hurry ? -1 : hurry_fd, POLLIN, 0}}};
    poll(fds.data(), fds.size(), kSlice);
    if (fds[0].revents != 0) return true;
    const auto now = steady_clock::now();
    if (fds[1].revents != 0 || (hurry && now - begin > kHurriedPatience)) return false;
    if (!keep_alive || now - alive < kAliveEvery) continue;
    alive = now;
    keep_alive();
  }
}

ResultFeed::ResultFeed(Options options, Database& journal, ResultTaker& taker)
    : options_(std::move(options)), taker_(taker), stop_(MakeFlag()), done_(MakeFlag()) {
  ranges_ = ReadRanges(journal);
  if (options_.order == Order::kFresh) {
    auto there = journal.Prepare("SELECT task FROM results");
    while (there.Step()) given_.Insert(static_cast<TaskId>(there.Int(0)));
  }
  if (options_.live && HasPushed(journal)) {
    auto dormant =
        journal.Prepare("SELECT task FROM pushed WHERE task NOT IN (SELECT task FROM live_pushed)");
    while (dormant.Step()) dormant_.insert(static_cast<TaskId>(dormant.Int(0)));
  }
  if (options_.live) Start();
}

void ResultFeed::Start() {
  const BlockedSignals none;
  thread_ = std::thread([this] { Work(); });
}

ResultFeed::~ResultFeed() { Stop(); }

void ResultFeed::Stop() {
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
    if (options_.order != Order::kInput && options_.live && !overrun_) {
      fresh_.insert(fresh_.end(), committed.attempts.begin(), committed.attempts.end());
      for (const AddedRow& row : committed.added) {
        if (row.ended() != nullptr) fresh_.push_back({row.task, 0});
      }
    }
    if (fresh_.size() > kFreshMax) {
      overrun_ = true;
      fresh_ = {};
    }
  }
  changed_.NotifyAll();
}

std::string ResultFeed::Finish(const ReadersPatience& patience) {
  {
    const Lock lock(mutex_);
    finishing_ = true;
    // What was committed last nobody has told.
    overrun_ = overrun_ || patience.hurry;
  }
  if (!options_.live) Start();
  changed_.NotifyAll();
  patience.AwaitReadable(done_.get());
  Stop();
  return problem_;
}

void ResultFeed::Work() {
  try {
    journal_.emplace(options_.run_dir + "/journal.db", Database::Mode::kRead);
    Read();
  } catch (const std::exception& error) {
    problem_ = error.what();
  }
  journal_.reset();
  Raise(done_);
}

void ResultFeed::Read() {
  const bool in_order = options_.order == Order::kInput;
  bool wanted = true;
  if (options_.order == Order::kAnyOrder && options_.live) wanted = GiveInOrder(true);
  for (bool last = false; wanted && !last;) {
    std::vector<AttemptSpan> fresh;
    bool overrun = false;
    {
      const Lock lock(mutex_);
      while (!news_ && !finishing_) changed_.Wait(mutex_);
      news_ = false;
      last = finishing_;
      fresh.swap(fresh_);
      overrun = std::exchange(overrun_, false);
    }
    const bool pass = overrun || !options_.live;
    if (pass && !in_order) place_ = {};
    wanted = in_order || pass ? GiveInOrder(last || pass) : GiveFresh(std::move(fresh));
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
  auto rows = journal_->Prepare(kOfRange);
  while (place_.row < range.rows) {
    rows.Bind(1, static_cast<int64_t>(range.task + place_.row))
        .Bind(2, static_cast<int64_t>(range.task + range.rows - 1));
    std::vector<Row> some = ReadSome(rows);
    if (some.empty() && !all) return true;
    for (Row& row : some) {
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
  if (!HasPushed(*journal_)) return true;
  auto rows = journal_->Prepare(all ? kOfLivePushed : kOfPushed);
  for (;;) {
    rows.Bind(1, static_cast<int64_t>(place_.pushed));
    std::vector<Row> some = ReadSome(rows);
    if (some.empty()) return true;
    for (Row& row : some) {
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
  auto rows = journal_->Prepare(kOfRange);
  for (const AttemptSpan& span : spans) {
    const TaskId last = span.last().task;
    // An attempt may have ended without an outcome of its task.
    for (TaskId next = span.task; next <= last;) {
      rows.Bind(1, static_cast<int64_t>(next)).Bind(2, static_cast<int64_t>(last));
      std::vector<Row> some = ReadSome(rows);
      if (some.empty()) break;
      for (Row& row : some) {
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
    Row& row = some.emplace_back();
    row.task = static_cast<TaskId>(rows.Int(0));
    row.ended = !rows.IsNull(1);
    row.outcome = static_cast<Outcome>(rows.Int(1));
    row.out = rows.Text(2);
    row.returned = rows.Text(3);
    bytes += row.out.size() + row.returned.size();
  }
  rows.Reset();
  return some;
}

bool ResultFeed::Give(Row& row) {
  pollfd stop{stop_.get(), POLLIN, 0};
  if (poll(&stop, 1, 0) > 0) return false;
  if (options_.order != Order::kInput) {
    if (given_.Contains(row.task)) return true;
    given_.Insert(row.task);
  }
  if (options_.fields) row.fields = FieldsOf(row.task);
  return taker_.Take(row, stop_.get());
}

std::vector<std::string> ResultFeed::FieldsOf(TaskId task) {
  if (!rows_) {
    rows_.emplace(RowSource::Options{RowsOf(*journal_, options_.run_dir), ranges_, {}, {}, 0});
  }
  if (rows_->Has(task)) return rows_->Fields(task);
  auto fields = PushedFields(*journal_, task);
  if (!fields) throw Error(fmt::format("task {} has no row", task));
  return *std::move(fields);
}

bool IsCut(std::string_view out) {
  constexpr size_t kKept = 65'536;
  const size_t mark = out.size() < kKept ? out.npos : out.find("\n[cq: ", kKept / 8);
  return mark != out.npos && out.find(" bytes cut]\n", mark) != out.npos;
}

bool WriteWhileWanted(int fd, std::string_view text, int stop_fd) {
  while (!text.empty()) {
    std::array<pollfd, 2> fds{{{fd, POLLOUT, 0}, {stop_fd, POLLIN, 0}}};
    if (poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) return false;
    if (fds[1].revents != 0) {
      errno = EPIPE;
      return false;
    }
    const ssize_t n = write(fd, text.data(), std::min(text.size(), kPipeTakes));
    if (n > 0) text.remove_prefix(static_cast<size_t>(n));
    if (n < 0 && errno != EINTR && errno != EAGAIN) return false;
  }
  return true;
}

}  // namespace cq
