#!/usr/bin/env python3
"""Alternating training against PyTorch, in double: 100 steps of two tasks, each with optimizers and a loss of its own.

    torch_alternating.py --reference=BIN [--cases=shared_bottom,cgc_narrowed]

Both tasks' gradients are taken at the same weights, from one forward pass; then a's optimizers step on what a owns, then b's.
Without `owns` a task owns all that its loss reaches: shared parameters and rows then have two optimizers with two states.
Narrowed, the tasks' rules differ too. Which parameter is whose is written out here by name. Prints a table. Exit codes: 0
parity, 1 none, 77 skipped: no PyTorch (never under CI=true).
"""
import argparse
import fnmatch
import pathlib
import sys
import tempfile

import parity  # Skips when there is no PyTorch.

import torch

import torch_models

TASKS = parity.TASKS
ALL_TABLES = [f"rows:{name}" for name, _, _ in parity.FEATURES]

# Name: (model, {task: (globs of what it owns; None: all that it reaches, its rule)}).
CASES = {
    "shared_bottom": ("shared_bottom", {"a": (None, "adam"), "b": (None, "adam")}),
    "shared_bottom_narrowed": ("shared_bottom", {"a": (["bottom/*", "a/*"] + ALL_TABLES, "adam"), "b": (["b/*"], "adagrad")}),
    "cgc": ("cgc", {"a": (None, "adam"), "b": (None, "adam")}),
    "cgc_narrowed": ("cgc", {"a": (["level0/a/*", "a/*", "level0/shared_experts/*", "rows:user"], "sgd"),
                             "b": (["level0/b/*", "b/*", "rows:item", "rows:tags"], "adam")}),
}


class Task:
    """What one task trains: dense parameters by name, tables, and an optimizer of each kind."""

    def __init__(self, trainer, globs, rule):
        self.trainer = trainer
        self.globs = globs
        names = list(trainer.network.parameters)
        self.names = [n for n in names if globs is None or any(fnmatch.fnmatchcase(n, g) for g in globs)]
        rate = parity.RULES[rule][2]
        make = {"sgd": torch.optim.SGD, "adagrad": torch.optim.Adagrad, "adam": torch.optim.Adam}[rule]
        make_sparse = torch.optim.SparseAdam if rule == "adam" else make
        self.dense = make([trainer.network.parameters[n] for n in self.names], lr=rate)
        self.sparse = make_sparse([trainer.rows], lr=rate)

    def owned_rows(self, gradient):
        """The sparse gradient's rows of the tables that are owned."""
        if self.globs is None:
            return gradient
        gradient = gradient.coalesce()
        ids, values = gradient.indices()[0], gradient.values()
        keep = torch.zeros(len(ids), dtype=torch.bool)
        for (name, vocabulary, _), offset in zip(parity.FEATURES, self.trainer.data.offsets):
            if f"rows:{name}" in self.globs:
                keep |= (ids >= offset) & (ids < offset + vocabulary)
        return torch.sparse_coo_tensor(ids[None, keep], values[keep], gradient.shape)

    def gradients(self, loss):
        parameters = [self.trainer.network.parameters[n] for n in self.names]
        got = torch.autograd.grad(loss, parameters + [self.trainer.rows], retain_graph=True, allow_unused=True)
        return got[:-1], self.owned_rows(got[-1])

    def step(self, gradients):
        dense, rows = gradients
        for name, gradient in zip(self.names, dense):
            self.trainer.network.parameters[name].grad = gradient  # None: not reached, no step.
        self.dense.step()
        self.trainer.rows.grad = rows
        if rows._nnz() > 0:
            self.sparse.step()


class AlternatingTrainer(parity.TorchTrainer):
    def __init__(self, case, data):
        model, owners = CASES[case]
        super().__init__(model, torch.float64, data)
        self.tasks = {t: Task(self, *owners[t]) for t in TASKS}

    def step(self, s):
        labels = {t: torch.from_numpy(self.data.labels[s, i]) for i, t in enumerate(TASKS)}
        weights = {t: torch.from_numpy(self.data.weights[s, i]) for i, t in enumerate(TASKS)}
        losses = torch_models.losses(self.model, self.forward(s), labels, weights)
        gradients = {t: self.tasks[t].gradients(parity.TASK_WEIGHTS[t] * losses[t]) for t in TASKS}
        for t in TASKS:
            self.tasks[t].step(gradients[t])
        return [float(losses[t]) for t in TASKS]


def config_for(case):
    model, owners = CASES[case]
    train, optimizers = "method: ALTERNATING ", ""
    for rule in sorted({rule for _, rule in owners.values()}):
        dense, sparse, rate = parity.RULES[rule]
        optimizers += f'optimizer {{ name: "{rule}" rule: "{dense}" learning_rate: {rate} }}\n'
        optimizers += f'optimizer {{ name: "{rule}_rows" rule: "{sparse}" learning_rate: {rate} }}\n'
    for task, (globs, rule) in owners.items():
        owns = " ".join(f'owns: "{glob}"' for glob in globs or [])
        train += f'task {{ name: "{task}" optimizer: "{rule}" sparse_optimizer: "{rule}_rows" {owns} }} '
    return (f'model {{ name: "{model}" embedding_dim: {torch_models.EMBEDDING_DIM} {torch_models.MODEL_CONFIGS[model]} }}\n'
            f"{optimizers} train {{ {train} }}\n" + parity.dataset_config("data.csv"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--reference", type=pathlib.Path, required=True)
    parser.add_argument("--cases", default=",".join(CASES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for case in arguments.cases.split(","):
            good &= parity.check_double(arguments.reference, pathlib.Path(folder), case,
                                        AlternatingTrainer(case, parity.Data()), config_for(case))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
