// What one start of the worker was asked to do, and what that means: flags as values, and the job
// resolved from them.
//
// Everything that can be known without a network, a group or a data file is found out here, before
// MPI is initialised and before anything is bound: layers of configuration merged (model file <
// data set file < --override < flags), ranges checked, the model built, rules and their parameters
// resolved.
//
// Thread-safe (values and pure functions over files).
#ifndef PAGODA_WORKER_TRAIN_JOB_H_
#define PAGODA_WORKER_TRAIN_JOB_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"
#include "proto/wire.pb.h"
#include "worker/data/dataset.h"
#include "worker/graph/graph.h"
#include "worker/models/model_input.h"
#include "worker/train/method.h"

namespace pagoda {

// The command line. An empty string or an unset optional: not given.
struct JobOptions {
  enum class Mode { kTrain, kEvaluate, kPredict, kFuse };
  Mode mode = Mode::kTrain;
  std::string config_root;  // Folder with models/ and datasets/.
  std::string model;
  std::string dataset;
  std::string override_text;
  std::string run_dir;
  std::string checkpoint;  // A step-N folder, or checkpoints/best.
  bool resume = false;
  std::optional<uint64_t> seed;
  std::optional<int> lanes;
  std::optional<int> batch_size;  // Global.
  std::optional<int> epochs;
  std::optional<int64_t> max_steps;
  int threads = 0;  // Compute threads of this worker; 0: hardware threads / workers on this host.
  std::string store_dir;
  std::string init;            // Safetensors with dense parameters and rows to start from.
  std::string warm_start;      // A checkpoint to take from what this job has in common with it.
  std::string output;          // Of predict; empty: standard output.
  bool labels = false;         // Of predict: labels beside predictions.
  std::string split = "test";  // Of predict.
  std::string fuse;            // Of fuse: TASK:VALUE,TASK:VALUE.
  std::string fuse_metric = "auc";
  int64_t log_every = 0;       // Steps between "step" lines in metrics.jsonl; 0: none.
  bool profile = false;
  bool digest = false;  // Even of more than 10M rows.
};

// The job, resolved.
struct Job {
  JobOptions options;
  Config config;  // All layers; source paths absolute.
  DataSchema data;
  TrainingMethod method;
  Schema schema;
  std::string run_dir;               // Absolute.
  std::string checkpoint;            // Absolute; evaluate and predict only.
  std::optional<Manifest> manifest;  // Of `checkpoint`.
};

// UsageError (NotFound for names and files) says what is wrong, where, and what is near.
absl::StatusOr<Job> ResolveJob(const JobOptions& options);

// Lanes and batch size for `workers` workers, fixed in job->config; design.md, section 7. `from`:
// the checkpoint's state on resume, else null. `notes`: what a person should be told, such as a
// batch size that was rounded up.
absl::Status ResolveLanes(int workers, const TrainState* from, Job* job,
                          std::vector<std::string>* notes);

// The input's columns as a model sees them.
ModelInput ModelInputOf(const InputLayout& layout);

// The compiled form of job.config.model needs this graph.
absl::StatusOr<Graph> BuildGraph(const Job& job);

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_JOB_H_
