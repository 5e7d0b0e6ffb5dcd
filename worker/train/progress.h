// What a person sees of a run: one line with rate, loss and time left; a table per evaluation. On a
// terminal the line is rewritten in place; in a pipe it is a plain line now and then.
//
// **Confined to worker 0's step thread.**
#ifndef PAGODA_WORKER_TRAIN_PROGRESS_H_
#define PAGODA_WORKER_TRAIN_PROGRESS_H_

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/clock.h"
#include "worker/train/evaluator.h"

namespace pagoda {

// True when a person watches standard output. mpirun gives its ranks a terminal of their own in any
// case; then the parent's counts, where it can be seen.
bool StdoutIsTerminal();

class Progress {
 public:
  // `out` outlives this.
  Progress(std::FILE* out, bool is_terminal, const Clock* clock)
      : out_(out), is_terminal_(is_terminal), clock_(clock) {}
  ~Progress() { ClearLine(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Steps [first_step, end_step) are to be done, an epoch has so many; the clock of the rate
  // starts.
  void Begin(int64_t first_step, int64_t end_step, int64_t steps_per_epoch);
  // After each step; prints when it is time.
  void Step(int64_t steps_done, int64_t rows, double loss);
  void Line(absl::string_view text);
  // remark: what else its header says, such as "the best checkpoint, score 1.6"; may be empty.
  void Table(absl::string_view split, int64_t step, const std::vector<TaskMetrics>& metrics,
             absl::string_view remark);

 private:
  void ClearLine();

  std::FILE* const out_;
  const bool is_terminal_;
  const Clock* const clock_;
  int64_t first_step_ = 0, end_step_ = 0, steps_per_epoch_ = 1;
  int64_t begin_ms_ = 0;
  int64_t printed_ms_ = 0;        // When the line was printed last ...
  int64_t rows_since_print_ = 0;  // ... and the examples since.
  bool line_shown_ = false;
};

}  // namespace pagoda

#endif  // PAGODA_WORKER_TRAIN_PROGRESS_H_
