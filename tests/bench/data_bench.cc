// The data room on the bundled Census-Income: 299,285 rows, 39 embedding features, 7 dense ones.
//
// Workloads: `open` reads, encodes and writes all rows (bz2 and gzip, a fresh cache); `fill` makes
// batches of 1000 training rows by record number, in order and in an epoch's shuffled order.
//
//   taskset -c 0 build/bin/data_bench
#include <benchmark/benchmark.h>
#include <glog/logging.h>
#include <google/protobuf/text_format.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "common/io/file.h"
#include "common/random.h"
#include "worker/data/dataset.h"

namespace pagoda {
namespace {

constexpr int kBatchRows = 1000;

// An open data set with its records in a folder of this process.
class Census {
 public:
  Census() : cache_("/tmp/pagoda_data_bench." + std::to_string(getpid())) {
    const std::string folder = PAGODA_SOURCE_DIR "/configs/datasets";
    CHECK(MakeDirectories(cache_).ok());
    Config config;
    CHECK(google::protobuf::TextFormat::ParseFromString(
        ReadFile(folder + "/census_income.textproto").value(), &config));
    auto opened = Dataset::Open(config, {folder, cache_, ""}, nullptr);
    CHECK(opened.ok()) << opened.status();
    dataset_ = *std::move(opened);
  }
  ~Census() { CHECK(RemoveTree(cache_).ok()); }
  const Dataset& dataset() const { return *dataset_; }

 private:
  std::string cache_;
  std::unique_ptr<Dataset> dataset_;
};

void BM_open(benchmark::State& state) {
  for (auto _ : state) Census census;
}
BENCHMARK(BM_open)->Unit(benchmark::kMillisecond);

void Fill(benchmark::State& state, bool shuffled) {
  const Census census;
  const int64_t rows = census.dataset().rows(TRAIN);
  std::vector<int64_t> records(kBatchRows);
  Batch batch;
  int64_t position = 0;
  for (auto _ : state) {
    for (int64_t& record : records) {
      record = shuffled ? static_cast<int64_t>(Philox(1, 2, position)[0] % rows) : position % rows;
      ++position;
    }
    CHECK(census.dataset().Fill(TRAIN, records, &batch).ok());
  }
  state.SetItemsProcessed(state.iterations() * kBatchRows);
}
void BM_fill_in_order(benchmark::State& state) { Fill(state, false); }
void BM_fill_shuffled(benchmark::State& state) { Fill(state, true); }
BENCHMARK(BM_fill_in_order)->Unit(benchmark::kMicrosecond);
BENCHMARK(BM_fill_shuffled)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace pagoda

BENCHMARK_MAIN();
