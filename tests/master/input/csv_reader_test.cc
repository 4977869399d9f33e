#include "master/input/csv_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <thread>

#include "cq/error.h"
#include "master/input/input.h"
#include "protocol/seeds.h"
#include "tests/support/temporary_directory.h"

namespace cq {
namespace {

using Fields = std::vector<std::string>;

class CsvReaderTest : public ::testing::Test {
 protected:
  CsvReader Open(const std::string& text) {
    ReplaceFile(path_, text, 0600);
    return CsvReader(Fd(open(path_.c_str(), O_RDONLY | O_CLOEXEC)), "in.csv");
  }
  std::vector<Fields> ReadAll(const std::string& text, bool single = false) {
    CsvReader reader = Open(text);
    reader.set_single_column(single);
    std::vector<Fields> rows;
    for (CsvRow row; reader.Next(row);) rows.push_back(row.fields);
    return rows;
  }
  std::string InputError(const std::string& text) {
    ReplaceFile(path_, text, 0600);
    try {
      ReadInput({.path = path_});
    } catch (const UsageError& error) {
      return std::string(error.what()).substr(directory_.path().size() + 1);
    }
    return "no error";
  }

  TemporaryDirectory directory_;
  const std::string path_ = directory_.File("in.csv");
};

TEST_F(CsvReaderTest, ReadsQuotesNewlinesAndLineEnds) {
  EXPECT_EQ(ReadAll("\xEF\xBB\xBF"
                    "a,b\r\n\"x\r\ny\",\"q\"\"q\"\n 1 ,\n"),
            (std::vector<Fields>{{"a", "b"}, {"x\r\ny", "q\"q"}, {" 1 ", ""}}));
}

// Wherever reads end: a pipe that gives a byte at a time.
TEST_F(CsvReaderTest, RowsAreTheSameHoweverTheyAreRead) {
  // The reader may have seen enough before all is written.
  signal(SIGPIPE, SIG_IGN);
  const auto by_bytes = [](const std::string& text) {
    Pipe pipe = MakePipe();
    std::thread writer([&] {
      for (const char c : text) WriteAll(pipe.write.get(), {&c, 1});
      pipe.write.Close();
    });
    std::string rows;
    try {
      CsvReader reader(std::move(pipe.read), "input");
      for (CsvRow row; reader.Next(row);) {
        for (const auto& field : row.fields) rows += fmt::format("[{}]", field);
        rows += fmt::format("@{},{};", row.line, row.offset);
      }
    } catch (const UsageError& error) {
      rows = error.what();
    }
    writer.join();
    return rows;
  };
  const auto whole = [this](const std::string& text) {
    std::string rows;
    try {
      ReplaceFile(path_, text, 0600);
      CsvReader reader(OpenRegular(path_), "input");
      for (CsvRow row; reader.Next(row);) {
        for (const auto& field : row.fields) rows += fmt::format("[{}]", field);
        rows += fmt::format("@{},{};", row.line, row.offset);
      }
    } catch (const UsageError& error) {
      rows = error.what();
    }
    return rows;
  };
  for (const std::string text : {"a,b\n1,\"x\r\ny\"\r\n\r\n3,4", "a,b\r1,2\r", "a,b\n1,x\r2,y\n",
                                 "\ra,b\n", "a,b\n1,x\r\r\n", "a,b\n1,x\r", "a,b\n1,\"x\"y\n",
                                 "\"a\"x,b\n1,2\n", "a,b\n5\" pipe,x\"y\"z\n", "a,b\n1,\"x",
                                 "\xEF\xBB\xBF"
                                 "a,b\n1,2\n",
                                 "a,b\n\r\n\n1,2\n"}) {
    EXPECT_EQ(by_bytes(text), whole(text)) << text;
  }
}

TEST_F(CsvReaderTest, TextBehindAClosingQuoteIsRefusedWithItsLine) {
  const std::string reason =
      "text behind a closing quote; a quote within quotes is written twice (\"\")";
  EXPECT_EQ(InputError("a,b\n1,\"a\"b\n2,\"c\"\n3,y\n"), "in.csv:2: " + reason);
  EXPECT_EQ(InputError("\"a\"x,b\n1,\"2\"\n"), "in.csv:1: " + reason);
  EXPECT_EQ(InputError("a,b\n1,2\n1,\"b\" \n"), "in.csv:3: " + reason);
  EXPECT_EQ(InputError("a,b\n1,\"a\" \"b\"\n"), "in.csv:2: " + reason);
}

TEST_F(CsvReaderTest, ALoneCarriageReturnIsRefusedWhereverItStands) {
  for (const std::string text :
       {"a,b\n1,x\r2,y\n", "a,b\n\r1,x\n", "a,b\n1,x\r\r\n", "a,b\n1,x\r", "a,b\r1,x\r"}) {
    EXPECT_NE(InputError(text).find("a carriage return without a newline"), std::string::npos)
        << text << InputError(text);
  }
  // At the end of what is read at a time, too.
  for (const size_t before : {(256u << 10) - 3, (256u << 10) - 2, (256u << 10) - 1, 256u << 10}) {
    std::string text = "a,b\n";
    text += std::string(before - text.size() - 2, '1') + ",x\r2,y\n";
    EXPECT_NE(InputError(text).find("a carriage return without a newline"), std::string::npos);
  }
}

TEST_F(CsvReaderTest, WhatIsNoCsvOfCommasIsNamed) {
  using namespace std::string_literals;
  const std::pair<std::string, std::string> cases[] = {
      {"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"s, "gzip"},
      {"PK\x03\x04\x14\x00\x00\x00\x08"s, "zip archive"},
      {"\xff\xfe"s + "a\0,\0b\0\n\0"s, "UTF-16"},
      {"\xfe\xff\0a\0,\0b\0\n"s, "UTF-16"},
      {"a\0,\0b\0\n\0"s, "UTF-16"},
      {"X\n\0\0\0\3\0\4"s, "saveRDS"},
      {"RDX3\nX\n\0\0"s, "save()"},
      {"a;b\n1;2\n", "--separator ';'"},
      {"a\tb\n1\t2\n", "--separator tab"},
      {"\"\",\"x\"\n\"1\",2\n", "row.names = FALSE"},
  };
  for (const auto& [text, what] : cases) {
    EXPECT_NE(InputError(text).find(what), std::string::npos) << what << ": " << InputError(text);
  }
}

// What begins like the signature of another format, and is none.
TEST_F(CsvReaderTest, AColumnMayBeNamedLikeAFormat) {
  for (const char* name : {"BZh", "BZh9", "RDX", "PAR1", "PK"}) {
    EXPECT_EQ(ReadAll(std::string(name) + ",b\n1,2\n"),
              (std::vector<Fields>{{name, "b"}, {"1", "2"}}));
    EXPECT_EQ(ReadAll(name), (std::vector<Fields>{{name}}));
  }
  EXPECT_NE(InputError("BZh91AY&SY\x01\x02").find("bzip2"), std::string::npos);
}

TEST_F(CsvReaderTest, TheLastLineNeedsNoNewline) {
  EXPECT_EQ(ReadAll("a,b\n1,2"), (std::vector<Fields>{{"a", "b"}, {"1", "2"}}));
}

TEST_F(CsvReaderTest, ABlankLineIsSkippedUnlessThereIsOneColumn) {
  EXPECT_EQ(ReadAll("a,b\n\n1,2\n\r\n"), (std::vector<Fields>{{"a", "b"}, {"1", "2"}}));
  EXPECT_EQ(ReadAll("a\n\n1\n", true), (std::vector<Fields>{{"a"}, {""}, {"1"}}));
}

TEST_F(CsvReaderTest, AnyBytesPassThrough) {
  const std::string bytes("\xff\xfe\0z", 4);
  EXPECT_EQ(ReadAll("a,b\n" + bytes + ",2\n")[1], (Fields{bytes, "2"}));
}

TEST_F(CsvReaderTest, RowsKnowTheirLineAndCanBeFoundAgain) {
  CsvReader reader = Open("a,b\n\"1\n2\",x\n\n3,4\n5,6\n");
  CsvRow row;
  reader.Next(row);
  reader.Next(row);
  EXPECT_EQ(row.line, 2u);
  reader.Next(row);
  EXPECT_EQ(row.line, 5u);
  const CsvRow third = row;
  reader.Next(row);
  reader.Seek(third.offset, third.line);
  ASSERT_TRUE(reader.Next(row));
  EXPECT_EQ(row.fields, (Fields{"3", "4"}));
  EXPECT_EQ(row.line, 5u);
}

TEST_F(CsvReaderTest, FieldsLongerThanTheBufferAreWhole) {
  const std::string big(700'000, 'x');
  EXPECT_EQ(ReadAll("a,b\n\"" + big + "\n\",2\n")[1], (Fields{big + "\n", "2"}));
}

TEST_F(CsvReaderTest, BadInputIsNamedWithItsLine) {
  EXPECT_EQ(InputError("a,b\n1,2\n3\n"), "in.csv:3: this row has 1 fields, the header has 2");
  EXPECT_EQ(InputError("a,a\n"), "in.csv:1: the header names column 'a' twice");
  EXPECT_NE(InputError("a,b\r1,2\r3,4\n").find("in.csv:1: a carriage return"), std::string::npos);
  EXPECT_EQ(InputError("a,\n"), "in.csv:1: column 2 of the header has no name");
  EXPECT_EQ(InputError("a,b\n1,\"2\n3,4\n"),
            "in.csv:2: a quote in the row that begins on this line is never closed");
}

TEST_F(CsvReaderTest, ItDoesNotMatterHowTheInputArrives) {
  // Byte by byte through a pipe: the BOM, and a carriage return and its newline, come apart.
  const std::string text =
      "\xEF\xBB\xBF"
      "a\r\n\r\n1\r\n\"x\r\ny\"\r\n\r\n";
  Pipe pipe = MakePipe();
  std::thread writer([&] {
    for (const char c : text) {
      EXPECT_TRUE(WriteAll(pipe.write.get(), {&c, 1}));
      std::this_thread::yield();
    }
    pipe.write.Close();
  });
  CsvReader reader(std::move(pipe.read), "pipe");
  CsvRow row;
  ASSERT_TRUE(reader.Next(row));
  EXPECT_EQ(row.fields, (Fields{"a"}));
  reader.set_single_column(true);
  std::vector<Fields> rows;
  while (reader.Next(row)) rows.push_back(row.fields);
  writer.join();
  EXPECT_EQ(rows, (std::vector<Fields>{{""}, {"1"}, {"x\r\ny"}, {""}}));
}

TEST_F(CsvReaderTest, FieldsAreQuotedOnlyWhereTheyMustBe) {
  EXPECT_EQ(CsvField("a b"), "a b");
  EXPECT_EQ(CsvField("a,b"), "\"a,b\"");
  EXPECT_EQ(CsvField("a\"b"), "\"a\"\"b\"");
  EXPECT_EQ(CsvField("a\nb"), "\"a\nb\"");
}

class RowSourceTest : public ::testing::Test {
 protected:
  RowSourceTest() {
    std::string text = "a,b\n";
    for (int i = 1; i <= kRows; ++i) text += std::to_string(i) + ",x" + std::to_string(i) + "\n";
    ReplaceFile(path_, text, 0600);
  }
  static constexpr int kRows = 200'000;
  TemporaryDirectory directory_;
  const std::string path_ = directory_.File("p.csv");
};

TEST_F(RowSourceTest, RowsAreFoundInAnyOrder) {
  RowSource rows({path_, {{1, 1, kRows}}, {1}, {}, 7, {}});
  for (const TaskId task : {1ull, 2ull, 150'000ull, 3ull, 65'537ull, 200'000ull, 1ull}) {
    EXPECT_EQ(rows.Get(task).values, (Fields{"x" + std::to_string(task)}));
    rows.Forget({task});
  }
}

TEST_F(RowSourceTest, NumbersFollowTheRangesOfAnEditedInput) {
  RowSource rows({path_, {{1, 500'001, 10}, {11, 1, kRows - 10}}, {0}, {}, 7, {}});
  EXPECT_EQ(rows.Get(500'003).values, (Fields{"3"}));
  EXPECT_EQ(rows.Get(1).values, (Fields{"11"}));
}

TEST_F(RowSourceTest, SeedsDependOnNumberOrColumnsAlone) {
  RowSource by_number({path_, {{1, 1, kRows}}, {}, {}, 7, {}});
  RowSource again({path_, {{1, 1, kRows}}, {0}, {}, 7, {}});
  RowSource other({path_, {{1, 1, kRows}}, {}, {}, 8, {}});
  EXPECT_EQ(by_number.Get(5).seed, again.Get(5).seed);
  EXPECT_NE(by_number.Get(5).seed, by_number.Get(6).seed);
  EXPECT_NE(by_number.Get(5).seed, other.Get(5).seed);
  for (TaskId task = 1; task < 1000; ++task) {
    EXPECT_GE(by_number.Get(task).seed, 1u);
    EXPECT_LE(by_number.Get(task).seed, 2'147'483'647u);
  }
  EXPECT_EQ(SeedOfValues(1, {"a", "b"}), SeedOfValues(1, {"a", "b"}));
  EXPECT_NE(SeedOfValues(1, {"ab", ""}), SeedOfValues(1, {"a", "b"}));
}

}  // namespace
}  // namespace cq
