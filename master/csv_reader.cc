#include "master/csv_reader.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "cq/error.h"

namespace cq {
namespace {

constexpr size_t kReadBytes = 256u << 10;
/// Bounds what a quote that is never closed can cost.
constexpr uint64_t kRowBytesMax = 64u << 20;
constexpr std::string_view kBom = "\xEF\xBB\xBF";

}  // namespace

CsvReader::CsvReader(Fd fd, std::string name, int copy_fd, int interrupt_fd)
    : fd_(std::move(fd)),
      name_(std::move(name)),
      copy_fd_(copy_fd),
      interrupt_fd_(interrupt_fd),
      buffer_(kReadBytes) {
  csv_init(&parser_, 0);
  // libcsv would trim spaces around fields; here they are data.
  csv_set_space_func(&parser_, [](unsigned char) { return 0; });
}

CsvReader::~CsvReader() { csv_free(&parser_); }

void CsvReader::OnField(void* field, size_t size, void* self) {
  static_cast<CsvReader*>(self)->current_.fields.emplace_back(static_cast<const char*>(field),
                                                              size);
}

void CsvReader::OnRow(int, void* self) {
  auto* reader = static_cast<CsvReader*>(self);
  reader->ready_.push_back(std::exchange(reader->current_, CsvRow{}));
  reader->in_row_ = false;
}

bool CsvReader::FillBuffer() {
  if (interrupt_fd_ >= 0) {
    // A pipe may have nothing to read for long; a file always is readable.
    std::array<pollfd, 2> fds{{{fd_.get(), POLLIN, 0}, {interrupt_fd_, POLLIN, 0}}};
    while (poll(fds.data(), fds.size(), -1) < 0) {
    }
    if (fds[1].revents != 0)
      throw Interrupted(fmt::format("interrupted while reading '{}'", name_));
  }
  const size_t kept = end_ - at_;
  std::memmove(buffer_.data(), buffer_.data() + at_, kept);
  at_ = 0;
  end_ = kept;
  char* const begin = buffer_.data() + kept;
  ssize_t n = 0;
  do {
    n = read(fd_.get(), begin, buffer_.size() - kept);
  } while (n < 0 && errno == EINTR);
  if (n < 0) throw Error(fmt::format("cannot read '{}': {}", name_, strerror(errno)));
  if (n > 0 && copy_fd_ >= 0 && !WriteAll(copy_fd_, {begin, static_cast<size_t>(n)})) {
    throw Error(fmt::format("cannot copy '{}' to the run directory: {}", name_, strerror(errno)));
  }
  exhausted_ = n == 0;
  end_ += static_cast<size_t>(n);
  bytes_read_ += static_cast<uint64_t>(n);
  return n > 0;
}

// Line by line, so that every row knows where it starts; libcsv itself does not tell.
void CsvReader::Feed(std::string_view piece) {
  const bool after_return = std::exchange(after_return_, piece.ends_with('\r'));
  if (after_return && !in_row_ && piece == "\n") {
    // The second half of a line end whose first half ended the row.
    ++offset_;
    ++line_;
    return;
  }
  const bool blank = piece == "\n" || piece == "\r\n";
  if (!in_row_) {
    current_.line = line_;
    current_.offset = offset_;
    if (blank && single_column_) {
      current_.fields.emplace_back();
      OnRow('\n', this);
    }
  }
  offset_ += piece.size();
  if (piece.ends_with('\n')) ++line_;
  if (blank && !in_row_) return;
  in_row_ = true;
  const size_t before = ready_.size();
  if (csv_parse(&parser_, piece.data(), piece.size(), OnField, OnRow, this) != piece.size()) {
    throw Error(fmt::format("{}:{}: {}", name_, line_, csv_strerror(csv_error(&parser_))));
  }
  if (ready_.size() > before + 1) {
    throw UsageError(
        fmt::format("{}:{}: a carriage return without a newline ends a row here; lines end in "
                    "\\n or \\r\\n",
                    name_, ready_[before].line));
  }
  row_bytes_ = in_row_ ? row_bytes_ + piece.size() : 0;
  if (row_bytes_ > kRowBytesMax) {
    throw UsageError(
        fmt::format("{}:{}: the row that begins on this line has more than {} bytes; is a quote "
                    "never closed?",
                    name_, current_.line, kRowBytesMax));
  }
}

void CsvReader::Finish() {
  ended_ = true;
  const uint64_t line = current_.line;
  // Strict here alone: a quote inside an unquoted field (5" pipe) is data, one that is never closed
  // is not.
  csv_set_opts(&parser_, CSV_STRICT | CSV_STRICT_FINI);
  if (csv_fini(&parser_, OnField, OnRow, this) != 0) {
    throw UsageError(fmt::format(
        "{}:{}: a quote in the row that begins on this line is never closed", name_, line));
  }
}

bool CsvReader::Next(CsvRow& row) {
  while (next_ready_ == ready_.size()) {
    ready_.clear();
    next_ready_ = 0;
    if (ended_) return false;
    // The first bytes must show a BOM whole, and a carriage return what follows it.
    const bool undecided = (at_start_ && end_ - at_ < kBom.size()) ||
                           (end_ - at_ == 1 && buffer_[at_] == '\r' && !in_row_);
    if ((at_ == end_ || undecided) && !FillBuffer() && at_ == end_) {
      Finish();
      continue;
    }
    std::string_view rest(buffer_.data() + at_, end_ - at_);
    if (at_start_ && rest.size() < kBom.size() && !exhausted_) continue;
    if (std::exchange(at_start_, false) && rest.starts_with(kBom)) {
      at_ += kBom.size();
      offset_ += kBom.size();
      continue;
    }
    if (rest == "\r" && !in_row_ && !exhausted_) continue;
    const size_t newline = rest.find('\n');
    const size_t size = newline == std::string_view::npos ? rest.size() : newline + 1;
    at_ += size;
    Feed(rest.substr(0, size));
  }
  row = std::move(ready_[next_ready_++]);
  return true;
}

void CsvReader::Seek(uint64_t offset, uint64_t line) {
  if (lseek(fd_.get(), static_cast<off_t>(offset), SEEK_SET) < 0) {
    throw Error(fmt::format("cannot read '{}': {}", name_, strerror(errno)));
  }
  csv_free(&parser_);
  csv_init(&parser_, 0);
  csv_set_space_func(&parser_, [](unsigned char) { return 0; });
  at_ = end_ = 0;
  at_start_ = ended_ = in_row_ = exhausted_ = false;
  row_bytes_ = 0;
  offset_ = offset;
  line_ = line;
  current_ = {};
  ready_.clear();
  next_ready_ = 0;
}

void AppendCsvField(std::string& line, std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) {
    line += text;
    return;
  }
  line += '"';
  for (const char c : text) {
    if (c == '"') line += '"';
    line += c;
  }
  line += '"';
}

std::string CsvField(std::string_view text) {
  std::string field;
  AppendCsvField(field, text);
  return field;
}

}  // namespace cq
