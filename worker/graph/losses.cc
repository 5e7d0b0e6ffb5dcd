#include "worker/graph/losses.h"

#include <glog/logging.h>

#include "absl/strings/str_cat.h"

namespace pagoda {

absl::Span<const LossInfo> Losses() {
  static constexpr LossInfo kLosses[] = {
      {TaskConfig::BCE, HeadKind::kProbability,
       "label 0 or 1, p = sigmoid(x): -y log p - (1 - y) log(1 - p)",
       "maximum likelihood, Bernoulli"},
      {TaskConfig::MSE, HeadKind::kNumber, "any number: (x - y)^2", "least squares"},
      {TaskConfig::HUBER, HeadKind::kHuber,
       "any number: r^2 / 2 up to |r| = huber_delta, linear after it",
       "Huber, Ann. Math. Statist. 1964"},
      {TaskConfig::POISSON, HeadKind::kPoisson,
       "count y, at least 0, mean e^x: half the deviance, e^x - y + y (log y - x)",
       "McCullagh and Nelder, Generalized Linear Models, 1989"},
      {TaskConfig::LOG_NORMAL, HeadKind::kLogNormal,
       "amount above 0, median e^x: (x - log y)^2; inverse: MEAN gives the mean",
       "maximum likelihood, log-normal"},
      {TaskConfig::SOFTMAX, HeadKind::kClasses, "class number in [0, classes): log sum e^x - x_y",
       "maximum likelihood, multinomial"},
      {TaskConfig::FOCAL, HeadKind::kFocal,
       "label 0 or 1: BCE times alpha_t (1 - p_t)^focal_gamma, so that easy rows count less",
       "Lin et al., ICCV 2017"},
      {TaskConfig::PAIRWISE, HeadKind::kPairwise,
       "any number, only order counts: RankNet over pairs within 64 neighbours of a batch",
       "Burges et al., ICML 2005"},
  };
  return kLosses;
}

const LossInfo& LossOf(TaskConfig::Loss loss) {
  const absl::Span<const LossInfo> all = Losses();
  CHECK(loss >= 0 && static_cast<size_t>(loss) < all.size()) << "loss " << loss;
  CHECK_EQ(all[loss].loss, loss);
  return all[loss];
}

int LogitCount(const TaskConfig& task) {
  return task.loss() == TaskConfig::SOFTMAX ? task.classes() : 1;
}

void SetLoss(const TaskConfig& task, Graph::HeadSpec* head) {
  head->kind = LossOf(task.loss()).head;
  if (task.loss() == TaskConfig::HUBER) head->parameter = task.huber_delta();
  if (task.loss() == TaskConfig::FOCAL) {
    head->parameter = task.focal_gamma();
    head->parameter2 = task.focal_alpha();
  }
}

std::string ClassOutputName(const std::string& task, int c) { return absl::StrCat(task, "/", c); }

}  // namespace pagoda
