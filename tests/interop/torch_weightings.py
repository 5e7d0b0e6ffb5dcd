#!/usr/bin/env python3
"""Weightings of tasks against PyTorch, in double: 100 steps of a small MMoE, embeddings included.

    torch_weightings.py --reference=BIN [--weightings=uwl,pcgrad] [--rules=sgd,adam]

Each method is written from its paper on whole gradients of the whole batch from autograd: no inner products are shared with
Pagoda's code. Parameters, rows, losses and each step's coefficients of the tasks are compared. What needs gradients (PCGrad,
MGDA, GradNorm) is held to it in several lanes and shards too, with ids that repeat across lanes: in double, by
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

ALL_TASKS = ["a", "b", "c", "d"]
GROUP = "experts/0/"


class Trainer(parity.TorchTrainer):
    """Subclasses set gradients of all parameters and rows from the losses, and note the tasks' coefficients."""
    config = ""
    task_count = 2
    loss_of_a = "BCE"

    def __init__(self, data, rule):
        super().__init__("mmoe", torch.float64, data)
        self.rule, self.rate = rule, parity.RULES[rule][2]
        self.optimize_by(rule, self.rate)
        self.losses_now = None

    def losses(self, s):
        tasks = self.data.tasks
        labels = {t: torch.from_numpy(self.data.labels[s, i]) for i, t in enumerate(tasks)}
        weights = {t: torch.from_numpy(self.data.weights[s, i]) for i, t in enumerate(tasks)}
        logits = self.forward(s)
        losses = torch_models.losses("mmoe", logits, labels, weights)
        if self.loss_of_a == "MSE":
            losses["a"] = (weights["a"] * (logits["a"][:, 0] - labels["a"]) ** 2).sum() / weights["a"].sum()
        return torch.stack([losses[t] for t in tasks])

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

    def weigh(self, coefficients, losses):
        self.coefficients.append(coefficients.tolist())
        (coefficients * losses).sum().backward()

    def gradients(self, loss, of):
        got = torch.autograd.grad(loss, of, retain_graph=True, allow_unused=True)
        return [torch.zeros_like(p) if g is None else g.to_dense() if g.is_sparse else g for p, g in zip(of, got)]


class Uwl(Trainer):
    """Kendall et al., CVPR 2018: both tasks are classes."""
    config = 'name: "uwl"'
    factors = [2.0, 2.0]

    def set_gradients(self, s, losses):
        if not hasattr(self, "s"):
            self.s = torch.zeros(len(losses), dtype=torch.float64, requires_grad=True)
            self.dense_optimizer.add_param_group({"params": [self.s]})
        weights = torch.tensor(self.factors, dtype=torch.float64) * torch.exp(-self.s)
        self.coefficients.append(weights.tolist())
        (weights * losses + self.s).sum().backward()


class UwlOfANumber(Uwl):
    """The same, eq. (7): a is a regression, L its mean squared error."""
    loss_of_a = "MSE"
    factors = [1.0, 2.0]


