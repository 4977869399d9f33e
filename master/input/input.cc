#include "master/input/input.h"

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

#include "base/quantities.h"
#include "base/text.h"
#include "cq/error.h"
#include "master/input/columns.h"
#include "master/input/decompress.h"
#include "master/input/input_stream.h"
#include "protocol/column_types.h"
#include "protocol/limits.h"
#include "protocol/packed_values.h"
#include "protocol/pieces.h"
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
/// Rows that are written anew are gathered up to this.
constexpr size_t kCopyBytes = 1u << 20;

std::string InputName(const std::string& path) { return path == "-" ? "standard input" : path; }

char SeparatorOf(const InputOptions& options) {
  const std::string& given = options.separator;
  if (given == "tab" || given == "\\t") return '\t';
  if (given.empty()) {
    const std::string name = WithoutCompression(options.path);
    return name.ends_with(".tsv") || name.ends_with(".TSV") ? '\t' : ',';
  }
  if (given.size() == 1 && given[0] != '"' && given[0] != '\n' && given[0] != '\r') return given[0];
  throw UsageError(
      fmt::format("--separator '{}': it must be one character (of one byte), or tab", given));
}

// One that was not meant leaves the whole line as one name.
void CheckSeparator(const std::string& name, const CsvRow& header) {
  if (header.fields.size() != 1) return;
  for (const char c : {';', '\t', '|'}) {
    if (header.fields[0].find(c) == std::string::npos) continue;
    const std::string shown = c == '\t' ? "tab" : std::string(1, c);
    throw UsageError(fmt::format(
        "{}:{}: the header is one column, '{}'; if its fields are separated otherwise: --separator "
        "{}",
        name, header.line, header.fields[0], c == '\t' ? shown : "'" + shown + "'"));
  }
}

void CheckHeader(const std::string& name, const CsvRow& header) {
  std::set<std::string_view> seen;
  for (size_t i = 0; i < header.fields.size(); ++i) {
    const std::string& column = header.fields[i];
    if (column.empty()) {
      throw UsageError(fmt::format(
          "{}:{}: column {} of the header has no name{}", name, header.line, i + 1,
          i == 0 && header.fields.size() > 1
              ? "; are these row names? write.csv(..., row.names = FALSE), to_csv(..., index=False)"
              : ""));
    }
    if (!seen.insert(column).second) {
      throw UsageError(
          fmt::format("{}:{}: the header names column '{}' twice", name, header.line, column));
    }
  }
}

}  // namespace

