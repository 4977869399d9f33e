#include "schedulers/template.h"

#include <gtest/gtest.h>

#include "cq/error.h"

namespace cq {
namespace {

std::string Fill(const std::string& text, std::map<std::string, std::string> values = {},
                 std::set<std::string> user_set = {}) {
  values.insert({"workers", "4"});
  return FillTemplate(text, "my.tmpl", values, {"workers", "memory", "time"}, user_set, "#SBATCH");
}

std::string ErrorOf(const std::string& text, std::map<std::string, std::string> values = {},
                    std::set<std::string> user_set = {}) {
  try {
    Fill(text, std::move(values), std::move(user_set));
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no error";
}

TEST(TemplateTest, FillsKeysAndDefaults) {
  EXPECT_EQ(Fill("a={{ workers }} b={{memory|4096}} c={{ time | 1:00 }}\n"), "a=4 b=4096 c=1:00\n");
}

TEST(TemplateTest, AClustermqTemplatesResourceLinesWorkUnchanged) {
  EXPECT_EQ(Fill("#SBATCH --mem-per-cpu={{ memory | 4096 }}\n", {{"memory", "2G"}}),
            "#SBATCH --mem-per-cpu=2G\n");
}

TEST(TemplateTest, ADirectiveFilledWithNothingIsLeftOut) {
  EXPECT_EQ(Fill("#SBATCH --time={{ time | }}\necho [{{ time | }}]\n"), "echo []\n");
}

TEST(TemplateTest, AnUnknownKeyIsNamedWithItsLineAndTheNearest) {
  EXPECT_EQ(ErrorOf("x\n#SBATCH --mem={{ memroy }}\n"),
            "my.tmpl:2: unknown key 'memroy' (did you mean 'memory'?); known keys: memory, time, "
            "workers");
}

TEST(TemplateTest, AnUnfilledKeyIsNamedWithItsLineAndTheRemedy) {
  const std::string error = ErrorOf("{{ time }}\n");
  EXPECT_EQ(error.find("my.tmpl:1: key 'time' has no value"), 0u) << error;
  EXPECT_NE(error.find("--set time=VALUE"), std::string::npos) << error;
}

TEST(TemplateTest, AnUnclosedKeyIsNamedWithItsLine) {
  EXPECT_EQ(ErrorOf("a\nb {{ time\n"), "my.tmpl:2: '{{' without '}}'");
}

TEST(TemplateTest, AValueThatTheTemplateNeverUsesIsAMistake) {
  const std::string error = ErrorOf("{{ time | }}\n", {{"tiem", "1"}}, {"tiem"});
  EXPECT_NE(error.find("did you mean 'time'?"), std::string::npos) << error;
}

TEST(TemplateTest, AKeyOfTheUsersOwnIsFilled) {
  EXPECT_EQ(Fill("{{ gpu }}\n", {{"gpu", "a100"}}, {"gpu"}), "a100\n");
}

}  // namespace
}  // namespace cq