class Dwa(Trainer):
    """Liu et al., CVPR 2019, eq. (7), windows of 5 steps."""
    config = 'name: "dwa" parameter { name: "window_steps" value: 5 }'

    def set_gradients(self, s, losses):
        if not hasattr(self, "history"):
            self.history = []
        windows = [np.mean(self.history[i:i + 5], axis=0) for i in range(0, len(self.history) // 5 * 5, 5)]
        weights = np.ones(len(losses))
        if len(windows) >= 2:
            weights = np.exp(windows[-1] / windows[-2] / 2)
            weights *= len(losses) / weights.sum()
        self.weigh(torch.from_numpy(weights), losses)
        self.history.append(losses.detach().numpy())


class GradNorm(Trainer):
    """Chen et al., ICML 2018: the gradient of L_grad by autograd, a plain step on w, renormalised."""
    config = f'name: "gradnorm" group: "{GROUP}*" parameter {{ name: "rate" value: 0.05 }}'

    def set_gradients(self, s, losses):
        if not hasattr(self, "w"):
            self.w, self.first = torch.ones(len(losses), dtype=torch.float64), losses.detach()
        group = [p for n, p in self.network.parameters.items() if n.startswith(GROUP)]
        norms = torch.stack([torch.sqrt(sum((g ** 2).sum() for g in self.gradients(loss, group))) for loss in losses])
        self.weigh(self.w, losses)
        w = self.w.clone().requires_grad_()
        ratio = losses.detach() / self.first
        target = (w * norms).mean() * (ratio / ratio.mean()) ** 1.5
        (w * norms - target.detach()).abs().sum().backward()
        w = (w - 0.05 * w.grad).detach().clamp(min=1e-3)
        self.w = w * len(losses) / w.sum()


class Gradients(Trainer):
    """Whole shared vectors: experts and rows; gates and towers keep their task's gradient."""

    def set_gradients(self, s, losses):
        own = [p for n, p in self.network.parameters.items() if not n.startswith("experts")]
        shared = [p for n, p in self.network.parameters.items() if n.startswith("experts")] + self.all_rows()
        vectors = [torch.cat([g.reshape(-1) for g in self.gradients(loss, shared)]) for loss in losses]
        for p, g in zip(own, self.gradients(losses.sum(), own)):
            p.grad = g
        coefficients, combined = self.combine(s, vectors)
        self.coefficients.append([float(c) for c in coefficients])
        at = 0
        for p in shared:
            p.grad, at = combined[at:at + p.numel()].reshape(p.shape), at + p.numel()
        ids = torch.from_numpy(np.unique(self.data.ids[s]).astype(np.int64))
        for rows in self.all_rows():  # SparseAdam moves touched rows only.
            rows.grad = torch.sparse_coo_tensor(ids[None, :], rows.grad[ids], rows.shape)


def philox(key, high, low):
    """The first of Philox4x32-10's four draws: Salmon et al., SC 2011, as printed."""
    mask = 2 ** 32 - 1
    c, k = [low & mask, low >> 32, high & mask, high >> 32], [key & mask, key >> 32]
    for _ in range(10):
        p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [q >> 32 ^ c[1] ^ k[0], q & mask, p >> 32 ^ c[3] ^ k[1], p & mask]
        k = [(k[0] + 0x9E3779B9) & mask, (k[1] + 0xBB67AE85) & mask]
    return c[0]


class PcGrad(Gradients):
    """Yu et al., NeurIPS 2020, algorithm 1: vectors lose what points against the others', one after the other."""
    config = 'name: "pcgrad"'
    KEY = 0xcf1050c512f0f5f0  # Of the stream "pcgrad" under seed 1, train.seed's default: StreamKey() in common/random.h.

    def order(self, s, i):
        """Task i's of step s: by a draw each."""
        return sorted(range(self.task_count), key=lambda j: philox(self.KEY, s, i << 32 | j))

    def combine(self, s, vectors):
        total, projected = torch.zeros(len(vectors), dtype=torch.float64), []
        for i, g in enumerate(vectors):
            share = torch.eye(len(vectors), dtype=torch.float64)[i]
            for j in self.order(s, i):
                along = torch.dot(g, vectors[j])
                if i != j and along < 0:
                    ratio = along / torch.dot(vectors[j], vectors[j])
                    g, share[j] = g - ratio * vectors[j], share[j] - ratio
            projected.append(g)
            total += share
        return total, sum(projected)


class PcGrad3(PcGrad):
    task_count = 3


class PcGrad4(PcGrad):
    task_count = 4


class Mgda(Gradients):
    """Sener and Koltun, NeurIPS 2018, eq. (3); of two tasks, the closed form of algorithm 1, of more, face by face.

    On the plane through some of the vectors, <g, v> is one number m = |v|^2 for all of them; the least m of a plane whose
    shortest vector lies between them is the minimum.
    """
    config = 'name: "mgda"'

    def combine(self, s, vectors):
        if len(vectors) == 2:
            a, b = vectors
            gamma = (torch.dot(b - a, b) / torch.dot(a - b, a - b)).clamp(0, 1)
            return [gamma, 1 - gamma], gamma * a + (1 - gamma) * b
        corners, best = torch.stack(vectors), (float("inf"), None)
        for face in range(1, 2 ** len(vectors)):
            members = [k for k in range(len(vectors)) if face >> k & 1]
            n = len(members)
            system = torch.full((n + 1, n + 1), -1.0, dtype=torch.float64)
            system[:n, :n] = corners[members] @ corners[members].T
            system[n], system[n, n] = 1, 0
            x = torch.linalg.solve(system, torch.eye(n + 1, dtype=torch.float64)[n])
            if (x[:n] >= 0).all() and x[n] < best[0]:
                alpha = torch.zeros(len(vectors), dtype=torch.float64)
                alpha[members] = x[:n]
                best = float(x[n]), alpha
        return best[1], best[1] @ corners


class Mgda3(Mgda):
    task_count = 3


class Famo(Trainer):
    """Liu et al., NeurIPS 2023, algorithm 1, with J delta by autograd."""
    config = 'name: "famo" parameter { name: "rate" value: 0.5 }'

    def set_gradients(self, s, losses):
        if not hasattr(self, "xi"):
            self.xi = torch.zeros(len(losses), dtype=torch.float64)
        z = torch.softmax(self.xi, 0)
        shares = z / (losses.detach() + 1e-8)
        self.weigh(shares / shares.sum(), losses)

    def after(self, s, losses):
        with torch.no_grad():
            now = self.losses(s)
        delta = torch.log(losses + 1e-8) - torch.log(now + 1e-8)
        xi = self.xi.clone().requires_grad_()
        step, = torch.autograd.grad(torch.softmax(xi, 0), xi, delta)
        self.xi = self.xi - 0.5 * (step + 0.01 * self.xi)


WEIGHTINGS = {"uwl": Uwl, "uwl of a number": UwlOfANumber, "dwa": Dwa, "gradnorm": GradNorm, "pcgrad": PcGrad,
              "pcgrad of 3": PcGrad3, "pcgrad of 4": PcGrad4, "mgda": Mgda, "mgda of 3": Mgda3, "famo": Famo}

# (lanes, shards) that weightings of gradients are computed in: inner products of the lanes' sums, not sums of the lanes'.
CUTS = [(1, 1), (2, 3), (8, 2)]


def cuts_of(weighting):
    if not issubclass(weighting, (Gradients, GradNorm)):
        return CUTS[:1]
    return CUTS if weighting.task_count == 2 else CUTS[-1:]


def check(arguments, work, name, rule, lanes, shards):
    weighting = WEIGHTINGS[name]
    config = parity.model_config("mmoe", rule).replace("train {", f"train {{ weighting {{ {weighting.config} }}")
    tasks = ALL_TASKS[:weighting.task_count]
    config += parity.dataset_config("data.csv", tasks=tasks).replace(
        'label: "a"', f'label: "a" loss: {weighting.loss_of_a}')
    return parity.check_double(arguments.reference, work, f"{name:<16}{rule:<6} L={lanes} shards={shards}",
                               weighting(parity.Data(tasks=tasks), rule), config, f"--lanes={lanes}", f"--shards={shards}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--reference", type=pathlib.Path, required=True)
    parser.add_argument("--weightings", default=",".join(WEIGHTINGS))
    parser.add_argument("--rules", default="sgd,adam")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    parity.TASK_WEIGHTS = {t: 1 for t in ALL_TASKS}  # The papers' sums have none.
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.weightings.split(","):
            for rule in arguments.rules.split(","):
                for lanes, shards in cuts_of(WEIGHTINGS[name]):
                    good &= check(arguments, pathlib.Path(folder), name, rule, lanes, shards)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
