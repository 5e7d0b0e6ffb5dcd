#include "worker/data/predicate.h"

#include <ostream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pagoda {
namespace {

using testing::HasSubstr;

const std::vector<std::string>& Columns() {
  static const auto* const columns =
      new std::vector<std::string>{"age", "city", "click", "marital stat", "empty"};
  return *columns;
}
const std::vector<absl::string_view>& Fields() {
  static const auto* const fields =
      new std::vector<absl::string_view>{"42", "Paris", "1", "Never \"married\"", ""};
  return *fields;
}

struct Case {
  const char* text;
  bool value;
};

void PrintTo(const Case& predicate, std::ostream* out) { *out << predicate.text; }

class PredicateValueTest : public testing::TestWithParam<Case> {};

TEST_P(PredicateValueTest, Holds) {
  absl::StatusOr<Predicate> predicate = Predicate::Parse(GetParam().text);
  ASSERT_TRUE(predicate.ok()) << predicate.status();
  ASSERT_TRUE(predicate->Bind(Columns()).ok());
  bool value = !GetParam().value;
  RowProblem problem;
  ASSERT_TRUE(predicate->Evaluate(Fields(), &value, &problem)) << problem.reason;
  EXPECT_EQ(value, GetParam().value);
}

INSTANTIATE_TEST_SUITE_P(
    Texts, PredicateValueTest,
    testing::Values(
        Case{"age == 42", true}, Case{"age == 42.0", true}, Case{"age != 42", false},
        Case{"age < 42", false}, Case{"age <= 42", true}, Case{"age > -1e3", true},
        Case{"age >= 43", false}, Case{"age == \"42\"", true}, Case{"age == '42.0'", false},
        Case{"city == \"Paris\"", true}, Case{"city == 'paris'", false}, Case{"city < 'Q'", true},
        Case{"city in {'Rome', 'Paris'}", true}, Case{"age in {1, 2, 3}", false},
        Case{"age in {42}", true}, Case{"`marital stat` == \"Never \\\"married\\\"\"", true},
        Case{"not age == 42", false}, Case{"not not age == 42", true},
        Case{"age == 42 or city == 'x' and click == 0", true},
        Case{"(age == 42 or city == 'x') and click == 0", false},
        Case{"not (age == 1 or age == 2)", true},
        // A missing value.
        Case{"empty == ''", true}, Case{"empty != ''", false}, Case{"empty == 0", false},
        Case{"empty != 0", true}, Case{"empty < 5", false}, Case{"empty in {0, 1}", false},
        // What no longer matters is not looked at: city is no number.
        Case{"click == 0 and city > 5", false}, Case{"click == 1 or city > 5", true},
        // Blanks matter only between words.
        Case{"age==42 and(click==1)", true}));

TEST(PredicateTest, ParseErrorsNameThePosition) {
  const struct {
    const char* text;
    const char* message;
  } cases[] = {
      {"", "column 1"},
      {"age", "column 4: expected ==, !="},
      {"age = 4", "column 5: expected ==, !="},
      {"age == ", "column 8: expected a number or a text in quotes"},
      {"age == Paris", "column 8: expected a number or a text in quotes"},
      {"age == nan", "column 8: expected a number"},
      {"age == 'x", "no closing quote"},
      {"`age == 1", "no closing \"`\""},
      {"(age == 1", "expected \")\""},
      {"age == 1)", "column 9: expected the end"},
      {"age == 1 click == 2", "column 10: expected the end"},
      {"age in 1", "expected \"{\""},
      {"age in {1 2}", "expected \",\" or \"}\""},
      {"age in {}", "expected a number or a text"},
      {"5 == age", "expected a column's name"},
      {"age == 1 and", "expected a column's name"},
  };
  for (const auto& c : cases) {
    const absl::Status status = Predicate::Parse(c.text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message)) << c.text;
  }
}

TEST(PredicateTest, DeepNestingIsRefused) {
  const std::string open(100000, '(');
  EXPECT_THAT(std::string(Predicate::Parse(open + "age == 1").status().message()),
              HasSubstr("nested deeper"));
  std::string nots;
  for (int i = 0; i < 100000; ++i) nots += "not ";
  EXPECT_THAT(std::string(Predicate::Parse(nots + "age == 1").status().message()),
              HasSubstr("nested deeper"));
}

TEST(PredicateTest, UnknownColumnListsTheNearOnes) {
  Predicate predicate = *Predicate::Parse("agee == 1");
  const absl::Status status = predicate.Bind(Columns());
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no column \"agee\""));
  EXPECT_THAT(std::string(status.message()), HasSubstr("age"));
}

TEST(PredicateTest, ComparingTextWithANumberMakesTheRowBad) {
  Predicate predicate = *Predicate::Parse("city > 5");
  ASSERT_TRUE(predicate.Bind(Columns()).ok());
  bool value;
  RowProblem problem;
  EXPECT_FALSE(predicate.Evaluate(Fields(), &value, &problem));
  EXPECT_EQ(problem.field, 1);
  EXPECT_EQ(problem.reason, "\"Paris\" is not a number");
}

TEST(ParseNumberTest, TakesTheWholeTextOrNothing) {
  double number;
  for (const char* text : {"0", "-1.5", "+2", "1e-3", ".5", "007"}) {
    EXPECT_TRUE(ParseNumber(text, &number)) << text;
  }
  for (const char* text :
       {"", "+", "-", "+-1", "1x", " 1", "1 ", "nan", "inf", "-inf", "1e999", "0x1"}) {
    EXPECT_FALSE(ParseNumber(text, &number)) << text;
  }
}

}  // namespace
}  // namespace pagoda
