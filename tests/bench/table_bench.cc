// One table, one thread: rows looked up and updated a second, beside what memory gives.
//
// Workloads: random lists of 10k ids in MixId order over a table that is all resident.
//   Lookup/dim:16/ids:5M, 20M        goal: >= 20M rows/s
//   UpdateAdam/dim:16/ids:5M, 20M    200-byte rows, read and written; memory's limit: 22M rows/s
//   UpdateSgd/dim:16/ids:5M
// Limits: design.md, section 10, one core. Run under `taskset -c 0`, in a Release build, on an idle
// machine; the context lines name it.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "common/hash.h"
#include "common/optim/rule.h"
#include "glog/logging.h"
#include "ps/table/table.h"

namespace pagoda {
namespace {

constexpr int kDim = 16, kListIds = 10'000, kLists = 64;

RowLayout MakeLayout(const std::string& rule) {
  Schema schema;
  OptimizerSchema& optimizer = *schema.add_optimizer();
  optimizer.set_rule(rule);
  const auto parameters = ResolveParameters(rule, Rules().at(rule).parameters, {});
  CHECK(parameters.ok());
  optimizer.mutable_parameter()->insert(parameters->begin(), parameters->end());
  TableSchema& table = *schema.add_table();
  table.set_name("bench");
  table.set_dim(kDim);
  table.set_init_range(0.05);
  table.add_optimizer(0);
  return *RowLayout::Make(schema, 0);
}

std::vector<uint64_t> SortedList(std::vector<uint64_t> ids) {
  std::sort(ids.begin(), ids.end(), [](uint64_t a, uint64_t b) { return MixId(a) < MixId(b); });
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

// A table with rows 0 .. n - 1, created in random order as training does, and lists of them.
struct Filled {
  Filled(const std::string& rule, uint64_t n) : table(0, MakeLayout(rule), {}, &budget, nullptr) {
    std::vector<uint64_t> all(n);
    for (uint64_t i = 0; i < n; ++i) all[i] = i;
    std::mt19937_64 random(1);
    std::shuffle(all.begin(), all.end(), random);
    const std::vector<float> gradients(kListIds * kDim, 0.01f);
    for (uint64_t first = 0; first < n; first += kListIds) {
      const auto end = all.begin() + std::min<uint64_t>(n, first + kListIds);
      const auto ids = SortedList({all.begin() + first, end});
      CHECK(table.Update(ids, {{0, gradients.data(), {}}}, 0).ok());
    }
    for (int i = 0; i < kLists; ++i) {
      std::vector<uint64_t> ids(kListIds);
      for (uint64_t& id : ids) id = random() % n;
      lists.push_back(SortedList(ids));
    }
  }
  MemoryBudget budget;
  Table table;
  std::vector<std::vector<uint64_t>> lists;
};

Filled& Shared(const std::string& rule, uint64_t n) {
  static std::map<std::pair<std::string, uint64_t>, std::unique_ptr<Filled>> tables;
  std::unique_ptr<Filled>& filled = tables[{rule, n}];
  if (filled == nullptr) {
    tables.clear();  // One at a time: 20M rows are 4 GB.
    return *(tables[{rule, n}] = std::make_unique<Filled>(rule, n));
  }
  return *filled;
}

void Lookup(benchmark::State& state) {
  Filled& filled = Shared("adam", state.range(0));
  std::vector<float> out(kListIds * kDim);
  int64_t rows = 0;
  for (auto _ : state) {
    const std::vector<uint64_t>& ids = filled.lists[state.iterations() % kLists];
    CHECK(filled.table.Lookup(ids, out.data()).ok());
    rows += ids.size();
  }
  state.SetItemsProcessed(rows);
}

void Update(benchmark::State& state, const std::string& rule) {
  Filled& filled = Shared(rule, state.range(0));
  const std::vector<float> gradients(kListIds * kDim, 0.01f);
  int64_t rows = 0, step = 1;
  for (auto _ : state) {
    const std::vector<uint64_t>& ids = filled.lists[step % kLists];
    CHECK(filled.table.Update(ids, {{0, gradients.data(), {step, 0.001}}}, step).ok());
    rows += ids.size();
    ++step;
  }
  state.SetItemsProcessed(rows);
}

BENCHMARK(Lookup)->Name("Lookup/dim:16/ids")->Arg(5'000'000);
BENCHMARK_CAPTURE(Update, adam, std::string("adam"))->Name("UpdateAdam/dim:16/ids")->Arg(5'000'000);
BENCHMARK(Lookup)->Name("Lookup/dim:16/ids")->Arg(20'000'000);
BENCHMARK_CAPTURE(Update, adam, std::string("adam"))
    ->Name("UpdateAdam/dim:16/ids")
    ->Arg(20'000'000);
BENCHMARK_CAPTURE(Update, sgd, std::string("sgd"))->Name("UpdateSgd/dim:16/ids")->Arg(5'000'000);

}  // namespace
}  // namespace pagoda

BENCHMARK_MAIN();
