// Where an evaluation finds its groups.
#include "worker/train/evaluator.h"

#include <gtest/gtest.h>

namespace pagoda {
namespace {

// A further embedding set names the ordinary features again, and has no ids of its own.
TEST(FindGroupFeature, IsOneOfTheOrdinarySet) {
  InputLayout input;
  for (const char* set : {"", "wide"}) {
    for (const char* name : {"user", "item"}) {
      EmbeddingFeature& feature = input.embeddings.emplace_back();
      feature.name = name;
      feature.set = set;
    }
  }
  EXPECT_EQ(FindGroupFeature(input, "user"), 0);
  EXPECT_EQ(FindGroupFeature(input, "item"), 1);
  EXPECT_EQ(FindGroupFeature(input, "tag"), -1);
  EXPECT_EQ(FindGroupFeature(input, ""), -1);
}

}  // namespace
}  // namespace pagoda
