// Synchronous steps: announce, push, pull, the apply of a step, and waiting for who is missing.
#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/errors.h"
#include "common/hash.h"
#include "common/net/client.h"
#include "ps/shard_impl.h"

namespace pagoda {

absl::Status Shard::Impl::CheckWorker(const WireHeader& header) const {
  if (header.client_id() >= job_->hello.worker_count()) {
    return UsageError(absl::StrCat("client ", header.client_id(), " is no worker: this job has ",
                                   job_->hello.worker_count()));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Shard::Impl::IdList>> Shard::Impl::CheckIds(
    const Segments& segments, absl::Span<const uint64_t> ids) const {
  std::vector<IdList> lists;
  std::vector<bool> seen(job_->tables.size(), false);
  size_t first = 0, reply_bytes = 0;
  for (const Segment& segment : segments) {
    if (segment.table() >= job_->tables.size() || seen[segment.table()]) {
      return UsageError(absl::StrCat("segment of table ", segment.table(), ": twice there, or ",
                                     "unknown: the job has ", job_->tables.size(), " tables"));
    }
    seen[segment.table()] = true;
    if (segment.count() > ids.size() - first) {
      return UsageError(absl::StrCat("segments count more ids than the ", ids.size(), " sent"));
    }
    const Table& table = *job_->tables[segment.table()];
    const absl::Span<const uint64_t> list = ids.subspan(first, segment.count());
    uint64_t before = 0;
    for (size_t i = 0; i < list.size(); ++i) {
      const uint64_t mixed = MixId(list[i]);
      const int partition = PartitionOfMixed(mixed);
      if ((i > 0 && mixed <= before) || partition < job_->first_partition ||
          partition >= job_->end_partition) {
        return UsageError(absl::StrCat("table ", table.layout().name(), " id ", list[i],
                                       ": ids must ascend by MixId, once ",
                                       "each, in this shard's partitions [", job_->first_partition,
                                       ", ", job_->end_partition, ")"));
      }
      before = mixed;
    }
    lists.push_back({segment.table(), list, first});
    first += segment.count();
    reply_bytes += size_t{segment.count()} * table.layout().dim() * sizeof(float);
  }
  if (first != ids.size()) {
    return UsageError(absl::StrCat("segments count ", first, " ids, ", ids.size(), " were sent"));
  }
  if (reply_bytes > kMaxFrameBytes) {
    return UsageError(absl::StrCat("the rows of ", ids.size(), " ids take ", reply_bytes,
                                   " bytes, a frame at most ", kMaxFrameBytes,
                                   ": take smaller batches"));
  }
  return lists;
}

absl::StatusOr<Message> Shard::Impl::HandleAnnounce(const Message& request) {
  RETURN_IF_ERROR(CheckWorker(request.header));
  RETURN_IF_ERROR(TakeAnnounce(job_->clients[request.header.client_id()], request.header.step(),
                               request.header.segment(), request.ids));
  return Message();
}

absl::Status Shard::Impl::TakeAnnounce(Client& client, int64_t step, const Segments& segments,
                                       const Buffer& ids) {
  if (step < job_->next_step || step > job_->next_step + kMaxStepsAhead) {
    return UsageError(absl::StrCat("announce of step ", step, ": the next step is ",
                                   job_->next_step, ", at most ", kMaxStepsAhead,
                                   " later may be announced"));
  }
  if (client.announced.count(step) > 0) {
    return UsageError(absl::StrCat("step ", step, " was announced before"));
  }
  ASSIGN_OR_RETURN(std::vector<IdList> lists, CheckIds(segments, Ids(ids)));
  client.announced[step] = {ids, std::move(lists), /*is_pinned=*/false};
  ++job_->unpinned;
  return absl::OkStatus();
}

absl::Status Shard::Impl::Pin(Announced& announced) {
  if (announced.is_pinned) return absl::OkStatus();
  announced.is_pinned = true;
  --job_->unpinned;
  for (const IdList& list : announced.lists) {
    job_->failed = job_->tables[list.table]->Pin(list.ids);
    RETURN_IF_ERROR(job_->failed);
  }
  return absl::OkStatus();
}

// Rows are fetched here, while workers compute, rather than when they are announced: the replies
// that the announcing message brought about have left by now.
void Shard::Impl::Idle(Outbox& outbox) {
  if (job_ == nullptr || job_->unpinned == 0 || !job_->failed.ok()) return;
  for (auto& [id, client] : job_->clients) {
    for (auto& [step, announced] : client.announced) {
      if (Pin(announced).ok()) continue;
      FailPending(job_->failed, outbox);
      return;
    }
  }
}

absl::Status Shard::Impl::HandleStep(const PeerId& from, const Message& request, Outbox& outbox) {
  const WireHeader& header = request.header;
  RETURN_IF_ERROR(CheckWorker(header));
  Client& client = job_->clients[header.client_id()];
  if (PushesTasks(header) && header.has_pull()) {
    return UsageError("push of tasks apart: the rows come with its COMBINE, not before");
  }
  RETURN_IF_ERROR(TakeAnnounceAndPull(client, request));
  if (header.has_push()) RETURN_IF_ERROR(TakePush(client, request));
  Wait(from, header, &client);
  if (header.has_push() && MissingClients().empty()) {
    job_->failed = job_->task_count > 0 ? GatherTasks() : ApplyStep();
    if (!job_->failed.ok()) {
      FailPending(job_->failed, outbox);
      return absl::OkStatus();
    }
  }
  AnswerReady(outbox);
  return absl::OkStatus();
}

absl::Status Shard::Impl::TakeAnnounceAndPull(Client& client, const Message& request) {
  const WireHeader& header = request.header;
  if (client.pending.size() >= ShardClient::kMaxInFlight) {
    return UsageError(absl::StrCat("client ", header.client_id(), " waits for ",
                                   client.pending.size(), " steps already"));
  }
  if (header.has_announce()) {
    RETURN_IF_ERROR(TakeAnnounce(client, header.announce_step(), header.announced(), request.ids));
  }
  if (header.has_pull()) {
    if (header.pull_step() < job_->next_step ||
        header.pull_step() > job_->next_step + kMaxStepsAhead) {
      return UsageError(absl::StrCat("pull of step ", header.pull_step(), ": the next step is ",
                                     job_->next_step));
    }
    const auto announced = client.announced.find(header.pull_step());
    if (announced == client.announced.end()) {
      return UsageError(
          absl::StrCat("pull of step ", header.pull_step(), ", which was not announced"));
    }
    RETURN_IF_ERROR(Pin(announced->second));
  }
  return absl::OkStatus();
}

void Shard::Impl::Wait(const PeerId& from, const WireHeader& header, Client* client) {
  const int64_t now_ms = clock_->NowMs();
  client->pending.push_back({from, header.sequence(), header, now_ms, now_ms});
  WireHeader& kept = client->pending.back().header;
  kept.clear_segment();
  kept.clear_announced();
  kept.clear_clock();
  kept.clear_coefficient();
}

absl::Status Shard::Impl::TakePush(Client& client, const Message& request) {
  const WireHeader& header = request.header;
  const int64_t step = header.step();
  if (step != job_->next_step) {
    return UsageError(absl::StrCat("push of step ", step, ": the next step is ", job_->next_step));
  }
  if (client.pushes.count(step) > 0) {
    return UsageError(absl::StrCat("step ", step, " was pushed before"));
  }
  const auto announced = client.announced.find(step);
  if (announced == client.announced.end()) {
    return UsageError(absl::StrCat("push of step ", step, ", which was not announced"));
  }
  RETURN_IF_ERROR(Pin(announced->second));
  RETURN_IF_ERROR(CheckTasks(header));
  ASSIGN_OR_RETURN(std::vector<Gradient> gradients, MatchGradients(announced->second, request));
  RETURN_IF_ERROR(CheckClock(header));
  job_->task_count = header.task_count();
  if (job_->clock.empty()) job_->clock.assign(header.clock().begin(), header.clock().end());
  client.pushes[step] = {request.values, std::move(gradients)};
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Shard::Impl::Gradient>> Shard::Impl::MatchGradients(
    const Announced& announced, const Message& push) const {
  if (push.header.encoding() != WireHeader::F32) {
    return UsageError(
        absl::StrCat("push: values encoded as ", push.header.encoding(), "; this shard takes F32"));
  }
  const absl::Span<const float> values = Values(push);
  std::vector<Gradient> gradients;
  size_t first = 0;
  for (const Segment& segment : push.header.segment()) {
    const auto list =
        std::find_if(announced.lists.begin(), announced.lists.end(),
                     [&](const IdList& list) { return list.table == segment.table(); });
    if (list == announced.lists.end() || list->ids.size() != segment.count()) {
      return UsageError(absl::StrCat("push of ", segment.count(), " gradients of table ",
                                     segment.table(), ": announced were ",
                                     list == announced.lists.end() ? 0 : list->ids.size()));
    }
    const RowLayout& layout = job_->tables[segment.table()]->layout();
    const bool twice =
        std::any_of(gradients.begin(), gradients.end(), [&](const Gradient& gradient) {
          return gradient.table == segment.table() && gradient.optimizer == segment.optimizer() &&
                 gradient.task == segment.task();
        });
    if (segment.optimizer() >= layout.optimizers().size() || twice) {
      return UsageError(absl::StrCat("push to table ", layout.name(), " optimizer ",
                                     segment.optimizer(), ": twice there, or unknown: it has ",
                                     layout.optimizers().size()));
    }
    const size_t count = size_t{segment.count()} * layout.dim();
    if (count > values.size() - first) {
      return UsageError(
          absl::StrCat("push: segments count more values than the ", values.size(), " sent"));
    }
    const absl::Span<const float> gradient = values.subspan(first, count);
    RETURN_IF_ERROR(CheckFinite(layout, list->ids, gradient.data()));
    gradients.push_back(
        {segment.table(), segment.optimizer(), segment.task(), {list->ids, gradient}});
    first += count;
  }
  if (first != values.size()) {
    return UsageError(
        absl::StrCat("push: segments count ", first, " values, ", values.size(), " were sent"));
  }
  return gradients;
}

absl::Status Shard::Impl::CheckClock(const WireHeader& header) const {
  for (const Segment& segment : header.segment()) {
    const uint32_t optimizer =
        job_->tables[segment.table()]->layout().optimizers()[segment.optimizer()].schema_index;
    const bool there =
        std::any_of(header.clock().begin(), header.clock().end(),
                    [&](const OptimizerClock& clock) { return clock.optimizer() == optimizer; });
    if (!there) return UsageError(absl::StrCat("push: no clock of optimizer ", optimizer));
  }
  for (const OptimizerClock& clock : header.clock()) {
    if (clock.step() < 1 || !std::isfinite(clock.learning_rate())) {
      return UsageError(absl::StrCat("push: clock of optimizer ", clock.optimizer(), " is step ",
                                     clock.step(), ", rate ", clock.learning_rate()));
    }
  }
  const bool same =
      job_->clock.empty() ||
      std::equal(header.clock().begin(), header.clock().end(), job_->clock.begin(),
                 job_->clock.end(), [](const OptimizerClock& a, const OptimizerClock& b) {
                   return a.optimizer() == b.optimizer() && a.step() == b.step() &&
                          a.learning_rate() == b.learning_rate();
                 });
  return same ? absl::OkStatus()
              : UsageError(absl::StrCat("push of step ", header.step(),
                                        ": its optimizer clocks differ from another worker's"));
}

std::vector<uint32_t> Shard::Impl::MissingClients() const {
  std::vector<uint32_t> missing;
  for (uint32_t worker = 0; worker < job_->hello.worker_count(); ++worker) {
    const auto client = job_->clients.find(worker);
    const bool came = client != job_->clients.end() &&
                      (job_->is_gathered ? client->second.has_combined
                                         : client->second.pushes.count(job_->next_step) > 0);
    if (!came) missing.push_back(worker);
  }
  return missing;
}

absl::Status Shard::Impl::ApplyStep() {
  for (uint32_t table = 0; table < job_->tables.size(); ++table) {
    absl::Status applied = ApplyTable(table);
    if (!applied.ok()) {
      return WithContext(applied, absl::StrCat("apply of step ", job_->next_step));
    }
  }
  ReleaseStep();
  ++job_->next_step;
  return absl::OkStatus();
}

// Optimizers with gradients of the same rows, which is the rule, move them together.
absl::Status Shard::Impl::ApplyTable(uint32_t table) {
  Table& rows = *job_->tables[table];
  const size_t optimizers = rows.layout().optimizers().size();
  std::vector<RowUpdate>& updates = job_->updates;
  updates.clear();
  job_->sums.resize(std::max(job_->sums.size(), optimizers));
  absl::Span<const uint64_t> ids;  // Of `updates`.
  for (uint32_t optimizer = 0; optimizer < optimizers; ++optimizer) {
    ASSIGN_OR_RETURN(const SparseView sum,
                     SumWorkers(table, optimizer, /*task=*/0, &job_->sums[optimizer]));
    if (sum.ids.empty()) continue;
    if (!updates.empty() && sum.ids != ids) {
      RETURN_IF_ERROR(rows.Update(ids, updates, job_->next_step));
      updates.clear();
    }
    ids = sum.ids;
    updates.push_back(UpdateOf(table, optimizer, sum.values.data()));
  }
  return updates.empty() ? absl::OkStatus() : rows.Update(ids, updates, job_->next_step);
}

absl::StatusOr<SparseView> Shard::Impl::SumWorkers(uint32_t table, uint32_t optimizer,
                                                   uint32_t task, SparseGradient* scratch) {
  // One leaf a worker, in order of workers: each is the sum of an aligned subtree of lanes. A
  // worker without gradients is an absent leaf.
  std::vector<SparseView>& leaves = job_->leaves;
  leaves.assign(job_->hello.worker_count(), {});
  SparseView only;
  size_t present = 0;
  for (uint32_t worker = 0; worker < job_->hello.worker_count(); ++worker) {
    for (const Gradient& gradient : job_->clients[worker].pushes[job_->next_step].gradients) {
      if (gradient.table != table || gradient.optimizer != optimizer) continue;
      if (gradient.task != task || gradient.view.ids.empty()) continue;
      leaves[worker] = only = gradient.view;
      ++present;
    }
  }
  if (present < 2) return only;
  const RowLayout& layout = job_->tables[table]->layout();
  SumTree(leaves, layout.dim(), scratch);
  // Each leaf is finite; their sum may have overflowed.
  RETURN_IF_ERROR(CheckFinite(layout, scratch->ids, scratch->values.data()));
  return SparseView{scratch->ids, scratch->values};
}

RowUpdate Shard::Impl::UpdateOf(uint32_t table, uint32_t optimizer, const float* gradients) const {
  RowUpdate update = {static_cast<int>(optimizer), gradients, {}};
  const uint32_t schema_index = job_->tables[table]->layout().optimizers()[optimizer].schema_index;
  for (const OptimizerClock& clock : job_->clock) {
    if (clock.optimizer() != schema_index) continue;
    update.rule_step.step = clock.step();
    update.rule_step.learning_rate = clock.learning_rate();
  }
  return update;
}

void Shard::Impl::ReleaseStep() {
  for (auto& [id, client] : job_->clients) {
    client.pushes.erase(job_->next_step);
    client.has_combined = false;
    const auto announced = client.announced.find(job_->next_step);
    if (announced == client.announced.end()) continue;
    // Pinned when it was pushed, if not before.
    for (const IdList& list : announced->second.lists) job_->tables[list.table]->Unpin(list.ids);
    client.announced.erase(announced);
  }
  job_->clock.clear();
  job_->task_count = 0;
  job_->is_gathered = false;
  job_->task_sums.clear();
  job_->gram = Buffer();
  job_->coefficients.clear();
}

// A push is acknowledged when it was applied or, its tasks apart, when all were gathered; a pull is
// answered when all steps before it were applied.
bool Shard::Impl::Ready(const WireHeader& step) const {
  if (PushesTasks(step)) return job_->is_gathered;
  if (step.kind() == WireHeader::COMBINE && step.step() >= job_->next_step) return false;
  const bool applied = !step.has_push() || step.step() < job_->next_step;
  return applied && (!step.has_pull() || step.pull_step() <= job_->next_step);
}

absl::StatusOr<Message> Shard::Impl::StepReply(Client& client, const WireHeader& step) {
  if (PushesTasks(step)) return GramReply();
  if (!step.has_pull()) return Message();
  const auto announced = client.announced.find(step.pull_step());
  if (announced == client.announced.end()) {
    return UsageError(absl::StrCat("pull of step ", step.pull_step(), " came after its push"));
  }
  return Rows(announced->second.lists);
}

absl::StatusOr<Message> Shard::Impl::Rows(const std::vector<IdList>& lists, bool tells_absent) {
  Message reply;
  size_t count = 0, ids = 0, total = 0;
  for (const IdList& list : lists) {
    count += list.ids.size() * job_->tables[list.table]->layout().dim();
    total += list.ids.size();
    Segment& segment = *reply.header.add_segment();
    segment.set_table(list.table);
    segment.set_count(static_cast<uint32_t>(list.ids.size()));
  }
  // Not zeroed: every value is written.
  const std::shared_ptr<float[]> values = std::make_shared_for_overwrite<float[]>(count);
  size_t first = 0;            // Value of the list in hand, as `ids` is its first id.
  std::vector<size_t> absent;  // Of one table.
  for (const IdList& list : lists) {
    Table& table = *job_->tables[list.table];
    absent.clear();
    absl::Status found =
        table.Lookup(list.ids, values.get() + first, tells_absent ? &absent : nullptr);
    if (!found.ok()) return job_->failed = found;
    const size_t dim = table.layout().dim();
    if (!absent.empty()) {
      std::string& bits = *reply.header.mutable_absent();
      bits.resize((total + 7) / 8);
      for (const size_t i : absent) {
        bits[(ids + i) / 8] |= static_cast<char>(1 << (ids + i) % 8);
        std::fill_n(values.get() + first + i * dim, dim, RowLayout::kDefaultWeight);
      }
    }
    first += list.ids.size() * dim;
    ids += list.ids.size();
  }
  reply.values = Buffer(values.get(), count * sizeof(float), values);
  return reply;
}

void Shard::Impl::AnswerReady(Outbox& outbox) {
  for (auto& [id, client] : job_->clients) {
    for (auto pending = client.pending.begin(); pending != client.pending.end();) {
      if (!Ready(pending->header)) {
        ++pending;
        continue;
      }
      Reply(pending->from, pending->header, StepReply(client, pending->header), /*remember=*/true,
            outbox);
      pending = client.pending.erase(pending);
    }
  }
}

void Shard::Impl::FailPending(const absl::Status& status, Outbox& outbox) {
  for (auto& [id, client] : job_->clients) {
    for (const Pending& pending : client.pending) {
      Reply(pending.from, pending.header, status, /*remember=*/true, outbox);
    }
    client.pending.clear();
  }
}

void Shard::Impl::Tick(int64_t now_ms, Outbox& outbox) {
  if (job_ == nullptr) return;
  const int64_t limit_ms = job_->hello.peer_timeout_ms();
  for (auto& [id, client] : job_->clients) {
    for (auto pending = client.pending.begin(); pending != client.pending.end();) {
      if (now_ms - pending->since_ms >= limit_ms) {
        Reply(pending->from, pending->header,
              absl::DeadlineExceededError(absl::StrCat(
                  "step ", job_->next_step, ": no ", job_->is_gathered ? "coefficients" : "push",
                  " of worker ", absl::StrJoin(MissingClients(), ", "), " in ", limit_ms, " ms")),
              /*remember=*/true, outbox);
        pending = client.pending.erase(pending);
        continue;
      }
      if (now_ms - pending->told_ms >= kWaitingEveryMs) {
        pending->told_ms = now_ms;
        Message waiting;
        waiting.header = pending->header;
        waiting.header.set_kind(WireHeader::WAITING);
        waiting.header.mutable_waiting()->set_step(job_->next_step);
        for (const uint32_t worker : MissingClients()) {
          waiting.header.mutable_waiting()->add_missing_client(worker);
        }
        outbox.push_back({pending->from, std::move(waiting)});
      }
      ++pending;
    }
  }
}

}  // namespace pagoda
