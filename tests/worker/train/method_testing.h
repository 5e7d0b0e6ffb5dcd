// Jobs of MakeJob with the model and the training method of a configuration.
#ifndef PAGODA_TESTS_WORKER_TRAIN_METHOD_TESTING_H_
#define PAGODA_TESTS_WORKER_TRAIN_METHOD_TESTING_H_

#include <algorithm>
#include <string>

#include "absl/algorithm/container.h"
#include "common/config.h"
#include "common/errors.h"
#include "tests/worker/train/step_testing.h"
#include "worker/models/model.h"
#include "worker/train/job.h"
#include "worker/train/method.h"

namespace pagoda::testing {

inline constexpr char kMmoe[] = "name: 'mmoe' experts: 2 expert: [16, 8] tower: [8]";

// As MakeDataSchema lays it out: what nobody reads has ids, but neither rows nor columns.
inline void LeaveOutUnread(const ModelConfig& model, InputLayout* input) {
  const auto is_unread = [&](const auto& feature) {
    return absl::c_linear_search(model.unread_feature(), feature.name);
  };
  input->width = 0;
  for (EmbeddingFeature& feature : input->embeddings) {
    if (is_unread(feature)) {
      feature.table = -1;
      continue;
    }
    feature.input_offset = input->width;
    input->width += feature.width();
  }
  auto& dense = input->dense;
  dense.erase(std::remove_if(dense.begin(), dense.end(), is_unread), dense.end());
  for (DenseFeature& feature : dense) feature.input_offset = input->width++;
}

// The job of MakeJob with a model and a method of a configuration; tasks "click" and "time".
inline absl::StatusOr<Job> JobOf(const std::string& model, const std::string& train,
                                 const std::string& more = "") {
  ASSIGN_OR_RETURN(Config config, ParseConfig(absl::StrCat(R"(
        dataset {
          source { path: 'never read' } feature { name: 'a' kind: ID }
          task { name: 'click' label: 'x' }
          task { name: 'time' label: 'y' loss: MSE weight: 0.25 normalize: BATCH }
        }
        optimizer { name: 'sparse' rule: 'adam' learning_rate: 0.02 }
        optimizer { name: 'dense' rule: 'adam' learning_rate: 0.01 }
        optimizer { name: 'slow' rule: 'adagrad' learning_rate: 0.003 }
        optimizer { name: 'same' rule: 'adam' learning_rate: 0.01 }
        model { )",
                                                           model, " } train { ", train, " }"),
                                              "test"));
  ASSIGN_OR_RETURN(const Config over, ParseConfig(more, "more"));
  MergeConfig(over, &config);
  RETURN_IF_ERROR(SelectTasks(&config));
  RETURN_IF_ERROR(ValidateConfig(config));
  Job job = MakeJob();
  job.tasks.assign(config.dataset().task().begin(), config.dataset().task().end());
  job.ema_decay = config.train().ema_decay();
  LeaveOutUnread(config.model(), &job.input);
  DataSchema data;
  data.input = job.input;
  for (const TableSchema& table : job.schema.table()) {
    TableSchema& added = data.tables.emplace_back();
    added.set_name(table.name());
    added.set_dim(table.dim());
  }
  ASSIGN_OR_RETURN(const Graph graph, BuildModel(config, ModelInputOf(job.input)));
  ASSIGN_OR_RETURN(job.method, ResolveMethod(config, data, graph));
  job.schema = MakeSchema(config, data, job.method);
  job.graph = graph;
  return job;
}

inline Job GoodJob(const std::string& model, const std::string& train,
                   const std::string& more = "") {
  absl::StatusOr<Job> job = JobOf(model, train, more);
  CHECK(job.ok()) << job.status();
  return *std::move(job);
}

inline const StepOptimizer& Named(const Job& job, const std::string& name) {
  for (const StepOptimizer& one : job.method.optimizers) {
    if (one.name == name) return one;
  }
  LOG(FATAL) << "no optimizer " << name;
}

}  // namespace pagoda::testing

#endif  // PAGODA_TESTS_WORKER_TRAIN_METHOD_TESTING_H_
