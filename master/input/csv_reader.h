#pragma once

#include <csv.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"

namespace cq {

struct CsvRow {
  std::vector<std::string> fields;
  /// Where it starts: the line, from 1, and the byte.
  uint64_t line = 0;
  uint64_t offset = 0;
};

/// Reads RFC 4180 row by row in bounded memory: quotes, embedded newlines, CRLF, UTF-8 with or
/// without BOM; any bytes pass through. Spaces are data. A blank line is skipped unless the header
/// has one column.
class CsvReader {
 public:
  /// Reads `fd` from where it stands; `name` is for messages. Every byte read goes to `copy_fd`,
  /// too, unless that is -1. While `interrupt_fd` (-1: none) is readable, reading throws
  /// Interrupted.
  CsvReader(Fd fd, std::string name, int copy_fd = -1, int interrupt_fd = -1, char separator = ',');
  CsvReader(const CsvReader&) = delete;
  CsvReader& operator=(const CsvReader&) = delete;
  ~CsvReader();

  /// The next row. False at the end. Throws UsageError for a quote that is never closed or has text
  /// behind it, a lone carriage return, and for what is no text of one byte a letter; Error if
  /// reading fails.
  bool Next(CsvRow& row);

  /// Blank lines are rows with one empty value from now on. Tell after the header, if it has one
  /// column.
  void set_single_column(bool single) { single_column_ = single; }

  uint64_t bytes_read() const { return bytes_read_; }

  /// Goes on at `offset`, where row starts on `line`. Only for files.
  void Seek(uint64_t offset, uint64_t line);

 private:
  void Begin();
  bool FillBuffer();
  void Feed(std::string_view piece);
  void CheckReturn() const;
  std::string OtherSeparator(char c) const;
  void Finish();
  static void OnField(void* field, size_t size, void* self);
  static void OnRow(int end, void* self);

  Fd fd_;
  std::string name_;
  int copy_fd_;
  int interrupt_fd_;
  char separator_;
  csv_parser parser_{};
  std::vector<char> buffer_;
  size_t at_ = 0;
  size_t end_ = 0;
  uint64_t bytes_read_ = 0;
  bool at_start_ = true;
  bool exhausted_ = false;  // the last read gave nothing
  bool ended_ = false;
  bool single_column_ = false;

  uint64_t line_ = 1;
  uint64_t offset_ = 0;
  bool in_row_ = false;
  /// A carriage return ended the last row; and whether no newline came behind one.
  bool after_return_ = false;
  bool lone_return_ = false;
  uint64_t row_line_ = 1;
  uint64_t row_bytes_ = 0;
  CsvRow current_;
  std::vector<CsvRow> ready_;
  size_t next_ready_ = 0;
};

/// `text` as one field of a CSV: quoted if it must be; as valid UTF-8, for whoever reads it.
std::string CsvField(std::string_view text);
void AppendCsvField(std::string& line, std::string_view text);
/// The same with its bytes as they are.
void AppendCsvFieldAsItIs(std::string& line, std::string_view text);
/// A line of such fields, with its end.
void AppendCsvLineAsItIs(std::string& text, const std::vector<std::string>& fields);

}  // namespace cq
