#include "worker/train/step_update.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/errors.h"
#include "common/optim/clip.h"
#include "common/optim/norm.h"
#include "glog/logging.h"
#include "worker/train/step_timed.h"

namespace pagoda {
namespace {

bool AllFinite(const float* x, int64_t n) {
  // An exponent of all ones carries into the sign bit. In integers, so that it becomes vectors.
  uint32_t carries = 0;
  for (int64_t i = 0; i < n; ++i) {
    carries |= (std::bit_cast<uint32_t>(x[i]) & 0x7FFFFFFF) + 0x00800000;
  }
  return carries >> 31 == 0;
}

}  // namespace

DenseUpdate::DenseUpdate(DenseParameters* parameters, std::vector<DenseGradients>* gradients,
                         Group* group, ComputeThreads* threads)
    : parameters_(*parameters),
      gradients_(*gradients),
      group_(*group),
      threads_(*threads),
      scratch_(threads->size()) {}

void DenseUpdate::SetMoves(absl::Span<const OptimizerMove> moves) {
  moves_.assign(moves.begin(), moves.end());
  moving_.clear();
  round_begin_.assign(1, 0);
  const bool in_turn = alone() && parameters_.optimizers_overlap();
  for (const DenseParameters::Chunk& chunk : parameters_.chunks()) {
    if (!moves_[chunk.optimizer].moves) continue;
    if (in_turn && !moving_.empty() && moving_.back()->optimizer != chunk.optimizer) {
      round_begin_.push_back(moving_.size());
    }
    moving_.push_back(&chunk);
  }
  round_begin_.push_back(moving_.size());
}

void DenseUpdate::AddWave(int wave, absl::Span<const int> slices) {
  slices_ = slices;
  threads_.Run(static_cast<int>(moving_.size()),
               [&](int i, int thread) { SumChunk(wave, *moving_[i], &scratch_[thread]); });
}

const float* DenseUpdate::SumChunk(int wave, const DenseParameters::Chunk& chunk,
                                   Scratch* scratch) {
  DenseGradients& gradients = gradients_[parameters_.optimizer(chunk.optimizer).pass];
  const auto sum = [&](int64_t begin, int64_t n) {
    return gradients.SumWave(wave, slices_, begin, n, &scratch->sums);
  };
  if (chunk.pieces.size() == 1 && chunk.size <= DenseParameters::kChunk) {
    return sum(chunk.pieces[0].begin, chunk.size);
  }
  scratch->gradient.Resize(chunk.size);
  float* out = scratch->gradient.data();
  for (const DenseParameters::Piece& piece : chunk.pieces) {
    for (int64_t done = 0; done < piece.size;) {
      const int64_t n = std::min(piece.size - done, DenseParameters::kChunk);
      out = std::copy_n(sum(piece.begin + done, n), n, out);
      done += n;
    }
  }
  return scratch->gradient.data();
}

void DenseUpdate::Start(absl::Span<const int> slices) {
  slices_ = slices;
  is_finite_ = true;
  work_ = [this](int i, int thread) { SumAndApply(*round_[i], thread); };
  BeginRound(0);
}

void DenseUpdate::BeginRound(size_t round) {
  const size_t begin = round_begin_[round], end = round_begin_[round + 1];
  round_ = absl::MakeConstSpan(moving_).subspan(begin, end - begin);
  const auto is_kept = [this](const DenseParameters::Chunk* chunk) { return IsKept(*chunk); };
  kept_.clear();
  std::copy_if(round_.begin(), round_.end(), std::back_inserter(kept_), is_kept);
  if (!kept_.empty()) sum_.Resize(parameters_.element_count());
  threads_.Begin(static_cast<int>(round_.size()), work_);
}

void DenseUpdate::SumAndApply(const DenseParameters::Chunk& chunk, int thread) {
  const int last_wave = gradients_[0].wave_count() - 1;
  Scratch& scratch = scratch_[thread];
  const float* sum = SumChunk(last_wave, chunk, &scratch);
  if (!AllFinite(sum, chunk.size)) is_finite_ = false;
  if (IsKept(chunk)) {
    std::copy_n(sum, chunk.size, sum_.data() + chunk.begin);
    return;
  }
  if (const double most = LimitsOf(chunk).value; most > 0) {
    scratch.gradient.Resize(chunk.size);
    if (sum != scratch.gradient.data()) std::copy_n(sum, chunk.size, scratch.gradient.data());
    ClipValues(most, scratch.gradient.data(), chunk.size);
    sum = scratch.gradient.data();
  }
  parameters_.Apply(moves_[chunk.optimizer].rule_step, chunk, sum, &scratch.weights);
}

absl::Status DenseUpdate::Finish(int64_t step, double* sum_seconds, double* apply_seconds) {
  if (alone()) {
    const Timed timed(apply_seconds);
    threads_.Finish();
    ClipAndApply();
    for (size_t round = 1; is_finite_ && round + 1 < round_begin_.size(); ++round) {
      BeginRound(round);
      threads_.Finish();
      ClipAndApply();
    }
    return FiniteStatus(step);
  }
  {
    const Timed timed(sum_seconds);
    threads_.Finish();
    const absl::Status added = AddWorkers();
    if (!added.ok()) return WithContext(added, absl::StrCat("dense gradients of step ", step));
  }
  const Timed timed(apply_seconds);
  ClipAndApply();
  return FiniteStatus(step);
}

absl::Status DenseUpdate::Apply(int64_t step, absl::Span<const float> sums) {
  is_finite_ = true;
  kept_ = moving_;
  sum_.Resize(sums.size());
  std::copy(sums.begin(), sums.end(), sum_.data());
  ClipAndApply();
  return FiniteStatus(step);
}

absl::Status DenseUpdate::FiniteStatus(int64_t step) const {
  if (is_finite_) return absl::OkStatus();
  return DataError(absl::StrCat("step ", step, ": a gradient of the dense parameters is not ",
                                "finite; lower the learning rate or look for extreme inputs"));
}

absl::Status DenseUpdate::AddWorkers() {
  // Elements go by optimizer: neighbours that move are added in one go.
  const int optimizers = static_cast<int>(moves_.size());
  for (int o = 0; o < optimizers; ++o) {
    if (!moves_[o].moves) continue;
    const int64_t begin = parameters_.element_begin(o);
    while (o < optimizers && moves_[o].moves) ++o;
    const int64_t end = parameters_.element_begin(o);
    if (begin == end) continue;
    RETURN_IF_ERROR(AllReduceTree(group_, absl::MakeSpan(sum_.data() + begin, end - begin)));
  }
  return absl::OkStatus();
}

void DenseUpdate::ClipAndApply() {
  FindNorms();
  if (!is_finite_) return;
  const bool overlap = parameters_.optimizers_overlap();
  for (size_t begin = 0; begin < kept_.size();) {
    size_t end = overlap ? begin : kept_.size();
    while (end < kept_.size() && kept_[end]->optimizer == kept_[begin]->optimizer) ++end;
    threads_.Run(static_cast<int>(end - begin),
                 [&](int i, int thread) { ClipAndApply(*kept_[begin + i], thread); });
    begin = end;
  }
}

void DenseUpdate::ClipAndApply(const DenseParameters::Chunk& chunk, int thread) {
  float* sum = sum_.data() + chunk.begin;
  if (LimitsOf(chunk).norm > 0) {
    const float scale = static_cast<float>(norm_scale_[chunk.optimizer]);
    for (int64_t e = 0; e < chunk.size; ++e) sum[e] *= scale;
  } else if (!ClipSum(chunk)) {
    return;
  }
  parameters_.Apply(moves_[chunk.optimizer].rule_step, chunk, sum, &scratch_[thread].weights);
}

bool DenseUpdate::ClipSum(const DenseParameters::Chunk& chunk) {
  float* sum = sum_.data() + chunk.begin;
  // Another worker's gradient may be the one that is not finite; and a limit would hide it.
  if (!AllFinite(sum, chunk.size)) {
    is_finite_ = false;
    return false;
  }
  if (const double most = LimitsOf(chunk).value; most > 0) ClipValues(most, sum, chunk.size);
  return true;
}

void DenseUpdate::FindNorms() {
  norm_scale_.assign(moves_.size(), 1.0);
  limited_.clear();
  std::copy_if(kept_.begin(), kept_.end(), std::back_inserter(limited_),
               [this](const DenseParameters::Chunk* chunk) { return LimitsOf(*chunk).norm > 0; });
  if (limited_.empty()) return;
  squares_.assign(limited_.size(), 0.0);
  threads_.Run(static_cast<int>(limited_.size()), [this](int i, int) {
    const DenseParameters::Chunk& chunk = *limited_[i];
    if (ClipSum(chunk)) squares_[i] = SumOfSquares(sum_.data() + chunk.begin, chunk.size);
  });
  // In the order of chunks, which is a function of what is owned.
  std::vector<double> total(moves_.size(), 0.0);
  for (size_t i = 0; i < limited_.size(); ++i) total[limited_[i]->optimizer] += squares_[i];
  for (size_t o = 0; o < moves_.size(); ++o) {
    norm_scale_[o] = ClipScale(parameters_.optimizer(static_cast<int>(o)).limits.norm, total[o]);
  }
}

}  // namespace pagoda
