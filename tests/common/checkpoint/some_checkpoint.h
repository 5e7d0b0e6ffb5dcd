// The checkpoint that the tests here write, and that stands in tests/golden.
#ifndef PAGODA_TESTS_COMMON_CHECKPOINT_SOME_CHECKPOINT_H_
#define PAGODA_TESTS_COMMON_CHECKPOINT_SOME_CHECKPOINT_H_

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/checkpoint/digest.h"
#include "common/checkpoint/manifest.h"
#include "common/checkpoint/safetensors.h"
#include "common/io/file.h"

namespace pagoda {

inline std::vector<Tensor> SomeDense() {
  const float w[] = {0.5f, -1.25f, 3.0f, 1e-8f}, m[] = {0, 1, 2, 3};
  return {Tensor::F32("tower/w", {2, 2}, w), Tensor::F32("tower/w.state0", {2, 2}, m)};
}

inline TrainState SomeState(int64_t step) {
  TrainState state;
  state.set_step(step);
  state.set_epoch(2);
  state.set_epoch_step(7);
  state.set_lanes(8);
  state.set_batch_size(1024);
  state.set_best_score(1.9480000000000004);  // Needs all 17 digits.
  state.set_best_step(585);
  state.set_evaluations_without_better(1);
  OptimizerClock* clock = state.add_clock();
  clock->set_step(step);
  clock->set_learning_rate(0.001);
  return state;
}

inline RowDigest SomeRows() {
  RowDigest rows;
  const std::byte row[] = {std::byte{1}, std::byte{2}, std::byte{3}};
  rows.AddRow("shared_8", 42, row);
  rows.AddRow("shared_8", ~uint64_t{0}, row);
  return rows;
}

// One dense file and one file that stands for rows; the manifest that names them.
inline Manifest WriteSomeFiles(const std::string& directory, int64_t step) {
  Manifest manifest;
  *manifest.mutable_state() = SomeState(step);
  EXPECT_TRUE(WriteSafetensors(JoinPath(directory, "dense.safetensors"), SomeDense(), {}).ok());
  EXPECT_TRUE(
      WriteFileAtomically(JoinPath(directory, "rows-0000-1024.sst"), "stands for rows").ok());
  DenseFile* dense = manifest.mutable_dense();
  dense->set_name("dense.safetensors");
  dense->set_bytes(*FileSize(JoinPath(directory, dense->name())));
  dense->set_checksum(*ChecksumFile(JoinPath(directory, dense->name())));
  RowFile* rows = manifest.add_rows();
  rows->set_name("rows-0000-1024.sst");
  rows->set_end_partition(1024);
  rows->set_rows(2);
  rows->set_bytes(*FileSize(JoinPath(directory, rows->name())));
  rows->set_checksum(*ChecksumFile(JoinPath(directory, rows->name())));
  manifest.set_row_count(2);
  manifest.set_run_epoch(3);
  manifest.set_digest(JobDigest(SomeRows(), SomeDense(), SomeState(step)));
  manifest.mutable_config()->mutable_model()->set_name("ple");
  FeatureStatistics* age = manifest.mutable_statistics()->add_feature();
  age->set_name("age");
  age->set_mean(34.494199);
  age->add_boundary(0.1);
  return manifest;
}

inline std::string CommitSome(const std::string& checkpoints_dir, int64_t step) {
  const auto directory = BeginCheckpoint(checkpoints_dir, step);
  EXPECT_TRUE(directory.ok()) << directory.status();
  const auto path = CommitCheckpoint(*directory, WriteSomeFiles(*directory, step));
  EXPECT_TRUE(path.ok()) << path.status();
  return *path;
}

}  // namespace pagoda

#endif  // PAGODA_TESTS_COMMON_CHECKPOINT_SOME_CHECKPOINT_H_
