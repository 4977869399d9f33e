#include "master/input/csv_reader.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/text.h"
#include "cq/error.h"

namespace cq {
namespace {

constexpr size_t kReadBytes = 256u << 10;
/// Bounds what a quote that is never closed can cost.
constexpr uint64_t kRowBytesMax = 64u << 20;
constexpr std::string_view kBom = "\xEF\xBB\xBF";
/// Strict about quotes; and every line end is told of, also of blank lines.
constexpr unsigned char kOptions = CSV_STRICT | CSV_STRICT_FINI | CSV_REPALL_NL;
/// So many bytes tell what a file is.
constexpr size_t kSignatureBytes = 8;

// What the first bytes say, if that is no text of one byte a letter.
std::string OtherFormat(std::string_view head) {
  using namespace std::string_view_literals;
  constexpr std::pair<std::string_view, const char*> kSignatures[] = {
      {"\x1f\x8b"sv, "compressed by gzip (or a file of saveRDS): 'zcat FILE | cq run -' reads it"},
      {"\x28\xb5\x2f\xfd"sv, "compressed by zstd: 'zstdcat FILE | cq run -' reads it"},
      {"\xfd"
       "7zXZ"sv,
       "compressed by xz: 'xzcat FILE | cq run -' reads it"},
      {"PK\x03\x04"sv, "a zip archive (or a spreadsheet): save it as CSV"},
      {"RDX3\n"sv, "a file of R's save(): write.csv(..., row.names = FALSE) makes a CSV"},
      {"X\n\0\0"sv, "a file of R's saveRDS(): write.csv(..., row.names = FALSE) makes a CSV"},
      {"PAR1\x15"sv, "a Parquet file: save it as CSV"},
      {"\xff\xfe"sv, "UTF-16 (or 32): 'iconv -f UTF-16 -t UTF-8 FILE | cq run -' reads it"},
      {"\xfe\xff"sv, "UTF-16: 'iconv -f UTF-16 -t UTF-8 FILE | cq run -' reads it"},
      {"\0\0\xfe\xff"sv, "UTF-32: 'iconv -f UTF-32 -t UTF-8 FILE | cq run -' reads it"},
  };
  for (const auto& [signature, what] : kSignatures) {
    if (head.starts_with(signature)) return what;
  }
  // Between the two is its level, a digit.
  if (head.starts_with("BZh") && head.size() > 4 && head.substr(4).starts_with("1AY&")) {
    return "compressed by bzip2: 'bzcat FILE | cq run -' reads it";
  }
  const std::string_view first = head.substr(0, head.find('\n'));
  if (first.substr(0, kSignatureBytes).find('\0') == std::string_view::npos) return {};
  return "no text (it has NUL bytes); UTF-16 is read by 'iconv -f UTF-16 -t UTF-8 FILE | cq run -'";
}

void RefuseOtherFormats(std::string_view head, const std::string& name) {
  const std::string what = OtherFormat(head);
  if (!what.empty()) throw UsageError(fmt::format("'{}' is no CSV: it is {}", name, what));
}

}  // namespace

CsvReader::CsvReader(Fd fd, std::string name, int copy_fd, int interrupt_fd, char separator)
    : fd_(std::move(fd)),
      name_(std::move(name)),
      copy_fd_(copy_fd),
      interrupt_fd_(interrupt_fd),
      separator_(separator),
      buffer_(kReadBytes) {
  Begin();
}

void CsvReader::Begin() {
  csv_init(&parser_, kOptions);
  // By how much libcsv lets a field grow at a time: with the 128 bytes that it takes of itself, a
  // field of megabytes is copied ten thousands of times.
  csv_set_blk_size(&parser_, 1 << 16);
  csv_set_delim(&parser_, static_cast<unsigned char>(separator_));
  // libcsv would trim spaces around fields; here they are data.
  csv_set_space_func(&parser_, [](unsigned char) { return 0; });
}

CsvReader::~CsvReader() { csv_free(&parser_); }

void CsvReader::OnField(void* field, size_t size, void* self) {
  static_cast<CsvReader*>(self)->current_.fields.emplace_back(static_cast<const char*>(field),
                                                              size);
}

// Every end of a line outside quotes comes here: also that of a blank one, and both halves of a
// return with a newline.
void CsvReader::OnRow(int end, void* self) {
  auto* reader = static_cast<CsvReader*>(self);
  CsvRow row = std::exchange(reader->current_, CsvRow{});
  reader->in_row_ = false;
  const bool after_return = std::exchange(reader->after_return_, end == '\r');
  if (after_return && end == '\n' && row.fields.empty()) return;
  reader->lone_return_ = reader->lone_return_ || after_return;
  if (row.fields.empty()) {
    if (!reader->single_column_) return;
    row.fields.emplace_back();
  }
  reader->ready_.push_back(std::move(row));
}

// What may be meant by this character behind a closing quote of the header.
std::string CsvReader::OtherSeparator(char c) const {
  if (line_ != 1 || separator_ != ',' ||
      std::string_view(";\t| ").find(c) == std::string_view::npos)
    return {};
  return fmt::format("; if fields are separated by it: --separator {}",
                     c == '\t' ? "tab" : fmt::format("'{}'", c));
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
  if (!in_row_) {
    current_.line = line_;
    current_.offset = offset_;
    // Blank lines and the second half of a line end begin none: OnRow takes that back.
    row_line_ = line_;
  }
  in_row_ = true;
  for (size_t at = 0; at < piece.size();) {
    at += csv_parse(&parser_, piece.data() + at, piece.size() - at, OnField, OnRow, this);
    if (at == piece.size()) break;
    if (csv_error(&parser_) != CSV_EPARSE) {
      throw Error(fmt::format("{}:{}: {}", name_, line_, csv_strerror(csv_error(&parser_))));
    }
    if (parser_.quoted != 0) {
      throw UsageError(fmt::format(
          "{}:{}: text behind a closing quote; a quote within quotes is written twice (\"\"){}",
          name_, line_, OtherSeparator(piece[at])));
    }
    // A quote inside an unquoted field (5" pipe) is data.
    csv_set_opts(&parser_, kOptions & ~CSV_STRICT);
    at += csv_parse(&parser_, piece.data() + at, 1, OnField, OnRow, this);
    csv_set_opts(&parser_, kOptions);
  }
  CheckReturn();
  offset_ += piece.size();
  if (piece.ends_with('\n')) ++line_;
  row_bytes_ = in_row_ ? row_bytes_ + piece.size() : 0;
  if (row_bytes_ > kRowBytesMax) {
    throw UsageError(
        fmt::format("{}:{}: the row that begins on this line has more than {} bytes; is a quote "
                    "never closed?",
                    name_, current_.line, kRowBytesMax));
  }
}

// Whether one ends a line without a newline can only be told by what comes behind it.
void CsvReader::CheckReturn() const {
  if (!lone_return_) return;
  throw UsageError(
      fmt::format("{}:{}: a carriage return without a newline ends a row here; lines end in "
                  "\\n or \\r\\n",
                  name_, row_line_));
}

void CsvReader::Finish() {
  ended_ = true;
  const uint64_t line = current_.line;
  if (csv_fini(&parser_, OnField, OnRow, this) != 0) {
    throw UsageError(fmt::format(
        "{}:{}: a quote in the row that begins on this line is never closed", name_, line));
  }
  lone_return_ = lone_return_ || after_return_;
  CheckReturn();
}

bool CsvReader::Next(CsvRow& row) {
  while (next_ready_ == ready_.size()) {
    ready_.clear();
    next_ready_ = 0;
    if (ended_) return false;
    // The first bytes must show a BOM whole, or what else it is.
    const bool undecided = at_start_ && end_ - at_ < kSignatureBytes && !exhausted_;
    if ((at_ == end_ || undecided) && !FillBuffer() && at_ == end_) {
      Finish();
      continue;
    }
    std::string_view rest(buffer_.data() + at_, end_ - at_);
    if (at_start_ && rest.size() < kSignatureBytes && !exhausted_) continue;
    if (std::exchange(at_start_, false)) {
      RefuseOtherFormats(rest, name_);
      if (rest.starts_with(kBom)) {
        at_ += kBom.size();
        offset_ += kBom.size();
        continue;
      }
    }
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
  Begin();
  at_ = end_ = 0;
  at_start_ = ended_ = in_row_ = exhausted_ = after_return_ = lone_return_ = false;
  row_bytes_ = 0;
  offset_ = offset;
  line_ = line;
  current_ = {};
  ready_.clear();
  next_ready_ = 0;
}

void AppendCsvField(std::string& line, std::string_view text) {
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) { return c > 0; });
  if (plain || (IsUtf8(text) && text.find('\0') == std::string_view::npos)) {
    AppendCsvFieldAsItIs(line, text);
  } else {
    AppendCsvFieldAsItIs(line, ValidText(text));
  }
}

void AppendCsvFieldAsItIs(std::string& line, std::string_view text) {
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

void AppendCsvLineAsItIs(std::string& text, const std::vector<std::string>& fields) {
  for (size_t i = 0; i < fields.size(); ++i) {
    if (i > 0) text += ',';
    AppendCsvFieldAsItIs(text, fields[i]);
  }
  text += '\n';
}

std::string CsvField(std::string_view text) {
  std::string field;
  AppendCsvField(field, text);
  return field;
}

}  // namespace cq