InputSummary ReadInput(const InputOptions& options) {
  const std::string name = InputName(options.path);
  const char separator = SeparatorOf(options);
  InputStream stream(options.path, options.interrupt_fd);
  Fd in = stream.TakeFd();
  Fd out;
  if (!options.copy.empty()) {
    out = Fd(open(options.copy.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!out) throw Error(fmt::format("cannot write '{}': {}", options.copy, strerror(errno)));
  }
  // The copy is a CSV of commas, whatever the input is.
  const bool rewrite = out && separator != ',';
  // A file system that can share the blocks copies nothing.
  const bool cloned = out && !rewrite && options.path != "-" && !stream.compressed() &&
                      ioctl(out.get(), FICLONE, in.get()) == 0;
  CsvReader reader(std::move(in), name, cloned || rewrite ? -1 : out.get(), options.interrupt_fd,
                   separator);

  InputSummary summary;
  const auto note_odd_bytes = [&](const CsvRow& row) {
    if (summary.odd_line != 0) return;
    if (!std::all_of(row.fields.begin(), row.fields.end(), IsUtf8)) summary.odd_line = row.line;
  };
  CsvRow header;
  if (!reader.Next(header)) {
    stream.Finish();
    throw UsageError(fmt::format("'{}' is empty: a header row is required", name));
  }
  CheckSeparator(name, header);
  CheckHeader(name, header);
  summary.columns = header.fields;
  note_odd_bytes(header);
  reader.set_single_column(header.fields.size() == 1);
  std::string lines;
  const auto copy_row = [&](const CsvRow& row, bool last) {
    for (size_t i = 0; i < row.fields.size(); ++i) {
      if (i > 0) lines += ',';
      AppendCsvFieldAsItIs(lines, row.fields[i]);
    }
    if (!row.fields.empty()) lines += '\n';
    if (lines.size() < kCopyBytes && !last) return;
    if (!WriteAll(out.get(), lines)) {
      throw Error(fmt::format("cannot write '{}': {}", options.copy, strerror(errno)));
    }
    lines.clear();
  };
  if (rewrite) copy_row(header, false);
  std::vector<std::pair<size_t, const RowCheck*>> checks;
  for (const RowCheck& check : options.checks) {
    checks.emplace_back(ColumnIndex(check.column, check.option, summary.columns), &check);
  }
  const auto look = options.look ? options.look(summary.columns) : InputOptions::LookAtRow();
  std::vector<TypeFinder> finders(options.find_types ? summary.columns.size() : 0);
  CsvRow row;
  while (reader.Next(row)) {
    if (row.fields.size() != header.fields.size()) {
      throw UsageError(fmt::format("{}:{}: this row has {} fields, the header has {}", name,
                                   row.line, row.fields.size(), header.fields.size()));
    }
    for (const auto& [column, check] : checks) {
      if (row.fields[column].empty() && check->may_be_empty) continue;
      try {
        check->check(row.fields[column]);
      } catch (const UsageError& error) {
        throw UsageError(fmt::format("{}:{}: column '{}': {}", name, row.line,
                                     summary.columns[column], error.what()));
      }
    }
    try {
      if (look) look(row.fields);
    } catch (const UsageError& error) {
      throw UsageError(fmt::format("{}:{}: {}", name, row.line, error.what()));
    }
    for (size_t i = 0; i < finders.size(); ++i) finders[i].Add(row.fields[i]);
    note_odd_bytes(row);
    if (rewrite) copy_row(row, false);
    if (++summary.rows % kProgressRows == 0 && options.progress) {
      options.progress(summary.rows, reader.bytes_read());
    }
    if (summary.rows <= kFirstRows) summary.first.push_back(row);
  }
  stream.Finish();
  if (rewrite) copy_row({}, true);
  for (size_t i = 0; i < finders.size(); ++i) {
    summary.types.push_back(finders[i].type());
    if (finders[i].wide()) summary.wide.push_back(summary.columns[i]);
  }
  if (out && fsync(out.get()) != 0) {
    throw Error(fmt::format("cannot write '{}': {}", options.copy, strerror(errno)));
  }
  return summary;
}

Fd OpenRows(const std::string& path) {
  Fd fd = OpenRegular(path);
  if (!fd) {
    throw Error(fmt::format("cannot read the rows of the run, '{}': {}", path,
                            errno == EINVAL ? "it is no regular file" : strerror(errno)));
  }
  return fd;
}

RowSource::RowSource(Options options)
    : options_(std::move(options)),
      by_task_(options_.ranges),
      reader_(OpenRows(options_.path), options_.path) {
  CsvRow header;
  if (!reader_.Next(header)) {
    throw Error(fmt::format("'{}' has lost its header", options_.path));
  }
  columns_ = header.fields.size();
  reader_.set_single_column(columns_ == 1);
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
  return 0;
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

std::optional<Task> RowSource::TakeRows(AttemptSpan& span) {
  const bool particular = options_.timeout_column || options_.group_column;
  if (!options_.spans || particular) return std::nullopt;
  Task taken;
  uint64_t count = 0;
  msgpack::sbuffer packed;
  Task task;
  while (count < span.count && taken.rows.size() < kSpanBytes) {
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
    AppendPiece(taken.rows, {packed.data(), packed.size()});
    ++count;
  }
  if (count == 0) return std::nullopt;
  static_cast<AttemptSpan&>(taken) = CutFront(span, count);
  return taken;
}

void RowSource::Add(AddedRow& row) {
  Pushed& pushed = pushed_[row.task];
  pushed.row = row.row;
  try {
    if (options_.request) row.request = options_.request(row.row.fields);
  } catch (const UsageError& error) {
    pushed.problem = error.what();
  }
}

// Of one that is out they are at hand, if all are kept.
std::vector<std::string> RowSource::Fields(TaskId task) {
  const TaskRow* kept = kept_.Find(task);
  if (kept == nullptr || pushed_.contains(task) || options_.columns.size() < columns_) {
    Read(task);
    return row_.fields;
  }
  std::vector<std::string> fields(columns_);
  for (size_t i = 0; i < columns_; ++i) fields[options_.columns[i]] = kept->values[i];
  return fields;
}

void RowSource::Forget(const AttemptSpan& tasks) {
  if (tasks.count == 1) kept_.Erase(tasks.task);
  for (uint64_t i = 0; !pushed_.empty() && i < tasks.count; ++i) pushed_.erase(tasks.task + i);
}

void RowSource::Read(TaskId task) {
  if (const auto pushed = pushed_.find(task); pushed != pushed_.end()) {
    row_.fields = pushed->second.row.fields;
    return;
  }
  const uint64_t position = PositionOf(task);
  if (position == 0) throw Error(fmt::format("task {} has no row in '{}'", task, options_.path));
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
  if (options_.seed_columns.empty()) {
    const auto pushed = pushed_.find(task);
    if (pushed != pushed_.end()) return SeedOfKey(options_.seed, pushed->second.row.key);
    if (options_.keyed.contains(task)) return SeedOfKey(options_.seed, HashOf(row_.fields));
    return SeedOfTask(options_.seed, task);
  }
  std::vector<std::string_view> values;
  for (const size_t column : options_.seed_columns) values.push_back(row_.fields.at(column));
  return SeedOfValues(options_.seed, values);
}

const TaskRow& RowSource::Keep(TaskId task) {
  TaskRow& kept = kept_.Add(task).first;
  kept.values.reserve(options_.columns.size());
  for (const size_t column : options_.columns) kept.values.push_back(row_.fields.at(column));
  kept.seed = SeedOf(task);
  const auto pushed = pushed_.find(task);
  if (pushed != pushed_.end()) kept.problem = pushed->second.problem;
  if (options_.timeout_column && !row_.fields.at(*options_.timeout_column).empty()) {
    try {
      kept.timeout_ms = static_cast<uint64_t>(
          ParseDuration(row_.fields[*options_.timeout_column], "--task-timeout").count());
    } catch (const UsageError& error) {
      // The input was checked before.
      kept.problem = error.what();
    }
  }
  if (options_.group_column) kept.group = row_.fields.at(*options_.group_column);
  return kept;
}

namespace {

double CostOf(const CsvRow& row, size_t column, const std::string& name, const std::string& title) {
  if (const auto cost = ParseCost(row.fields.at(column))) return *cost;
  throw UsageError(fmt::format("{}:{}: --cost: '{}' in column '{}' is no number", InputName(name),
                               row.line, row.fields.at(column), title));
}

}  // namespace

std::optional<double> ParseCost(const std::string& text) {
  double cost = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), cost);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  if (whole) return !std::isnan(cost) ? std::optional(cost) : std::nullopt;
  try {
    return std::chrono::duration<double>(ParseDuration(text, "--cost")).count();
  } catch (const UsageError&) {
    return std::nullopt;
  }
}

