#!/usr/bin/env python3
"""Weightings of tasks against PyTorch, in double: 100 steps of a small MMoE, embeddings included.

    torch_weightings.py --reference=BIN [--weightings=uwl,pcgrad] [--rules=sgd,adam]

Each method is written from its paper on whole gradients of the whole batch from autograd: no inner products are shared with
Pagoda's code. PCGrad and MGDA are held to it in several lanes and shards too, with ids that repeat across lanes: in double, by
parity_reference's sums in the product's order (the product itself computes in float). Prints a table. Exit codes: 0 parity, 1
none, 77 skipped: no PyTorch (never under CI=true).
"""
import argparse
import pathlib
import sys
import tempfile

import parity  # Skips when there is no PyTorch.

import numpy as np
import torch

import torch_models

TASKS = parity.TASKS
GROUP = "experts/0/"


class Trainer(parity.TorchTrainer):
    """Subclasses set gradients of all parameters and rows from the losses."""
    config = ""

    def __init__(self, data, rule):
        super().__init__("mmoe", torch.float64, data)
        self.rule, self.rate = rule, parity.RULES[rule][2]
        self.optimize_by(rule, self.rate)
        self.losses_now = None

    def losses(self, s):
        labels = {t: torch.from_numpy(self.data.labels[s, i]) for i, t in enumerate(TASKS)}
        weights = {t: torch.from_numpy(self.data.weights[s, i]) for i, t in enumerate(TASKS)}
        losses = torch_models.losses("mmoe", self.forward(s), labels, weights)
        return torch.stack([losses[t] for t in TASKS])

    def step(self, s):
        losses = self.losses(s)
        self.dense_optimizer.zero_grad(set_to_none=True)
        self.sparse_optimizer.zero_grad(set_to_none=True)
        self.set_gradients(s, losses)
        self.dense_optimizer.step()
        self.sparse_optimizer.step()
        self.after(s, losses.detach())
        return losses.detach().tolist()

    def after(self, s, losses):
        pass

    def gradients(self, loss, of):
        got = torch.autograd.grad(loss, of, retain_graph=True, allow_unused=True)
        return [torch.zeros_like(p) if g is None else g.to_dense() if g.is_sparse else g for p, g in zip(of, got)]


class Uwl(Trainer):
    """Kendall et al., CVPR 2018: both tasks are classes."""
    config = 'name: "uwl"'

    def set_gradients(self, s, losses):
        if not hasattr(self, "s"):
            self.s = torch.zeros(len(TASKS), dtype=torch.float64, requires_grad=True)
            self.dense_optimizer.add_param_group({"params": [self.s]})
        (2 * torch.exp(-self.s) * losses + self.s).sum().backward()


