#include "master/input.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <set>
#include <unordered_map>

#include "cq/error.h"
#include "protocol/column_types.h"
#include "protocol/limits.h"
#include "protocol/packed_values.h"
#include "protocol/pieces.h"
#include "protocol/quantities.h"
#include "protocol/seeds.h"
#include "protocol/spans.h"

namespace cq {
namespace {

constexpr uint64_t kProgressRows = 100'000;
/// What a task costs that is given out again, whose row was not kept.
constexpr uint64_t kCheckpointRows = 1024;
/// Rows that go together have hardly more.
constexpr size_t kSpanBytes = 256u << 10;
constexpr size_t kFirstRows = 3;

std::string InputName(const std::string& path) { return path == "-" ? "standard input" : path; }

Fd OpenInput(const std::string& path) {
  if (path == "-") return Fd(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
  Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw UsageError(fmt::format("cannot read '{}': {}", path, strerror(errno)));
  struct stat status {};
  if (fstat(fd.get(), &status) == 0 && S_ISDIR(status.st_mode)) {
    throw UsageError(fmt::format("cannot read '{}': it is a directory", path));
  }
  return fd;
}

void CheckHeader(const std::string& name, const CsvRow& header) {
  std::set<std::string_view> seen;
  for (size_t i = 0; i < header.fields.size(); ++i) {
    const std::string& column = header.fields[i];
    if (column.empty()) {
      throw UsageError(
          fmt::format("{}:{}: column {} of the header has no name", name, header.line, i + 1));
    }
    if (!seen.insert(column).second) {
      throw UsageError(
          fmt::format("{}:{}: the header names column '{}' twice", name, header.line, column));
    }
  }
}

}  // namespace

InputSummary ReadInput(const std::string& path, const std::string& copy,
                       const std::function<void(uint64_t, uint64_t)>& progress, int interrupt_fd,
                       const RowCheck& row_check, bool find_types) {
  const std::string name = InputName(path);
  Fd in = OpenInput(path);
  Fd out;
  if (!copy.empty()) {
    out = Fd(open(copy.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    if (!out) throw Error(fmt::format("cannot write '{}': {}", copy, strerror(errno)));
  }
  // A file system that can share the blocks copies nothing.
  const bool cloned = path != "-" && out && ioctl(out.get(), FICLONE, in.get()) == 0;
  CsvReader reader(std::move(in), name, cloned ? -1 : out.get(), interrupt_fd);

  InputSummary summary;
  CsvRow header;
  if (!reader.Next(header)) {
    throw UsageError(fmt::format("'{}' is empty: a header row is required", name));
  }
  CheckHeader(name, header);
  summary.columns = header.fields;
  reader.set_single_column(header.fields.size() == 1);
  const auto checked = std::find(summary.columns.begin(), summary.columns.end(), row_check.column);
  const auto checked_at = static_cast<size_t>(checked - summary.columns.begin());
  std::vector<TypeFinder> finders(find_types ? summary.columns.size() : 0);
  CsvRow row;
  while (reader.Next(row)) {
    if (row.fields.size() != header.fields.size()) {
      throw UsageError(fmt::format("{}:{}: this row has {} fields, the header has {}", name,
                                   row.line, row.fields.size(), header.fields.size()));
    }
    if (row_check.check && checked_at < row.fields.size() && !row.fields[checked_at].empty()) {
      try {
        row_check.check(row.fields[checked_at]);
      } catch (const UsageError& error) {
        throw UsageError(fmt::format("{}:{}: {}", name, row.line, error.what()));
      }
    }
    for (size_t i = 0; i < finders.size(); ++i) finders[i].Add(row.fields[i]);
    if (++summary.rows % kProgressRows == 0) progress(summary.rows, reader.bytes_read());
    if (summary.rows <= kFirstRows) summary.first.push_back(row);
  }
  for (const TypeFinder& finder : finders) summary.types.push_back(finder.type());
  if (out && fsync(out.get()) != 0) {
    throw Error(fmt::format("cannot write '{}': {}", copy, strerror(errno)));
  }
  return summary;
}

RowSource::RowSource(Options options)
    : options_(std::move(options)),
      by_task_(options_.ranges),
      reader_(Fd(open(options_.path.c_str(), O_RDONLY | O_CLOEXEC)), options_.path) {
  CsvRow header;
  if (!reader_.Next(header)) {
    throw Error(fmt::format("'{}' has lost its header", options_.path));
  }
  reader_.set_single_column(header.fields.size() == 1);
  std::sort(by_task_.begin(), by_task_.end(),
            [](const RowRange& a, const RowRange& b) { return a.task < b.task; });
}

uint64_t RowSource::PositionOf(TaskId task) const {
  const auto after = std::upper_bound(by_task_.begin(), by_task_.end(), task,
                                      [](TaskId t, const RowRange& r) { return t < r.task; });
  if (after != by_task_.begin()) {
    const RowRange& range = *std::prev(after);
    if (task < range.task + range.rows) return range.position + (task - range.task);
  }
  throw Error(fmt::format("task {} has no row in '{}'", task, options_.path));
}

void RowSource::SeekTo(uint64_t position) {
  const uint64_t checkpoint = (position - 1) / kCheckpointRows;
  const bool back = position < next_position_;
  const bool far_ahead = checkpoint > (next_position_ - 1) / kCheckpointRows + 1;
  if ((back || far_ahead) && checkpoint < checkpoints_.size()) {
    reader_.Seek(checkpoints_[checkpoint].offset, checkpoints_[checkpoint].line);
    next_position_ = checkpoint * kCheckpointRows + 1;
  }
}

const TaskRow& RowSource::Get(TaskId task) {
  if (const TaskRow* kept = kept_.Find(task)) return *kept;
  Read(task);
  return Keep(task);
}

std::optional<TaskSpan> RowSource::TakeRows(AttemptSpan& span) {
  const bool particular = options_.timeout_column || options_.group_column;
  if (!options_.spans || particular) return std::nullopt;
  std::string rows;
  uint64_t count = 0;
  msgpack::sbuffer packed;
  Task task;
  while (count < span.count && rows.size() < kSpanBytes) {
    task.task = span.task + count;
    Read(task.task);
    task.seed = SeedOf(task.task);
    packed.clear();
    PackRowHead(packed, task, options_.columns.size());
    for (size_t i = 0; i < options_.columns.size(); ++i) {
      const std::string& text = row_.fields.at(options_.columns[i]);
      PackScalar(packed,
                 options_.types.empty() ? Value(text) : TypedValue(text, options_.types[i]));
    }
    if (packed.size() > kTaskBytesMax) break;
    AppendPiece(rows, {packed.data(), packed.size()});
    ++count;
  }
  if (count == 0) return std::nullopt;
  return TaskSpan{CutFront(span, count), std::move(rows)};
}

void RowSource::Read(TaskId task) {
  const uint64_t position = PositionOf(task);
  if (!options_.offsets.empty()) {
    reader_.Seek(options_.offsets.at(position - 1), 0);
    if (!reader_.Next(row_)) {
      throw Error(fmt::format("'{}' ends before row {}: was it edited?", options_.path, position));
    }
    return;
  }
  SeekTo(position);
  while (next_position_ <= position) {
    if (!reader_.Next(row_)) {
      throw Error(fmt::format("'{}' ends before row {}: was it edited?", options_.path, position));
    }
    if ((next_position_ - 1) % kCheckpointRows == 0 &&
        (next_position_ - 1) / kCheckpointRows == checkpoints_.size()) {
      checkpoints_.push_back({row_.offset, row_.line});
    }
    ++next_position_;
  }
}

uint64_t RowSource::SeedOf(TaskId task) const {
  if (options_.seed_columns.empty()) return SeedOfTask(options_.seed, task);
  std::vector<std::string_view> values;
  for (const size_t column : options_.seed_columns) values.push_back(row_.fields.at(column));
  return SeedOfValues(options_.seed, values);
}

const TaskRow& RowSource::Keep(TaskId task) {
  TaskRow& kept = kept_.Add(task).first;
  kept.values.reserve(options_.columns.size());
  for (const size_t column : options_.columns) kept.values.push_back(row_.fields.at(column));
  kept.seed = SeedOf(task);
  if (options_.timeout_column && !row_.fields.at(*options_.timeout_column).empty()) {
    kept.timeout_ms = static_cast<uint64_t>(
        ParseDuration(row_.fields[*options_.timeout_column], "--task-timeout").count());
  }
  if (options_.group_column) kept.group = row_.fields.at(*options_.group_column);
  return kept;
}

namespace {

double CostOf(const CsvRow& row, size_t column, const std::string& name, const std::string& title) {
  const std::string& text = row.fields.at(column);
  double cost = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), cost);
  if (error == std::errc() && end == text.data() + text.size() && !std::isnan(cost)) return cost;
  throw UsageError(fmt::format("{}:{}: --cost: '{}' in column '{}' is no number", InputName(name),
                               row.line, text, title));
}

}  // namespace

TaskOrder OrderTasks(const std::string& path, const std::string& name,
                     const std::vector<RowRange>& ranges, std::optional<size_t> cost_column,
                     std::optional<size_t> group_column) {
  CsvReader reader(Fd(open(path.c_str(), O_RDONLY | O_CLOEXEC)), path);
  CsvRow row;
  reader.Next(row);
  reader.set_single_column(row.fields.size() == 1);
  const std::string title = cost_column ? row.fields.at(*cost_column) : "";
  struct Entry {
    uint32_t group = 0;
    double cost = 0;
    TaskId task = 0;
  };
  TaskOrder order;
  std::vector<Entry> entries;
  std::unordered_map<std::string, uint32_t> groups;
  std::vector<double> sums;
  for (const RowRange& range : ranges) {
    for (uint64_t i = 0; i < range.rows && reader.Next(row); ++i) {
      Entry entry;
      entry.task = range.task + i;
      if (cost_column) entry.cost = CostOf(row, *cost_column, name, title);
      if (group_column) {
        const auto known = groups.try_emplace(row.fields.at(*group_column), groups.size()).first;
        entry.group = known->second;
      }
      sums.resize(std::max<size_t>(sums.size(), entry.group + 1));
      sums[entry.group] += entry.cost;
      order.offsets.push_back(row.offset);
      entries.push_back(entry);
    }
  }
  // Groups without costs have equal sums, and stay as they appear.
  std::stable_sort(entries.begin(), entries.end(), [&](const Entry& a, const Entry& b) {
    if (sums[a.group] != sums[b.group]) return sums[a.group] > sums[b.group];
    if (a.group != b.group) return a.group < b.group;
    return a.cost > b.cost;
  });
  for (size_t i = 0; i < entries.size(); ++i) {
    const bool begins = i == 0 || entries[i].group != entries[i - 1].group;
    if (group_column && begins) order.start.groups.push_back(i);
    order.start.tasks.push_back(entries[i].task);
  }
  return order;
}

}  // namespace cq