namespace {

struct OrderEntry {
  uint32_t group = 0;
  uint16_t of = 0;
  double cost = 0;
  TaskId task = 0;
};

// Groups in the order in which they come, and within them classes.
void SortIntoSections(std::vector<OrderEntry>& entries, StartOrder& start) {
  std::unordered_map<TaskId, uint64_t> ranks;
  std::unordered_map<uint32_t, uint64_t> groups;
  for (const OrderEntry& entry : entries) {
    ranks.emplace(entry.task, ranks.size());
    groups.try_emplace(entry.group, groups.size());
  }
  std::stable_sort(entries.begin(), entries.end(), [&](const OrderEntry& a, const OrderEntry& b) {
    return std::pair(groups[a.group], a.of) < std::pair(groups[b.group], b.of);
  });
  for (const OrderEntry& entry : entries) start.ranks.push_back(ranks[entry.task]);
}

}  // namespace

TaskOrder OrderTasks(const std::string& path, const std::string& name,
                     const std::vector<RowRange>& ranges, const OrderOptions& options) {
  CsvReader reader(OpenRows(path), path);
  CsvRow row;
  reader.Next(row);
  reader.set_single_column(row.fields.size() == 1);
  const auto& [cost_column, cost_of, group_column, texts, pools] = options;
  const std::string title = cost_column ? row.fields.at(*cost_column) : "";
  const RowRequests requests(texts, row.fields);
  ClassFinder classes(pools);
  TaskOrder order;
  std::vector<OrderEntry> entries;
  std::unordered_map<std::string, uint32_t> groups;
  std::vector<double> sums;
  for (const RowRange& range : ranges) {
    for (uint64_t i = 0; i < range.rows && reader.Next(row); ++i) {
      OrderEntry entry;
      entry.task = range.task + i;
      if (cost_column) entry.cost = CostOf(row, *cost_column, name, title);
      if (cost_of) entry.cost = cost_of(row.fields);
      if (group_column) {
        const auto known = groups.try_emplace(row.fields.at(*group_column), groups.size()).first;
        entry.group = known->second;
      }
      try {
        if (!texts.empty()) classes.Add(entry.task, requests.Of(row.fields));
      } catch (const UsageError& error) {
        throw UsageError(fmt::format("{}:{}: {}", InputName(name), row.line, error.what()));
      }
      sums.resize(std::max<size_t>(sums.size(), entry.group + 1));
      sums[entry.group] += entry.cost;
      order.offsets.push_back(row.offset);
      entries.push_back(entry);
    }
  }
  if (!texts.empty()) order.requests = classes.Take();
  const bool several = order.requests.classes.size() > 1;
  for (OrderEntry& entry : entries) entry.of = several ? order.requests.of[entry.task - 1] : 0;
  // Groups without costs have equal sums, and stay as they appear.
  std::stable_sort(entries.begin(), entries.end(), [&](const OrderEntry& a, const OrderEntry& b) {
    if (sums[a.group] != sums[b.group]) return sums[a.group] > sums[b.group];
    if (a.group != b.group) return a.group < b.group;
    return a.cost > b.cost;
  });
  order.start.grouped = group_column.has_value();
  if (several) SortIntoSections(entries, order.start);
  for (size_t i = 0; i < entries.size(); ++i) {
    const auto section = [&](size_t at) { return std::pair(entries[at].group, entries[at].of); };
    const bool begins = i == 0 || section(i) != section(i - 1);
    if ((group_column || several) && begins) order.start.sections.push_back({i, entries[i].of});
    order.start.tasks.push_back(entries[i].task);
  }
  return order;
}

}  // namespace cq
