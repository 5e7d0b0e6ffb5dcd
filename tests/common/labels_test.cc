#include "common/labels.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

namespace pagoda {
namespace {

using testing::HasSubstr;

TaskConfig Task(const std::string& text) {
  TaskConfig task;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &task)) << text;
  task.set_name("t");
  return task;
}

TEST(Labels, FieldsOfAnotherLossAreRefused) {
  const auto refusal = [](const std::string& text) {
    return std::string(ValidateLoss(Task(text)).message());
  };
  EXPECT_EQ(refusal("loss: HUBER huber_delta: 2"), "");
  EXPECT_EQ(refusal("loss: MSE label_transform: LOG1P inverse: MEAN"), "");
  EXPECT_EQ(refusal("auto_positive_weight: 0.5 negative_sampling: 0.1 calibrate: true"), "");
  EXPECT_EQ(refusal("sample_space: \"x == 1\" inside_weight: 0.5 outside_weight: 0.1"), "");
  EXPECT_THAT(refusal("huber_delta: 2"), HasSubstr("huber_delta: is for loss: HUBER, not for BCE"));
  EXPECT_THAT(refusal("loss: HUBER huber_delta: 0"), HasSubstr("above 0"));
  EXPECT_THAT(refusal("loss: SOFTMAX"), HasSubstr("between 2 and"));
  EXPECT_THAT(refusal("inside_weight: 0.5"), HasSubstr("inside_weight: there is no sample_space"));
  EXPECT_THAT(refusal("calibrate: true"), HasSubstr("of which none is given"));
  EXPECT_EQ(refusal("positive_weight: 3 calibrate: true"), "");
  EXPECT_EQ(refusal("loss: POISSON huber_delta: 1 calibrate: false"), "") << "the defaults";
  EXPECT_THAT(refusal("loss: BCE label_transform: LOG1P"), HasSubstr("MSE and HUBER"));
  EXPECT_THAT(refusal("loss: MSE inverse: MEAN"), HasSubstr("LOG_NORMAL"));
  EXPECT_THAT(refusal("loss: MSE positive_weight: 2"), HasSubstr("BCE and FOCAL"));
  EXPECT_THAT(refusal("positive_weight: 2 auto_positive_weight: 0.5"), HasSubstr("one of them"));
  EXPECT_EQ(refusal("positive_weight: 1 auto_positive_weight: 0.5"), "") << "the default";
  EXPECT_EQ(refusal("inside_weight: 1 outside_weight: 0"), "") << "the defaults";
  EXPECT_THAT(refusal("positive_weight: -1"),
              HasSubstr("dataset.task[t].positive_weight = -1: must be a finite number above 0"));
  EXPECT_THAT(refusal("sample_space: 'x' outside_weight: -1"), HasSubstr("outside_weight = -1"));
  EXPECT_THAT(refusal("loss: FOCAL focal_gamma: nan"), HasSubstr("focal_gamma = nan"));
  EXPECT_THAT(refusal("negative_sampling: 0"), HasSubstr("above 0"));
  EXPECT_THAT(refusal("loss: FOCAL calibrate: true"), HasSubstr("BCE"));
  EXPECT_THAT(refusal("loss: FOCAL focal_alpha: 1"), HasSubstr("between 0 and 1"));
  EXPECT_THAT(refusal("outside_weight: 0.5"), HasSubstr("no sample_space"));
}

TEST(Labels, EvaluationFieldsAreChecked) {
  Config config;
  config.mutable_dataset()->add_feature()->set_name("user");
  config.mutable_train()->set_gauc_by("user");
  config.mutable_train()->add_ndcg_at(10);
  EXPECT_TRUE(ValidateEvaluation(config).ok());
  config.mutable_train()->set_gauc_by("usr");
  EXPECT_THAT(std::string(ValidateEvaluation(config).message()), HasSubstr("user"));
  config.mutable_train()->clear_gauc_by();
  EXPECT_THAT(std::string(ValidateEvaluation(config).message()), HasSubstr("needs train.gauc_by"));
  config.mutable_train()->set_gauc_by("");  // What a layer says to take it back.
  EXPECT_THAT(std::string(ValidateEvaluation(config).message()), HasSubstr("needs train.gauc_by"));
  config.mutable_train()->clear_ndcg_at();
  EXPECT_TRUE(ValidateEvaluation(config).ok()) << ValidateEvaluation(config);
  config.mutable_train()->set_calibration_buckets(-1);
  EXPECT_FALSE(ValidateEvaluation(config).ok());
}

}  // namespace
}  // namespace pagoda
