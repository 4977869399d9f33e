// libFuzzer: whatever bytes a file holds, the reader gives rows or says what is wrong; and rows
// written as CSV read back the same.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "base/text.h"
#include "cq/error.h"
#include "master/input/csv_reader.h"

namespace {

using Rows = std::vector<std::vector<std::string>>;

cq::Fd FileOf(std::string_view bytes) {
  cq::Fd fd(memfd_create("csv", MFD_CLOEXEC));
  cq::WriteAll(fd.get(), bytes);
  lseek(fd.get(), 0, SEEK_SET);
  return fd;
}

// False where the bytes are no CSV.
bool Read(std::string_view bytes, Rows& rows) {
  cq::CsvReader reader(FileOf(bytes), "fuzz");
  cq::CsvRow row;
  try {
    while (reader.Next(row)) {
      if (rows.empty()) reader.set_single_column(row.fields.size() == 1);
      rows.push_back(row.fields);
    }
  } catch (const cq::UsageError&) {
    return false;
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Rows rows;
  if (!Read({reinterpret_cast<const char*>(data), size}, rows) || rows.empty()) return 0;
  // Only text is written; bytes that are none become U+FFFD.
  for (auto& row : rows) {
    for (std::string& field : row) field = cq::ValidText(field);
  }
  // A row before them, as every file of ours has: how a file begins may say that it is no CSV.
  rows.insert(rows.begin(), std::vector<std::string>(rows[0].size(), "column"));
  std::string text;
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) text += (i == 0 ? "" : ",") + cq::CsvField(row[i]);
    text += '\n';
  }
  Rows again;
  if (!Read(text, again) || again != rows) {
    // A blank line is a row only where there is one column.
    for (const auto& row : rows) {
      if (row.size() == 1 && row[0].empty()) return 0;
    }
    std::abort();
  }
  return 0;
}
