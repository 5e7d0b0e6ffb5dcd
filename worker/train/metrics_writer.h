// metrics.jsonl: what happened in a run, one JSON object a line, written by worker 0.
//
// {"event":"step","step":N,"loss":{TASK:x}}
//   with a weighting: "weight":{TASK:x}, and what it is found by, such as "s":{TASK:x}
// {"event":"eval","split":"valid|test","step":N,"score":x,
//  "tasks":{TASK:{"auc":x,"logloss":x,"pcoc":x,...,"rows":n,"positives":n}}}
//   numbers: "mse", "mae", ... in label units; "training_units":{"mse":x,...} where they differ;
//   asked for: "gauc", "gauc_groups", "ndcg@K", "auc_low", "auc_high",
//   "buckets":[{"rows":n,"predicted":x,"observed":x}]
//   "unseen":{FEATURE:n}     values that no table has a row for, of features that have some
// {"event":"gates","split":"valid|test","step":N,"gates":{GATE:{EXPERT:mean weight}}}
// {"event":"done","steps":N,"seconds":x,"examples_per_second":x,"digest":"...","rows":n,
//  "spills":n,"reloads":n,"bytes_pushed":n,     gradients of rows, by all workers of this start
//  "tables":{TABLE:{"rows":n,"row_bytes":n}},"early_stop":{"best_step":N,"best_score":x}}
// Numbers are the shortest text that reads back as the same double; what is not a number is null.
//
// **Confined to worker 0's step thread.**
#ifndef PAGODA_WORKER_TRAIN_METRICS_WRITER_H_
#define PAGODA_WORKER_TRAIN_METRICS_WRITER_H_

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace pagoda {

// One JSON object, built field by field.
class JsonObject {
 public:
  JsonObject& Text(absl::string_view name, absl::string_view value);
  JsonObject& Number(absl::string_view name, double value);
  JsonObject& Integer(absl::string_view name, int64_t value);
  JsonObject& Object(absl::string_view name, const JsonObject& value);
  JsonObject& Array(absl::string_view name, const std::vector<JsonObject>& values);
  std::string ToString() const { return "{" + fields_ + "}"; }

 private:
  void Name(absl::string_view name);
  std::string fields_;
};

class MetricsWriter {
 public:
  // Appends. A line that a killed start left unfinished is removed first.
  static absl::StatusOr<std::unique_ptr<MetricsWriter>> Open(const std::string& path);
  ~MetricsWriter();
  MetricsWriter(const MetricsWriter&) = delete;
  MetricsWriter& operator=(const MetricsWriter&) = delete;

  // One line, in the file when this returns. A write that fails (disk full) is an IoError with the
  // path.
  absl::Status Write(const JsonObject& object);

 private:
  MetricsWriter(const std::string& path, std::FILE* file) : path_(path), file_(file) {}
  const std::string path_;
  std::FILE* const file_;
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_METRICS_WRITER_H_