class Dwa(Trainer):
    """Liu et al., CVPR 2019, eq. (7), windows of 5 steps."""
    config = 'name: "dwa" parameter { name: "window_steps" value: 5 }'

    def set_gradients(self, s, losses):
        if not hasattr(self, "history"):
            self.history = []
        windows = [np.mean(self.history[i:i + 5], axis=0) for i in range(0, len(self.history) // 5 * 5, 5)]
        weights = np.ones(len(TASKS))
        if len(windows) >= 2:
            weights = np.exp(windows[-1] / windows[-2] / 2)
            weights *= len(TASKS) / weights.sum()
        (torch.from_numpy(weights) * losses).sum().backward()
        self.history.append(losses.detach().numpy())


class GradNorm(Trainer):
    """Chen et al., ICML 2018: the gradient of L_grad by autograd, a plain step on w, renormalised."""
    config = f'name: "gradnorm" group: "{GROUP}*" parameter {{ name: "rate" value: 0.05 }}'

    def set_gradients(self, s, losses):
        if not hasattr(self, "w"):
            self.w, self.first = torch.ones(len(TASKS), dtype=torch.float64), losses.detach()
        group = [p for n, p in self.network.parameters.items() if n.startswith(GROUP)]
        norms = torch.stack([torch.sqrt(sum((g ** 2).sum() for g in self.gradients(loss, group))) for loss in losses])
        (self.w * losses).sum().backward()
        w = self.w.clone().requires_grad_()
        ratio = losses.detach() / self.first
        target = (w * norms).mean() * (ratio / ratio.mean()) ** 1.5
        (w * norms - target.detach()).abs().sum().backward()
        w = (w - 0.05 * w.grad).detach().clamp(min=1e-3)
        self.w = w * len(TASKS) / w.sum()


class Gradients(Trainer):
    """Whole shared vectors: experts and rows; gates and towers keep their task's gradient."""

    def set_gradients(self, s, losses):
        own = [p for n, p in self.network.parameters.items() if not n.startswith("experts")]
        shared = [p for n, p in self.network.parameters.items() if n.startswith("experts")] + self.all_rows()
        vectors = [torch.cat([g.reshape(-1) for g in self.gradients(loss, shared)]) for loss in losses]
        for p, g in zip(own, self.gradients(losses.sum(), own)):
            p.grad = g
        combined, at = self.combine(vectors), 0
        for p in shared:
            p.grad, at = combined[at:at + p.numel()].reshape(p.shape), at + p.numel()
        ids = torch.from_numpy(np.unique(self.data.ids[s]).astype(np.int64))
        for rows in self.all_rows():  # SparseAdam moves touched rows only.
            rows.grad = torch.sparse_coo_tensor(ids[None, :], rows.grad[ids], rows.shape)


class PcGrad(Gradients):
    """Yu et al., NeurIPS 2020, algorithm 1; of two tasks there is no order."""
    config = 'name: "pcgrad"'

    def combine(self, vectors):
        projected = []
        for i, g in enumerate(vectors):
            for j, other in enumerate(vectors):
                along = torch.dot(g, other)
                if i != j and along < 0:
                    g = g - along / torch.dot(other, other) * other
            projected.append(g)
        return sum(projected)


class Mgda(Gradients):
    """Sener and Koltun, NeurIPS 2018, algorithm 1: the closed form for two tasks."""
    config = 'name: "mgda"'

    def combine(self, vectors):
        a, b = vectors
        gamma = torch.dot(b - a, b) / torch.dot(a - b, a - b)
        gamma = gamma.clamp(0, 1)
        return gamma * a + (1 - gamma) * b


class Famo(Trainer):
    """Liu et al., NeurIPS 2023, algorithm 1, with J delta by autograd."""
    config = 'name: "famo" parameter { name: "rate" value: 0.5 }'

    def set_gradients(self, s, losses):
        if not hasattr(self, "xi"):
            self.xi = torch.zeros(len(TASKS), dtype=torch.float64)
        z = torch.softmax(self.xi, 0)
        shares = z / (losses.detach() + 1e-8)
        (shares / shares.sum() * losses).sum().backward()

    def after(self, s, losses):
        with torch.no_grad():
            now = self.losses(s)
        delta = torch.log(losses + 1e-8) - torch.log(now + 1e-8)
        xi = self.xi.clone().requires_grad_()
        step, = torch.autograd.grad(torch.softmax(xi, 0), xi, delta)
        self.xi = self.xi - 0.5 * (step + 0.01 * self.xi)


WEIGHTINGS = {"uwl": Uwl, "dwa": Dwa, "gradnorm": GradNorm, "pcgrad": PcGrad, "mgda": Mgda, "famo": Famo}


# (lanes, shards) that weightings of gradients are computed in: inner products of the lanes' sums, not sums of the lanes'.
CUTS = [(1, 1), (2, 3), (8, 2)]


def check(arguments, work, name, rule, lanes, shards):
    config = parity.model_config("mmoe", rule).replace("train {", f"train {{ weighting {{ {WEIGHTINGS[name].config} }}")
    return parity.check_double(arguments.reference, work, f"{name:<12}{rule:<6} L={lanes} shards={shards}",
                               WEIGHTINGS[name](parity.Data(), rule), config + parity.dataset_config("data.csv"),
                               f"--lanes={lanes}", f"--shards={shards}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--reference", type=pathlib.Path, required=True)
    parser.add_argument("--weightings", default=",".join(WEIGHTINGS))
    parser.add_argument("--rules", default="sgd,adam")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    parity.TASK_WEIGHTS = {t: 1 for t in TASKS}  # The papers' sums have none.
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.weightings.split(","):
            for rule in arguments.rules.split(","):
                for lanes, shards in CUTS if issubclass(WEIGHTINGS[name], Gradients) else CUTS[:1]:
                    good &= check(arguments, pathlib.Path(folder), name, rule, lanes, shards)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
