// --mode=evaluate, predict and fuse: a checkpoint, by any number of workers and shards.
//
// evaluate prints a table and the eval line (worker/train/metrics_writer.h) of valid and test;
// predict writes
//   record,HEAD,HEAD,...     one line a record, in record order; %.9g reads back as the same float
// (tasks' predictions in label units, calibrated where a task asks for it; with --labels also
// label/TASK, as the data set has them, else no label is read: new rows have none); fuse searches
// weights for the tasks' outputs on valid and reports them on test, once (worker/train/fuse.h):
//   {"event":"fuse","split":"valid|test","form":"sum|product","metric":...,"objective":x,
//    "weights":{TASK:w},"metrics":{TASK:x}}
//
// **Confined to the step thread.**
#ifndef PAGODA_WORKER_TRAIN_EVALUATION_H_
#define PAGODA_WORKER_TRAIN_EVALUATION_H_

#include "absl/status/status.h"
#include "worker/train/job.h"
#include "worker/train/session.h"

namespace pagoda {

// All workers call one of them. REQUIRES: job.manifest.
absl::Status RunEvaluate(Job job, const Cluster& cluster);
absl::Status RunPredict(Job job, const Cluster& cluster);
absl::Status RunFuse(Job job, const Cluster& cluster);

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_EVALUATION_H_
