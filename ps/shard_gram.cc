// Steps whose tasks' gradients come apart: sums over workers, inner products, and the combination.
//
// A push with task_count K is summed along the tree for each task by itself. When all came, each is
// answered with the Gram matrices of the tasks, one for every partition of the shard, so that
// whoever adds them in the order of partitions gets the same bits for any number of shards; inside
// a partition go tables in their order, optimizers in theirs, rows in MixId order. Workers then
// agree on coefficients without a message, each sends them in a COMBINE, and when the last came the
// rows move along the combination.
#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/gram.h"
#include "common/hash.h"
#include "ps/shard_impl.h"

namespace pagoda {

bool Shard::Impl::PushesTasks(const WireHeader& header) {
  return header.kind() == WireHeader::STEP && header.has_push() && header.task_count() > 0;
}

absl::Status Shard::Impl::CheckTasks(const WireHeader& header) const {
  const uint32_t tasks = header.task_count();
  if (tasks > kMaxGramTasks) {
    return UsageError(absl::StrCat("push of ", tasks, " tasks; at most ", kMaxGramTasks));
  }
  const bool is_first = MissingClients().size() == job_->hello.worker_count();
  if (!is_first && tasks != job_->task_count) {
    return UsageError(absl::StrCat("push of step ", header.step(), ": ", tasks,
                                   " tasks apart, another worker's has ", job_->task_count));
  }
  std::map<std::pair<uint32_t, uint32_t>, uint32_t> counts;
  for (const Segment& segment : header.segment()) {
    if (segment.task() >= std::max(tasks, 1u)) {
      return UsageError(absl::StrCat("segment of task ", segment.task(), " of ", tasks));
    }
    ++counts[{segment.table(), segment.optimizer()}];
  }
  for (const auto& [owner, count] : counts) {
    if (tasks > 0 && count != tasks) {
      return UsageError(absl::StrCat("push to table ", owner.first, " optimizer ", owner.second,
                                     ": gradients of ", count, " tasks of ", tasks));
    }
  }
  return absl::OkStatus();
}

absl::Status Shard::Impl::GatherTasks() {
  const size_t pairs = GramSize(job_->task_count);
  const size_t partitions = job_->end_partition - job_->first_partition;
  const auto gram = std::make_shared<std::vector<double>>(partitions * pairs, 0.0);
  for (uint32_t table = 0; table < job_->tables.size(); ++table) {
    const size_t optimizers = job_->tables[table]->layout().optimizers().size();
    for (uint32_t optimizer = 0; optimizer < optimizers; ++optimizer) {
      TaskSums sums = {table, optimizer, {}, {}, {}};
      sums.owned.resize(job_->task_count);
      for (uint32_t task = 0; task < job_->task_count; ++task) {
        ASSIGN_OR_RETURN(const SparseView sum,
                         SumWorkers(table, optimizer, task, &sums.owned[task]));
        sums.ids = sum.ids;  // The same for all tasks.
        sums.values.push_back(sum.values.data());
      }
      if (sums.ids.empty()) continue;
      AddGram(sums, gram->data());
      job_->task_sums.push_back(std::move(sums));
    }
  }
  job_->gram = Buffer(gram->data(), gram->size() * sizeof(double), gram);
  job_->is_gathered = true;
  return absl::OkStatus();
}

// gram [partition of the shard, GramSize(K)] += that of each row.
void Shard::Impl::AddGram(const TaskSums& sums, double* gram) const {
  const int64_t dim = job_->tables[sums.table]->layout().dim();
  const size_t pairs = GramSize(job_->task_count);
  std::vector<const float*> row(sums.values);
  for (const uint64_t id : sums.ids) {
    const int partition = PartitionOfMixed(MixId(id)) - job_->first_partition;
    AddInnerProducts(row, dim, gram + partition * pairs);
    for (const float*& values : row) values += dim;
  }
}

Message Shard::Impl::GramReply() const {
  Message reply;
  reply.header.set_encoding(WireHeader::F64);
  reply.header.set_task_count(job_->task_count);
  reply.values = job_->gram;
  return reply;
}

absl::Status Shard::Impl::HandleCombine(const PeerId& from, const Message& request,
                                        Outbox& outbox) {
  const WireHeader& header = request.header;
  RETURN_IF_ERROR(CheckWorker(header));
  Client& client = job_->clients[header.client_id()];
  if (header.step() != job_->next_step || !job_->is_gathered || client.has_combined) {
    return UsageError(absl::StrCat(
        "combine of step ", header.step(), ": ",
        client.has_combined ? "it was combined before, or " : "its tasks were not all pushed, or ",
        "it is not the next step, which is ", job_->next_step));
  }
  RETURN_IF_ERROR(CheckCoefficients(header));
  RETURN_IF_ERROR(TakeAnnounceAndPull(client, request));
  job_->coefficients.assign(header.coefficient().begin(), header.coefficient().end());
  client.has_combined = true;
  Wait(from, header, &client);
  if (MissingClients().empty()) {
    job_->failed = ApplyTasks();
    if (!job_->failed.ok()) {
      FailPending(job_->failed, outbox);
      return absl::OkStatus();
    }
  }
  AnswerReady(outbox);
  return absl::OkStatus();
}

absl::Status Shard::Impl::CheckCoefficients(const WireHeader& header) const {
  const auto& given = header.coefficient();
  const bool finite =
      std::all_of(given.begin(), given.end(), [](double c) { return std::isfinite(c); });
  if (given.size() != static_cast<int>(job_->task_count) || !finite) {
    return UsageError(absl::StrCat("combine of step ", header.step(), ": ", given.size(),
                                   " coefficients", finite ? "" : ", not all of them finite",
                                   "; the push has ", job_->task_count, " tasks"));
  }
  const bool is_first = job_->coefficients.empty();
  if (is_first || std::equal(given.begin(), given.end(), job_->coefficients.begin())) {
    return absl::OkStatus();
  }
  return UsageError(absl::StrCat("combine of step ", header.step(),
                                 ": its coefficients differ from another worker's"));
}

absl::Status Shard::Impl::ApplyTasks() {
  std::vector<float> combined;
  for (const TaskSums& sums : job_->task_sums) {
    Table& rows = *job_->tables[sums.table];
    combined.resize(sums.ids.size() * rows.layout().dim());
    Combine(sums.values, job_->coefficients, static_cast<int64_t>(combined.size()),
            combined.data());
    absl::Status applied = CheckFinite(rows.layout(), sums.ids, combined.data());
    if (applied.ok()) {
      const RowUpdate update = UpdateOf(sums.table, sums.optimizer, combined.data());
      applied = rows.Update(sums.ids, {&update, 1}, job_->next_step);
    }
    if (!applied.ok()) {
      return WithContext(applied, absl::StrCat("apply of step ", job_->next_step));
    }
  }
  ReleaseStep();
  ++job_->next_step;
  return absl::OkStatus();
}

}  // namespace pagoda
