// libFuzzer: whatever bytes a file holds, the reader gives rows or says what is wrong; and rows
// written as CSV read back the same.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "cq/error.h"
#include "master/csv_reader.h"

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
  if (!Read({reinterpret_cast<const char*>(data), size}, rows)) return 0;
  std::string text;
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) text += (i == 0 ? "" : ",") + cq::CsvField(row[i]);
    text += '\n';
  }
  // What is skipped or taken off at the front of a file is not what a file of ours begins with.
  const bool odd = rows.empty() || text.starts_with("\xEF\xBB\xBF") ||
                   (rows[0].size() == 1 && rows[0][0].empty());
  Rows again;
  if (!odd && (!Read(text, again) || again != rows)) {
    // A blank line is a row only where there is one column.
    for (const auto& row : rows) {
      if (row.size() == 1 && row[0].empty()) return 0;
    }
    std::abort();
  }
  return 0;
}
