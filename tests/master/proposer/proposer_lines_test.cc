// What a run and its proposer say to each other.
#include "master/proposer/proposer_lines.h"

#include <gtest/gtest.h>

#include "base/json.h"

namespace cq {
namespace {

RowForm Form() {
  RowForm form;
  form.columns = {"n", "x", "name"};
  form.types = {ColumnType::kInteger, ColumnType::kNumber, ColumnType::kText};
  return form;
}

TEST(ProposerLinesTest, ItIsToldWhatTheRunIs) {
  ProposerStart start{Asker::Kind::kIsAsked, {{"k", "3"}, {"odd", "\xff"}}, 7};
  const OrderedJson json = ParseJson(StartLine(start, Form()));
  EXPECT_EQ(json["type"], "start");
  EXPECT_EQ(json["mode"], "ask");
  EXPECT_EQ(json["columns"], OrderedJson({"n", "x", "name"}));
  EXPECT_EQ(json["types"], OrderedJson({"integer", "number", "string"}));
  EXPECT_EQ(json["constants"]["k"], 3);
  EXPECT_EQ(json["seed"], 7);
  RowForm texts;
  texts.columns = {"a"};
  EXPECT_EQ(ParseJson(StartLine({}, texts))["types"], OrderedJson({"string"}));
}

TEST(ProposerLinesTest, WhatHasEndedHasItsRowAndItsValues) {
  Telling telling;
  AppendEnding(telling.endings, 3, Outcome::kOk, {"1", "NaN", "a\"b"},
               R"({"y":2.5,"z":"-Inf","t":"a:\"NaN\""})", Form());
  AppendEnding(telling.endings, 4, Outcome::kTimeout, {"", "1e300", "\xff"}, "", Form());
  telling.wanted = 2;
  const OrderedJson json = ParseJson(TellLine(9, telling));
  EXPECT_EQ(json["id"], 9);
  EXPECT_EQ(json["want"], 2);
  EXPECT_EQ(json["known"], false);
  EXPECT_FALSE(json.contains("waiting"));
  const OrderedJson& first = json["endings"][0];
  EXPECT_EQ(first["task"], 3);
  EXPECT_EQ(first["status"], "ok");
  EXPECT_EQ(first["row"]["n"], 1);
  EXPECT_EQ(first["row"]["x"]["$number"], "NaN");
  EXPECT_EQ(first["row"]["name"], "a\"b");
  EXPECT_EQ(first["value"]["y"], 2.5);
  EXPECT_EQ(first["value"]["z"]["$number"], "-Inf");
  EXPECT_EQ(first["value"]["t"], "a:\"NaN\"");
  const OrderedJson& second = json["endings"][1];
  EXPECT_EQ(second["status"], "timeout");
  EXPECT_TRUE(second["row"]["n"].is_null());
  EXPECT_EQ(second["value"], OrderedJson::object());
  Telling waits;
  AppendRow(waits.waiting, 8, {"2", "0.5", "z"}, Form());
  EXPECT_EQ(ParseJson(TellLine(1, waits))["waiting"][0]["row"]["x"], 0.5);
}

TEST(ProposerLinesTest, ItsRowsAreThoseOfTheRun) {
  const ProposerAnswer answer = ReadAnswer(
      R"({"id": 4, "rows": [{"n": 1, "x": 2}, {"name": "b"}], "parents": [7, 0]})", Form());
  EXPECT_EQ(answer.problem, "");
  EXPECT_EQ(answer.id, 4u);
  ASSERT_EQ(answer.rows.size(), 2u);
  EXPECT_EQ(answer.rows[0].fields, (std::vector<std::string>{"1", "2", ""}));
  EXPECT_EQ(answer.parents, (std::vector<TaskId>{7, 0}));
  EXPECT_FALSE(answer.done);
  EXPECT_EQ(ReadAnswer(R"({"id": 4, "rows": [{"n": 1}]})", Form()).parents, std::vector<TaskId>{0});
  EXPECT_TRUE(ReadAnswer(R"({"id": 4, "done": true})", Form()).done);
  EXPECT_EQ(ReadAnswer(R"({"id": 4, "wait": true, "rows": null})", Form()).problem, "");
}

TEST(ProposerLinesTest, WhatIsNoAnswerIsSaidSo) {
  const auto problem = [](const char* line) { return ReadAnswer(line, Form()).problem; };
  EXPECT_NE(problem("hello").find("it wrote 'hello', which is no line of JSON"), std::string::npos);
  for (const char* line : {"[]", "7", "{}", R"({"id": -1})", R"({"id": "a"})"}) {
    EXPECT_NE(problem(line).find("with the 'id' of what it answers"), std::string::npos) << line;
  }
  EXPECT_NE(problem(R"({"id": 1, "rows": [{"m": 1}]})").find("no column 'm'"), std::string::npos);
  EXPECT_NE(problem(R"({"id": 1, "rows": [{"n": 1.5}]})").find("'n' is 1.5"), std::string::npos);
  EXPECT_NE(problem(R"({"id": 1, "rows": 3})").find("a list of objects"), std::string::npos);
  for (const char* parents : {"[]", "3", "[-1]", R"(["a"])", "[18446744073709551615]"}) {
    const std::string line = std::string(R"({"id": 1, "rows": [{"n": 1}], "parents": )") + parents;
    EXPECT_NE(problem((line + "}").c_str()).find("'parents'"), std::string::npos) << parents;
  }
  EXPECT_EQ(problem(R"({"id": 1, "error": "no idea", "traceback": "line 3"})"), "no idea\nline 3");
}

TEST(ProposerLinesTest, WhoIsNotReadySaysWhy) {
  std::string refusal;
  EXPECT_FALSE(IsReady("library(x) loaded", refusal));
  EXPECT_FALSE(IsReady("{}", refusal));
  EXPECT_FALSE(IsReady("[1]", refusal));
  EXPECT_TRUE(IsReady(R"({"type": "ready"})", refusal));
  EXPECT_EQ(refusal, "");
  EXPECT_TRUE(IsReady(R"({"type": "refuse", "message": "not this"})", refusal));
  EXPECT_EQ(refusal, "not this");
}

}  // namespace
}  // namespace cq
