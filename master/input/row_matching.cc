#include "master/input/row_matching.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "master/input/csv_reader.h"

namespace cq {
namespace {

// The rows of a file below its header.
class Rows {
 public:
  explicit Rows(const std::string& path)
      : reader_(Fd(open(path.c_str(), O_RDONLY | O_CLOEXEC)), path) {
    CsvRow header;
    if (reader_.Next(header)) reader_.set_single_column(header.fields.size() == 1);
  }
  bool Next() { return has_ = reader_.Next(row_); }
  bool has() const { return has_; }
  const CsvRow& row() const { return row_; }

 private:
  CsvReader reader_;
  CsvRow row_;
  bool has_ = true;
};

// The task of each row in turn.
class Numbers {
 public:
  explicit Numbers(const std::vector<RowRange>& ranges) : ranges_(ranges) {}
  TaskId Next() {
    while (at_ < ranges_.size() && within_ == ranges_[at_].rows) {
      ++at_;
      within_ = 0;
    }
    return at_ < ranges_.size() ? ranges_[at_].task + within_++ : 0;
  }

 private:
  const std::vector<RowRange>& ranges_;
  size_t at_ = 0;
  uint64_t within_ = 0;
};

struct Entry {
  RowHash hash;
  uint64_t number = 0;  // a task of the copy, or a position in the edited file
  auto operator<=>(const Entry&) const = default;
};

void Append(std::vector<RowRange>& ranges, uint64_t position, TaskId task) {
  if (!ranges.empty() && ranges.back().task + ranges.back().rows == task) {
    ++ranges.back().rows;
  } else {
    ranges.push_back({position, task, 1});
  }
}

// Pairs what has the same content, the first with the first; returns the tasks by position.
std::map<uint64_t, TaskId> PairByContent(std::vector<Entry>& old_rows,
                                         std::vector<Entry>& new_rows) {
  std::sort(old_rows.begin(), old_rows.end());
  std::sort(new_rows.begin(), new_rows.end());
  std::map<uint64_t, TaskId> pairs;
  auto old_row = old_rows.begin();
  for (const Entry& row : new_rows) {
    while (old_row != old_rows.end() && old_row->hash < row.hash) ++old_row;
    if (old_row == old_rows.end()) break;
    if (old_row->hash == row.hash) pairs[row.number] = (old_row++)->number;
  }
  return pairs;
}

}  // namespace

bool SameBytes(const std::string& a, const std::string& b) {
  const Fd first(open(a.c_str(), O_RDONLY | O_CLOEXEC));
  const Fd second(open(b.c_str(), O_RDONLY | O_CLOEXEC));
  if (!first || !second) return false;
  constexpr size_t kPiece = 1 << 18;
  std::string x(kPiece, 0);
  std::string y(kPiece, 0);
  // A regular file gives short pieces only at its end.
  for (;;) {
    const ssize_t n = read(first.get(), x.data(), kPiece);
    const ssize_t m = read(second.get(), y.data(), kPiece);
    if (n < 0 || n != m) return false;
    if (n == 0) return true;
    if (x.compare(0, static_cast<size_t>(n), y, 0, static_cast<size_t>(n)) != 0) return false;
  }
}

RowMatch MatchRows(const std::string& copy, const std::vector<RowRange>& ranges, TaskId last,
                   const std::string& edited) {
  std::vector<Entry> old_rows;
  std::vector<Entry> new_rows;
  const auto each = [&](auto&& same_at) {
    Rows before(copy);
    Rows after(edited);
    Numbers numbers(ranges);
    for (uint64_t position = 1;; ++position) {
      before.Next();
      after.Next();
      if (!before.has() && !after.has()) return;
      const TaskId task = before.has() ? numbers.Next() : 0;
      const bool same = before.has() && after.has() && before.row().fields == after.row().fields;
      same_at(position, task, same, before, after);
    }
  };
  each([&](uint64_t position, TaskId task, bool same, const Rows& before, const Rows& after) {
    if (same) return;
    if (before.has()) old_rows.push_back({HashOf(before.row().fields), task});
    if (after.has()) new_rows.push_back({HashOf(after.row().fields), position});
  });
  const auto pairs = PairByContent(old_rows, new_rows);

  RowMatch match;
  std::set<TaskId> taken;
  for (const auto& [position, task] : pairs) taken.insert(task);
  for (const Entry& row : old_rows) {
    if (!taken.contains(row.number)) match.removed.push_back(row.number);
  }
  old_rows = {};
  new_rows = {};
  each([&](uint64_t position, TaskId task, bool same, const Rows&, const Rows& after) {
    if (!after.has()) return;
    if (!same) {
      const auto pair = pairs.find(position);
      task = pair != pairs.end() ? pair->second : 0;
    }
    if (task != 0) {
      ++match.kept;
    } else {
      ++match.added;
      task = ++last;
    }
    Append(match.ranges, position, task);
  });
  return match;
}

}  // namespace cq
