#include "worker/train/evaluation.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/errors.h"
#include "common/io/file.h"
#include "glog/logging.h"
#include "worker/data/record.h"
#include "worker/train/agreement.h"
#include "worker/train/engine.h"
#include "worker/train/evaluator.h"
#include "worker/train/fuse.h"
#include "worker/train/metrics_writer.h"
#include "worker/train/prediction_output.h"
#include "worker/train/progress.h"
#include "worker/train/report.h"
#include "worker/train/task_rules.h"

namespace pagoda {
namespace {

// A folder that goes when this does, however the evaluation ends.
class ScratchFolder {
 public:
  explicit ScratchFolder(std::string path) : path_(std::move(path)) {}
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  ~ScratchFolder() {
    const absl::Status status = RemoveTree(path_);
    if (!status.ok()) LOG(WARNING) << "left behind: " << status.message();
  }

 private:
  const std::string path_;
};

// A checkpoint, loaded.
struct Loaded {
  Job job;
  std::unique_ptr<Program> program;
  // Of this evaluation alone. At worker 0; null: none, or the servers' own.
  std::unique_ptr<ScratchFolder> records, store;
  std::unique_ptr<Dataset> dataset;
  Engine engine;
};

// A job of its own: an evaluation never takes a training job's shards over.
absl::StatusOr<uint64_t> NewJobId(Group& workers) {
  std::random_device device;
  const uint64_t mine = static_cast<uint64_t>(device()) << 32 | device();
  ASSIGN_OR_RETURN(const std::string text, workers.Broadcast(0, absl::StrCat(mine)));
  uint64_t job_id = 0;
  if (!absl::SimpleAtoi(text, &job_id)) return absl::InternalError("a job id that is no number");
  return job_id;
}

absl::StatusOr<std::unique_ptr<Loaded>> Load(Job job, const Cluster& cluster) {
  auto loaded = std::make_unique<Loaded>();
  loaded->job = std::move(job);
  RETURN_IF_ERROR(CheckSameTables(loaded->job.manifest->schema(), loaded->job.schema));
  loaded->job.config.mutable_train()->set_lanes(cluster.workers->size());
  ASSIGN_OR_RETURN(Graph graph, BuildGraph(loaded->job));
  ASSIGN_OR_RETURN(loaded->program,
                   Program::Compile(std::move(graph), ProgramOptions(loaded->job.method)));
  EngineOptions options;
  ASSIGN_OR_RETURN(options.job_id, NewJobId(*cluster.workers));
  std::string cache_dir = DataFolder(loaded->job);
  // A pipe may give other rows by now, and the run goes on with those that it began with.
  if (ReadsPipe(loaded->job.config.dataset())) {
    cache_dir = JoinPath(loaded->job.run_dir, absl::StrCat("data-", absl::Hex(options.job_id)));
    if (cluster.workers->rank() == 0) loaded->records = std::make_unique<ScratchFolder>(cache_dir);
  }
  ASSIGN_OR_RETURN(loaded->dataset, OpenDataset(loaded->job, *cluster.workers,
                                                &loaded->job.manifest->statistics(), cache_dir));
  options.run_epoch = 1;
  options.steps_done = loaded->job.manifest->state().step();
  options.checkpoint = loaded->job.checkpoint;
  if (!cluster.standing_servers) {
    // Of this evaluation alone: the run may be training, and others may evaluate.
    const std::string& folder = loaded->job.options.store_dir;
    options.store_dir = JoinPath(folder.empty() ? loaded->job.run_dir : folder,
                                 absl::StrCat("store-", absl::Hex(options.job_id)));
    if (cluster.workers->rank() == 0) {
      loaded->store = std::make_unique<ScratchFolder>(options.store_dir);
    }
  }
  ASSIGN_OR_RETURN(loaded->engine,
                   OpenEngine(loaded->job, cluster, loaded->program.get(), options));
  return loaded;
}

Evaluator EvaluatorOf(const Loaded& loaded, const Cluster& cluster) {
  return {cluster.workers, loaded.dataset.get(), &loaded.job.config, &loaded.program->heads()};
}

// Ends the job on the servers, which otherwise wait for it, and gives what was done before: OK, or
// an error that all workers have (agreement.h).
absl::Status Finish(const absl::Status& done, const Cluster& cluster, Loaded& loaded) {
  // Of another error some worker may not know, and would not come along.
  if (!done.ok() && !IsAgreed(done)) return done;
  absl::Status status;
  if (cluster.workers->rank() == 0) status = loaded.engine.session->Shutdown();
  status = ShareStatus(*cluster.workers, 0, status);
  return done.ok() ? status : done;
}

struct CsvColumn {
  std::string name;
  const std::vector<float>* values;  // [N]
};

// What --mode=predict writes, in order.
std::vector<CsvColumn> ColumnsOf(const Job& job, const std::vector<Graph::HeadSpec>& heads,
                                 const SplitPredictions& split) {
  std::vector<CsvColumn> columns;
  for (size_t h = 0; h < heads.size(); ++h) {
    if (heads[h].reported) columns.push_back({heads[h].name, &split.predictions[h]});
  }
  if (!job.options.labels) return columns;
  const auto& tasks = job.config.dataset().task();
  for (int t = 0; t < tasks.size(); ++t) {
    columns.push_back({absl::StrCat("label/", tasks[t].name()), &split.labels[t]});
  }
  return columns;
}

absl::Status WriteCsv(const std::vector<CsvColumn>& columns, PredictionOutput* output) {
  constexpr size_t kBufferBytes = 1 << 20;  // A write costs little beside so many bytes.
  std::string text = "record";
  for (const CsvColumn& column : columns) absl::StrAppend(&text, ",", column.name);
  text += "\n";
  const size_t rows = columns.empty() ? 0 : columns[0].values->size();
  for (size_t record = 0; record < rows; ++record) {
    absl::StrAppend(&text, record);
    for (const CsvColumn& column : columns) {
      absl::StrAppendFormat(&text, ",%.9g", (*column.values)[record]);
    }
    text += "\n";
    if (text.size() < kBufferBytes) continue;
    RETURN_IF_ERROR(output->Append(text));
    text.clear();
  }
  RETURN_IF_ERROR(output->Append(text));
  return output->Commit();
}

// Before a prediction: whether the split has rows at all, and at worker 0 a line when it has not
// all that there are because nobody said which split a source's rows are of.
absl::Status CheckPredictedRows(const Loaded& loaded, Split split, bool is_first) {
  const int64_t rows = loaded.dataset->rows(split);
  int64_t all = 0;
  for (const Split one : kSplits) all += loaded.dataset->rows(one);
  if (all == 0) return UsageError("--mode=predict: the data set has no rows");
  if (rows == 0) {
    return UsageError(absl::StrCat(
        "--mode=predict: none of the data set's ", all, " rows is of split ", Split_Name(split),
        "; to predict all of a source: source { path: ... split: ", Split_Name(split), " }"));
  }
  const DatasetConfig& dataset = loaded.job.config.dataset();
  const auto cut = std::find_if(dataset.source().begin(), dataset.source().end(),
                                [](const auto& one) { return one.split() == SPLIT_UNSET; });
  if (!is_first || rows == all || cut == dataset.source().end()) return absl::OkStatus();
  absl::FPrintF(stderr, "predicting %d of %d rows (split %s by %s of %s); for all of them: %s\n",
                rows, all, Split_Name(split), SplitConfig::By_Name(dataset.split().by()),
                cut->path_size() > 0 ? cut->path(0) : dataset.format(),
                absl::StrCat("source { path: ... split: ", Split_Name(split), " }"));
  return absl::OkStatus();
}

// The columns of the tasks that are fused, in label units. Worker 0 only.
FuseData DataOf(const Loaded& loaded, const FuseOptions& options, SplitPredictions split) {
  const auto& heads = loaded.program->heads();
  const auto& tasks = loaded.job.config.dataset().task();
  ConvertPredictions(loaded.job.config, heads, loaded.job.manifest->state(), &split);
  FuseData data;
  for (const FuseValue& one : options.values) {
    const auto head = std::find_if(heads.begin(), heads.end(),
                                   [&](const auto& spec) { return spec.name == one.task; });
    const auto task = std::find_if(tasks.begin(), tasks.end(),
                                   [&](const auto& config) { return config.name() == one.task; });
    data.predictions.push_back(split.predictions[head - heads.begin()]);
    data.labels.push_back(split.labels[task - tasks.begin()]);
    data.weights.push_back(split.weights[task - tasks.begin()]);
  }
  data.groups = std::move(split.groups);
  return data;
}

JsonObject FuseLine(Split split, FuseForm form, const Job& job, const FuseOptions& options,
                    const FuseResult& result) {
  JsonObject weights, metrics;
  for (size_t k = 0; k < options.values.size(); ++k) {
    weights.Number(options.values[k].task, result.weights[k]);
    metrics.Number(options.values[k].task, result.metrics[k]);
  }
  JsonObject line;
  line.Text("event", "fuse").Text("split", SplitName(split)).Text("form", FuseFormName(form));
  line.Text("metric", job.options.fuse_metric).Number("objective", result.objective);
  return line.Object("weights", weights).Object("metrics", metrics);
}

// Searches both forms on `valid`, then tries the better one on `test`.
void ReportFusion(const Job& job, const FuseOptions& options, const FuseData& valid,
                  const FuseData& test, Progress* progress) {
  FuseForm best_form = FuseForm::kSum;
  FuseResult best;
  for (const FuseForm form : kFuseForms) {
    FuseResult result = SearchFusion(valid, options, form);
    progress->Line(FuseLine(VALID, form, job, options, result).ToString());
    if (form != FuseForm::kSum && !(result.objective > best.objective)) continue;
    best = std::move(result);
    best_form = form;
  }
  const FuseResult once = EvaluateFusion(test, options, best_form, best.weights);
  progress->Line(FuseLine(TEST, best_form, job, options, once).ToString());
}

}  // namespace

absl::Status RunEvaluate(Job job, const Cluster& cluster) {
  ASSIGN_OR_RETURN(const auto loaded, Load(std::move(job), cluster));
  const Evaluator evaluator = EvaluatorOf(*loaded, cluster);
  const int64_t step = loaded->job.manifest->state().step();
  Progress progress(stdout, StdoutIsTerminal(), cluster.clock);
  for (const Split split : {VALID, TEST}) {
    if (loaded->dataset->rows(split) == 0) continue;
    ASSIGN_OR_RETURN(
        const Evaluation evaluation,
        evaluator.Evaluate(split, *loaded->engine.stepper, loaded->job.manifest->state()));
    if (cluster.workers->rank() != 0) continue;
    progress.Table(SplitName(split), step, evaluation.tasks, "");
    for (const std::string& line : GatesTable(evaluation.gates)) progress.Line(line);
    const std::string unseen = UnseenText(split, evaluation.unseen);
    if (!unseen.empty()) progress.Line(unseen);
    progress.Line(EvalLine(split, step, evaluation.tasks, loaded->job.config.train().best_by(),
                           evaluation.unseen)
                      .ToString());
  }
  return Finish(absl::OkStatus(), cluster, *loaded);
}

absl::Status RunPredict(Job job, const Cluster& cluster) {
  ASSIGN_OR_RETURN(const Split split, SplitByName(job.options.split));
  const bool is_first = cluster.workers->rank() == 0;
  std::unique_ptr<PredictionOutput> output;
  absl::Status status;
  if (is_first) {
    auto opened = PredictionOutput::Open(job.options.output, job.config.dataset());
    status = opened.status();
    if (opened.ok()) output = *std::move(opened);
  }
  RETURN_IF_ERROR(ShareStatus(*cluster.workers, 0, status));
  ASSIGN_OR_RETURN(const auto loaded, Load(std::move(job), cluster));
  const auto& heads = loaded->program->heads();
  status = AgreeStatus(*cluster.workers, CheckPredictedRows(*loaded, split, is_first));
  if (!status.ok()) return Finish(status, cluster, *loaded);
  ASSIGN_OR_RETURN(SplitPredictions predictions,
                   EvaluatorOf(*loaded, cluster).Predict(split, *loaded->engine.stepper));
  if (is_first) {
    const auto unseen = CollectUnseen(predictions, loaded->job.data.input);
    if (!unseen.empty()) LOG(WARNING) << UnseenText(split, unseen);
    ConvertPredictions(loaded->job.config, heads, loaded->job.manifest->state(), &predictions);
    status = WriteCsv(ColumnsOf(loaded->job, heads, predictions), output.get());
  }
  return Finish(ShareStatus(*cluster.workers, 0, status), cluster, *loaded);
}

absl::Status RunFuse(Job job, const Cluster& cluster) {
  const absl::StatusOr<FuseOptions> parsed =
      ParseFuse(job.options.fuse, job.options.fuse_metric, job.config);
  RETURN_IF_ERROR(AgreeStatus(*cluster.workers, parsed.status()));
  const FuseOptions& options = *parsed;
  ASSIGN_OR_RETURN(const auto loaded, Load(std::move(job), cluster));
  absl::Status has_rows;
  for (const Split split : {VALID, TEST}) {
    if (loaded->dataset->rows(split) > 0) continue;
    has_rows.Update(
        UsageError(absl::StrCat("--mode=fuse: the data set has no ", SplitName(split), " rows")));
  }
  has_rows = AgreeStatus(*cluster.workers, has_rows);
  if (!has_rows.ok()) return Finish(has_rows, cluster, *loaded);
  const Evaluator evaluator = EvaluatorOf(*loaded, cluster);
  Stepper& stepper = *loaded->engine.stepper;
  ASSIGN_OR_RETURN(SplitPredictions valid, evaluator.Predict(VALID, stepper));
  ASSIGN_OR_RETURN(SplitPredictions test, evaluator.Predict(TEST, stepper));
  absl::Status status;
  if (cluster.workers->rank() == 0) {
    const FuseData of_valid = DataOf(*loaded, options, std::move(valid));
    const FuseData of_test = DataOf(*loaded, options, std::move(test));
    status = CheckFuseLabels(of_valid, options);
    status.Update(CheckFuseLabels(of_test, options));
    Progress progress(stdout, StdoutIsTerminal(), cluster.clock);
    if (status.ok()) ReportFusion(loaded->job, options, of_valid, of_test, &progress);
  }
  return Finish(ShareStatus(*cluster.workers, 0, status), cluster, *loaded);
}

}  // namespace pagoda
