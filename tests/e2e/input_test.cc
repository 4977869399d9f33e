// What `cq run` takes for its input, and what it says of what it does not take.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <filesystem>

#include "base/files.h"
#include "tests/e2e/run_fixture.h"
#include "tests/support/process.h"

namespace cq {
namespace {

TEST_F(RunTest, BadInputIsToldBeforeAnythingStarts) {
  ExpectRefused(Run("a,b\n1\n", {}, {"echo"}), "in.csv:2: this row has 1 fields");
  ExpectRefused(Run("a,a\n1,2\n", {}, {"echo"}), "'a' twice");
  ExpectRefused(Run(",b\n1,2\n", {}, {"echo"}), "column 1");
  ExpectRefused(Run("", {}, {"echo"}), "is empty");
  ExpectRefused(Run("a,b\n1,\"2\n", {}, {"echo"}), "in.csv:2: a quote");
  ExpectRefused(Run("a,b\n1,2\n", {}, {"echo", "{c}"}), "{c}");
  ExpectRefused(Run("a,b\n1,2\n", {"--const", "a=3"}, {"echo"}), "--const a");
  ExpectRefused(Run("a,b\n1,2\n", {"--seed-by", "z"}, {"echo"}), "'z'");
  ExpectRefused(Cq({"run", "missing.csv", "--", "true"}, directory_.path()), "missing.csv");
  ExpectRefused(Cq({"run", ".", "--", "true"}, directory_.path()), "directory");
}

TEST_F(RunTest, BytesThatAreNoTextAreToldOfAndGivenAsTheyAre) {
  const Ended ended = Run("a,b\n1,x\n2,caf\xe9\n", {}, {"sh", "-c", "printf %s {b} | od -An -tx1"});
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_NE(ended.err.find("'in.csv' is not all UTF-8 (line 3 "), std::string::npos) << ended.err;
  EXPECT_EQ(Column("cq_stdout")[1], " 63 61 66 e9");
  EXPECT_EQ(Column("b")[1], "caf\xEF\xBF\xBD");
}

TEST_F(RunTest, WhatIsCompressedIsAFile) {
  ASSERT_EQ(mkfifo(directory_.File("in.csv.gz").c_str(), 0600), 0);
  // Held open, so that opening it to read does not wait.
  const Fd held(open(directory_.File("in.csv.gz").c_str(), O_RDWR | O_CLOEXEC));
  ExpectRefused(Cq({"run", "in.csv.gz", "--", "true"}, directory_.path()), "zcat in.csv.gz | cq");
}

TEST_F(RunTest, CompressedAndOtherwiseSeparatedInputIsRead) {
  WriteFile(directory_.File("plain.csv"), "a,b\n1,\"x;y\"\n2,z\n");
  for (const std::string make :
       {"gzip <plain.csv >in.csv.gz", "zstd -q <plain.csv >in.csv.zst",
        "sed 's/,/;/g; s/x;y/x,y/' <plain.csv >in.csv", "tr , '\\t' <plain.csv >in.tsv"}) {
    const std::string name = make.substr(make.rfind('>') + 1);
    TestProcess({"sh", "-c", make}, directory_.path()).Wait();
    Words words = {"run", name, "--run-dir", "r.cq", "--fresh"};
    if (name == "in.csv") words.insert(words.end(), {"--separator", ";"});
    words.insert(words.end(), {"--", "echo", "{b}"});
    const Ended ended = Cq(words, directory_.path());
    EXPECT_EQ(ended.status, 0) << make << ended.err;
    const std::string first = name == "in.csv" ? "x,y" : "x;y";
    EXPECT_EQ(cq::Column(directory_.File("r.cq/results.csv"), "cq_stdout"), (Words{first, "z"}))
        << make;
    // Nothing runs again.
    words.erase(words.begin() + 4);
    const Ended again = Cq(words, directory_.path());
    EXPECT_EQ(again.status, 0) << again.err;
    EXPECT_EQ(again.err.find("changed"), std::string::npos) << again.err;
  }
  WriteFile(directory_.File("bad.csv.gz"), "a,b\n1,2\n");
  EXPECT_EQ(Cq({"run", "bad.csv.gz", "--", "true"}, directory_.path()).status, 0)
      << "not compressed";
  TestProcess({"sh", "-c", "gzip <plain.csv | head -c 30 >cut.csv.gz"}, directory_.path()).Wait();
  const Ended cut = Cq({"run", "cut.csv.gz", "--", "true"}, directory_.path());
  EXPECT_EQ(cut.status, 2);
  EXPECT_NE(cut.err.find("decompress"), std::string::npos) << cut.err;
}

TEST_F(RunTest, CompressedInputThatIsDamagedAnywhereIsRefused) {
  std::string text = "a\n";
  for (int i = 0; i < 30'000; ++i) text += std::to_string(i) + "\n";
  WriteFile(directory_.File("plain.csv"), text);
  for (const std::string tool : {"gzip", "zstd -q", "xz", "bzip2"}) {
    const std::string ending = tool == "gzip"    ? ".gz"
                               : tool == "xz"    ? ".xz"
                               : tool == "bzip2" ? ".bz2"
                                                 : ".zst";
    const std::string name = "in.csv" + ending;
    if (TestProcess({"sh", "-c", tool + " <plain.csv >" + name}, directory_.path()).Wait().status !=
        0) {
      continue;  // not installed
    }
    const std::string whole = Slurp(directory_.File(name));
    const auto status = [&](const std::string& bytes) {
      WriteFile(directory_.File(name), bytes);
      return Cq({"run", name, "--dry-run", "--", "true"}, directory_.path()).status;
    };
    EXPECT_EQ(status(whole), 0) << name;
    EXPECT_EQ(status(whole + whole), 0) << name;
    EXPECT_EQ(status(whole.substr(0, whole.size() - 5)), 2) << name;
    for (size_t at = whole.size() / 8; at < whole.size(); at += whole.size() / 8) {
      std::string damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ 4);
      EXPECT_EQ(status(damaged), 2) << name << " at " << at;
    }
    if (ending != ".gz") continue;
    std::string checksum = whole;
    checksum[whole.size() - 6] = static_cast<char>(checksum[whole.size() - 6] ^ 4);
    EXPECT_EQ(status(checksum), 2);
    EXPECT_EQ(status(whole + whole.substr(0, 5)), 2);
    EXPECT_EQ(status(whole + "more"), 2);
    EXPECT_EQ(status(whole + std::string(512, '\0')), 0);
    EXPECT_EQ(status(""), 2);
  }
}

TEST_F(RunTest, ASeparatorBehindAQuoteIsOffered) {
  ExpectRefused(Run("\"a\";\"b\"\n1;2\n", {}, {"true"}), "--separator ';'");
  ExpectRefused(Run("\"a\"\t\"b\"\n1\t2\n", {}, {"true"}), "--separator tab");
  WriteFile(directory_.File("in.TSV"), "a\tb\n1\t2\n");
  EXPECT_EQ(Cq({"run", "in.TSV", "--", "echo", "{b}"}, directory_.path()).status, 0);
}

TEST_F(RunTest, AnotherPipeIsNoEditOfTheFirst) {
  const auto run = [&](const std::string& rows, const std::string& input) {
    TestProcess shell({"sh", "-c",
                       "printf '" + rows + "' | '" + std::string(CQ_PROGRAM) + "' run " + input +
                           " --run-dir r.cq -- echo {a}"},
                      directory_.path());
    return shell.Wait();
  };
  for (const std::string input : {"/dev/stdin", "/proc/self/fd/0"}) {
    EXPECT_EQ(run("a\\n1\\n2\\n", input).status, 0);
    EXPECT_EQ(run("a\\n1\\n2\\n", input).status, 0) << "the same rows";
    EXPECT_EQ(run("a\\n8\\n9\\n", input).status, 2);
    EXPECT_EQ(cq::Column(directory_.File("r.cq/results.csv"), "a"), (Words{"1", "2"}));
    std::filesystem::remove_all(directory_.File("r.cq"));
  }
  // Nor is a file that a descriptor is open on.
  WriteFile(directory_.File("a.csv"), "a\n1\n");
  WriteFile(directory_.File("b.csv"), "a\n2\n");
  for (const auto& [name, status] : {std::pair("a.csv", 0), {"a.csv", 0}, {"b.csv", 2}}) {
    TestProcess from_file({CQ_PROGRAM, "run", "/dev/stdin", "--run-dir", "s.cq", "--", "true"},
                          directory_.path(), {}, directory_.File(name));
    EXPECT_EQ(from_file.Wait().status, status) << name;
  }
}

TEST_F(RunTest, AFifoThatNobodyWritesToIsWaitedForUntilASignal) {
  ASSERT_EQ(mkfifo(directory_.File("fifo").c_str(), 0600), 0);
  for (const int signal : {SIGTERM, SIGINT}) {
    TestProcess cq({CQ_PROGRAM, "run", "fifo", "--", "true"}, directory_.path());
    ASSERT_TRUE(Eventually([&] {
      const std::string fds = "/proc/" + std::to_string(cq.pid()) + "/fd";
      std::error_code none;
      for (const auto& fd : std::filesystem::directory_iterator(fds, none)) {
        if (std::filesystem::read_symlink(fd, none) == directory_.File("fifo")) return true;
      }
      return false;
    }));
    cq.Signal(signal);
    EXPECT_EQ(cq.Wait().status, 130);
  }
}

TEST_F(RunTest, WhatNoWorkerCouldBeToldOfIsRefused) {
  std::string header = "c0";
  std::string row = "1";
  for (int i = 1; i <= 65'536; ++i) {
    header += ",c" + std::to_string(i);
    row += ",1";
  }
  WriteFile(directory_.File("in.csv"), header + "\n" + row + "\n");
  ExpectRefused(Cq({"run", "in.csv", "--program", "true"}, directory_.path()), "65536");
  EXPECT_EQ(Cq({"run", "in.csv", "--", "echo", "{c7}"}, directory_.path()).status, 0);
}

TEST_F(RunTest, StandardInputThatCannotBeReadIsBadInput) {
  for (const std::string from : {"<&-", "</"}) {
    TestProcess shell({"sh", "-c", "'" + std::string(CQ_PROGRAM) + "' run - -- true " + from},
                      directory_.path());
    EXPECT_EQ(shell.Wait().status, 2) << from;
  }
}

TEST_F(RunTest, ValuesThatDoNotFitAreToldBeforeAnythingStarts) {
  const std::string csv = "a,b\n1,2\nx,3\n";
  const auto program = [&](const Words& options) {
    Words words = options;
    words.insert(words.end(), {"--program", "python3 none.py"});
    WriteFile(directory_.File("in.csv"), csv);
    words.insert(words.begin(), {"run", "in.csv"});
    return Cq(words, directory_.path());
  };
  ExpectRefused(program({"--types", "a=integer"}),
                "in.csv:3: column 'a': --types: 'x' is no integer");
  ExpectRefused(program({"--order", "lpt", "--cost", "a"}), "in.csv:3: column 'a'");
  ExpectRefused(program({"--order", "lpt", "--cost", "none"}), "there is no column 'none'");
  ExpectRefused(program({"--order", "lpt", "--cost", "a", "--dry-run"}), "in.csv:3: column 'a'");
}

TEST_F(RunTest, AnInputAtAnotherPathIsNoEditOfTheFirst) {
  std::filesystem::create_directory(directory_.File("d"));
  WriteFile(directory_.File("in.csv"), "a\n1\n2\n");
  WriteFile(directory_.File("d/in.csv"), "a\n3\n");
  ASSERT_EQ(Cq({"run", "in.csv", "--", "echo", "{a}"}, directory_.path()).status, 0);
  const Ended other = Cq({"run", "d/in.csv", "--", "echo", "{a}"}, directory_.path());
  EXPECT_EQ(other.status, 2) << other.err;
  EXPECT_NE(other.err.find("/in.csv'"), std::string::npos);
  EXPECT_NE(other.err.find("/d/in.csv'"), std::string::npos) << other.err;
  EXPECT_EQ(Column("cq_stdout"), (Words{"1", "2"}));
  // The same file by another name.
  EXPECT_EQ(Cq({"run", "./d/../in.csv", "--", "echo", "{a}"}, directory_.path()).status, 0);
  // The folder was moved as a whole.
  std::filesystem::rename(directory_.File("in.csv"), directory_.File("d/in.csv"));
  EXPECT_EQ(Cq({"run", "d/in.csv", "--", "echo", "{a}"}, directory_.path()).status, 0);
  const auto from_stdin = [&](const std::string& csv) {
    return TestProcess({"sh", "-c", "printf '" + csv + "' | " CQ_PROGRAM " run - -- echo {a}"},
                       directory_.path())
        .Wait();
  };
  EXPECT_EQ(from_stdin("a\\n1\\n").status, 0);
  EXPECT_EQ(from_stdin("a\\n1\\n").status, 0);
  const Ended second = from_stdin("a\\n1\\n2\\n");
  EXPECT_EQ(second.status, 2);
  EXPECT_NE(second.err.find("standard input"), std::string::npos) << second.err;
}

TEST_F(RunTest, RowsMayStandBehindTheCommand) {
  const auto run = [&](Words words) {
    words.insert(words.begin(), {"run", "--fresh"});
    const Ended ended = Cq(words, directory_.path());
    EXPECT_EQ(ended.status, 0) << ended.err;
    return cq::Column(directory_.File("arguments.cq/results.csv"), "cq_stdout");
  };
  EXPECT_EQ(run({"--", "echo", "{1}-{2}", ":::", "a", "b c", ":::", "1", "2"}),
            (Words{"a-1", "a-2", "b c-1", "b c-2"}));
  EXPECT_EQ(run({"--", "echo", ":::", "x  y", ""}), (Words{"x  y", ""}));
  EXPECT_EQ(run({"--", "echo", "<{}>", ":::", "a", "b", ":::+", "1", "2"}),
            (Words{"<a 1>", "<b 2>"}));
  WriteFile(directory_.File("lines"), "p\nq\r\n\nr");
  EXPECT_EQ(run({"--", "echo", "{1}", "::::", "lines"}), (Words{"p", "q", "", "r"}));
  // What has braces of its own gets its argument all the same.
  EXPECT_EQ(run({"--", "awk", "END {print NR}", ":::", "lines"}), Words{"4"});
  EXPECT_EQ(run({"--", "echo", "{{}}{{2}}", "{1}", ":::", "a"}), Words{"{}{2} a"});
  EXPECT_EQ(run({"--shell", "--", "echo $CQ_TASK", ":::", "a b"}), Words{"1 a b"});
  const auto refused = [&](const Words& words, const std::string& why) {
    const Ended refusal = Cq(words, directory_.path());
    EXPECT_EQ(refusal.status, 2);
    EXPECT_NE(refusal.err.find(why), std::string::npos) << refusal.err;
  };
  refused({"run", "--", "echo", ":::+", "1"}, "':::+' has nothing before it");
  refused({"run", "--", "echo", ":::"}, "':::' without a value");
  refused({"run", "--", "echo", "::::", "missing"}, "missing");
  refused({"run", "--detach", "--", "echo", "::::", "-"}, "--detach");
  refused({"run", "--", "echo", ":::", "1", "2", ":::+", "3"}, "has 1 rows");
  refused({"run", "--fresh", "--", "echo", "{2}", ":::", "1"},
          "there is no {2}, the parts of a row are {1}");
  WriteFile(directory_.File("in.csv"), "a\n1\n");
  refused({"run", "in.csv", "--", "echo", ":::", "1"},
          "rows are said twice: by 'in.csv' and by :::");
}

TEST_F(RunTest, EachLineOfAFileMayBeARow) {
  WriteFile(directory_.File("list"), "a b;1\nc,\"d;2\n");
  const Words words{"run", "--each-line", "list", "--separator", ";", "--", "echo", "{2}", "{1}"};
  const Ended ended = Cq(words, directory_.path());
  EXPECT_EQ(ended.status, 0) << ended.err;
  const auto printed = [&] {
    return cq::Column(directory_.File("list.cq/results.csv"), "cq_stdout");
  };
  EXPECT_EQ(printed(), (Words{"1 a b", "2 c,\"d"}));
  // A resume has the rows that there were; the same again has those that there are.
  WriteFile(directory_.File("list"), "a b;1\nc,\"d;2\ne;3\n");
  EXPECT_EQ(Cq({"resume", "list.cq"}, directory_.path()).status, 0);
  EXPECT_EQ(printed().size(), 2u);
  EXPECT_EQ(Cq(words, directory_.path()).status, 0);
  EXPECT_EQ(printed(), (Words{"1 a b", "2 c,\"d", "3 e"}));
  EXPECT_EQ(cq::Column(directory_.File("list.cq/results.csv"), "cq_attempts"),
            (Words{"1", "1", "1"}));
  WriteFile(directory_.File("list"), "a;1\nb\n");
  EXPECT_NE(Cq(words, directory_.path()).err.find("list:2: this line has 1 parts, the first has 2"),
            std::string::npos);
}

TEST_F(RunTest, AGridIsAllCombinations) {
  WriteFile(directory_.File("p.csv"), "problem\nx\n\"y,z\"\n");
  WriteFile(directory_.File("a.csv"), "algorithm\nA\nB\n");
  WriteFile(directory_.File("s.csv"), "speed\nfast\nslow\n");
  const Ended grid =
      Cq({"grid", "p.csv", "x", "a.csv", "--zip", "s.csv", "--repls", "2"}, directory_.path());
  EXPECT_EQ(grid.status, 0) << grid.err;
  EXPECT_EQ(grid.out,
            "problem,algorithm,speed,repl\nx,A,fast,1\nx,A,fast,2\nx,B,slow,1\nx,B,slow,2\n"
            "\"y,z\",A,fast,1\n\"y,z\",A,fast,2\n\"y,z\",B,slow,1\n\"y,z\",B,slow,2\n");
  EXPECT_EQ(Cq({"grid", "p.csv", "x", "a.csv", "-o", "g.csv"}, directory_.path()).out,
            "g.csv: 4 rows\n");
  const auto refused = [&](const Words& words, const std::string& why) {
    const Ended refusal = Cq(words, directory_.path());
    EXPECT_EQ(refusal.status, 2);
    EXPECT_NE(refusal.err.find(why), std::string::npos) << refusal.err;
  };
  refused({"grid", "p.csv", "a.csv"}, "files and x take turns");
  refused({"grid", "p.csv", "x", "a.csv", "-o", "a.csv"}, "a.csv");
  refused({"grid", "p.csv", "x", "a.csv", "-o", "g.tsv"}, "call it .csv");
  refused({"grid", "p.csv", "x"}, "no file behind x");
  refused({"grid", "p.csv", "x", "p.csv"}, "'problem' is in p.csv and in p.csv");
  refused({"grid", "p.csv", "x", "missing.csv"}, "missing.csv");
}

TEST_F(RunTest, OneTaskIsTriedAsTheRunHasIt) {
  const Words command{"sh", "-c",
                      "echo $CQ_TASK $CQ_SEED $FOO {a} $PWD; echo ran >> ran; exit {a}"};
  EXPECT_EQ(Run("a,g\n0,x\n1,x\n0,y\n", {"--env", "FOO=bar", "--crash-limit", "1"}, command).status,
            1);
  const auto printed = Column("cq_stdout");
  const std::string before = Slurp(directory_.File("in.cq/results.csv"));
  const Ended third = Cq({"test", "in.cq", "3"}, directory_.path());
  EXPECT_EQ(third.status, 0) << third.err;
  EXPECT_NE(third.out.find("task: 3\n"), std::string::npos) << third.out;
  EXPECT_NE(third.out.find("\n" + printed[2] + "\n"), std::string::npos) << third.out;
  const Ended second = Cq({"test", "in.cq", "2"}, directory_.path());
  EXPECT_EQ(second.status, 1) << second.err;
  EXPECT_NE(second.out.find("status: error\nexit: 1\n"), std::string::npos) << second.out;
  const Ended each = Cq({"test", "in.cq", "--one-per", "g"}, directory_.path());
  EXPECT_EQ(each.status, 0) << each.err;
  EXPECT_NE(each.out.find("task: 1\n"), std::string::npos) << each.out;
  EXPECT_NE(each.out.find("task: 3\n"), std::string::npos) << each.out;
  EXPECT_EQ(each.out.find("task: 2\n"), std::string::npos) << each.out;
  const std::string ran = Slurp(directory_.File("ran"));
  EXPECT_EQ(std::count(ran.begin(), ran.end(), '\n'), 7);
  // The run knows nothing of it.
  EXPECT_EQ(Slurp(directory_.File("in.cq/results.csv")), before);
  EXPECT_EQ(Cq({"test", "in.cq", "4"}, directory_.path()).status, 2);
  EXPECT_EQ(Cq({"test", "in.cq", "--one-per", ""}, directory_.path()).status, 2);
  EXPECT_EQ(Cq({"test", "in.cq", "--one-per", "z"}, directory_.path()).status, 2);
}

}  // namespace
}  // namespace cq
