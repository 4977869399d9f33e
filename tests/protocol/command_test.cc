#include "protocol/command.h"

#include <gtest/gtest.h>

#include "cq/error.h"

namespace cq {
namespace {

using Words = std::vector<std::string>;

// Compiles and renders for the row alpha=1, "b c"=two.
Words Render(const Words& command, bool shell = false) {
  const Words row = {"1", "two"};
  const auto compiled = CompileCommand(command, {"alpha", "b c"}, {{"K", "const"}}, shell);
  Words values;
  for (const size_t column : compiled.columns) values.push_back(row[column]);
  const auto rendered = RenderCommand(compiled.arguments, values, 17);
  EXPECT_TRUE(std::holds_alternative<Words>(rendered));
  return std::get<Words>(rendered);
}

TEST(CommandTest, ReplacesColumnsConstantsAndTheNumber) {
  EXPECT_EQ(Render({"sim", "--a={alpha}{alpha}", "{b c}", "{K}/{#}"}),
            (Words{"sim", "--a=11", "two", "const/17"}));
}

TEST(CommandTest, LeavesOtherBracesAlone) {
  const Words literal = {
      "awk", "{print $1}", "function(x){x+1}", "{\"a\":1}", "${HOME}", "${alpha}", "{}", "{1}",
      "{",   "}",          "{ alpha }",        "a{,b}",     "{\n}",    "{{}}"};
  EXPECT_EQ(Render(literal), literal);
}

TEST(CommandTest, DoubledBracesGiveALiteralPlaceholder) {
  EXPECT_EQ(Render({"{{alpha}}", "{{print}}", "{{#}}", "x{{K}}y"}),
            (Words{"{alpha}", "{print}", "{#}", "x{K}y"}));
}

TEST(CommandTest, AnUnknownNameListsTheColumnsAndSaysHowToWriteItLiterally) {
  try {
    CompileCommand({"echo", "{alpah}"}, {"alpha", "beta"}, {{"K", "v"}}, false);
    FAIL();
  } catch (const UsageError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("{alpah}"), std::string::npos) << text;
    EXPECT_NE(text.find("alpha, beta"), std::string::npos) << text;
    EXPECT_NE(text.find("K"), std::string::npos) << text;
    EXPECT_NE(text.find("{{alpah}}"), std::string::npos) << text;
  }
}

TEST(CommandTest, ValuesAreNeverScannedAgain) {
  const auto compiled = CompileCommand({"{a}{b}"}, {"a", "b"}, {}, false);
  const auto rendered = RenderCommand(compiled.arguments, {"{b}", "{#}"}, 1);
  EXPECT_EQ(std::get<Words>(rendered), (Words{"{b}{#}"}));
}

TEST(CommandTest, SplitsIntoWordsAsAShellWould) {
  EXPECT_EQ(SplitWords("  Rscript\tmodel.R  "), (Words{"Rscript", "model.R"}));
  EXPECT_EQ(SplitWords("R -e \"f('a b', \\\"c\\\", \\n)\""),
            (Words{"R", "-e", "f('a b', \"c\", \\n)"}));
  EXPECT_EQ(SplitWords("'a \"b\\' c\\ d''e '' \\\\"), (Words{"a \"b\\", "c de", "", "\\"}));
  EXPECT_EQ(SplitWords(" "), Words());
  for (const char* open : {"python3 \"m.py", "echo it's", "'"}) {
    EXPECT_THROW(SplitWords(open), UsageError) << open;
  }
  for (const char* word : {"a b", "it's", "\\", ""}) {
    EXPECT_EQ(SplitWords(ShellQuote(word)), (Words{word}));
  }
}

TEST(CommandTest, ShellQuotesValuesAndNothingElse) {
  const auto compiled = CompileCommand({"echo {a} | wc"}, {"a"}, {}, true);
  const auto rendered = RenderCommand(compiled.arguments, {"; rm -rf 'x'"}, 1);
  EXPECT_EQ(std::get<Words>(rendered),
            (Words{"/bin/sh", "-c", "echo '; rm -rf '\\''x'\\''' | wc"}));
}

TEST(CommandTest, OnlyUsedColumnsAreNeeded) {
  const auto compiled = CompileCommand({"x", "{c}", "{a}", "{c}"}, {"a", "b", "c"}, {}, false);
  EXPECT_EQ(compiled.columns, (std::vector<size_t>{2, 0}));
}

TEST(CommandTest, ANulByteOrAnArgumentBeyondLinuxsLimitIsAReason) {
  const auto compiled = CompileCommand({"x", "{a}"}, {"a"}, {}, false);
  EXPECT_TRUE(std::holds_alternative<std::string>(
      RenderCommand(compiled.arguments, {std::string("a\0b", 3)}, 1)));
  EXPECT_TRUE(std::holds_alternative<std::string>(
      RenderCommand(compiled.arguments, {std::string(131'072, 'x')}, 1)));
  EXPECT_TRUE(std::holds_alternative<Words>(
      RenderCommand(compiled.arguments, {std::string(131'071, 'x')}, 1)));
}

TEST(CommandTest, ACommandThatNamesAMissingValueIsAReason) {
  EXPECT_TRUE(std::holds_alternative<std::string>(RenderCommand({{{int64_t{3}}}}, {"a"}, 1)));
}

}  // namespace
}  // namespace cq
