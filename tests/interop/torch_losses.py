#!/usr/bin/env python3
"""Losses against PyTorch, in double: 100 steps of Shared-Bottom with task a under the loss, task b under BCE.

    torch_losses.py --reference=BIN [--losses=HUBER,FOCAL] [--rules=sgd,adam]

Each formula is written from its paper or taken from torch.nn.functional, not from Pagoda's. Prints a table. Exit codes:
0 parity, 1 none, 77 skipped: no PyTorch (never under CI=true).
"""
import argparse
import pathlib
import sys
import tempfile

import parity  # Skips when there is no PyTorch.

import numpy as np
import torch
import torch.nn.functional as F

import torch_models

WINDOW = 64  # Rows that a pairwise loss compares with each other: kPairRows in worker/graph/heads.h.


def focal(x, y, gamma=1.5, alpha=0.3):
    """Lin et al., ICCV 2017, eq. (5)."""
    p_t = torch.where(y == 1, torch.sigmoid(x), torch.sigmoid(-x))
    log_p_t = torch.where(y == 1, F.logsigmoid(x), F.logsigmoid(-x))
    alpha_t = torch.where(y == 1, torch.full_like(x, alpha), torch.full_like(x, 1 - alpha))
    return -alpha_t * (1 - p_t) ** gamma * log_p_t


def half_deviance(x, y):
    """PyTorch's loss of a count, above what it is where e^x = y."""
    at_label = y - torch.special.xlogy(y, y)
    return F.poisson_nll_loss(x, y, log_input=True, full=False, reduction="none") - at_label


def pairwise(x, y, weights):
    """RankNet (Burges et al., ICML 2005): a row's mean over the rows of its window with another label and a weight."""
    each = []
    for begin in range(0, len(x), WINDOW):
        s, label, w = (v[begin:begin + WINDOW] for v in (x, y, weights))
        sign = torch.sign(label[:, None] - label[None, :])
        pairs = (sign != 0) & (w[None, :] != 0)
        cost = F.softplus(-sign * (s[:, None] - s[None, :])) * pairs
        each.append(cost.sum(dim=1) / pairs.sum(dim=1).clamp(min=1))
    return torch.cat(each)


# Name: (fields of the task, width of the tower, labels from a random generator and a rough signal, loss of each row).
LOSSES = {
    "BCE": ("", 1, lambda r, z: (z > 0).astype(float),
            lambda x, y, w: F.binary_cross_entropy_with_logits(x[:, 0], y, reduction="none")),
    "MSE": ("", 1, lambda r, z: z, lambda x, y, w: F.mse_loss(x[:, 0], y, reduction="none")),
    "HUBER": ("huber_delta: 0.75", 1, lambda r, z: 2 * z,
              lambda x, y, w: F.huber_loss(x[:, 0], y, reduction="none", delta=0.75)),
    "POISSON": ("", 1, lambda r, z: r.poisson(np.exp(0.5 * z)).astype(float),
                lambda x, y, w: half_deviance(x[:, 0], y)),
    "LOG_NORMAL": ("", 1, lambda r, z: np.exp(z), lambda x, y, w: (x[:, 0] - torch.log(y)) ** 2),
    "SOFTMAX": ("classes: 4", 4, lambda r, z: np.clip(np.floor(z + 2), 0, 3),
                lambda x, y, w: F.cross_entropy(x, y.long(), reduction="none")),
    "FOCAL": ("focal_gamma: 1.5 focal_alpha: 0.3", 1, lambda r, z: (z > 0.5).astype(float),
              lambda x, y, w: focal(x[:, 0], y)),
    "PAIRWISE": ("", 1, lambda r, z: np.floor(z), lambda x, y, w: pairwise(x[:, 0], y, w)),
}


class LossTrainer(parity.TorchTrainer):
    def __init__(self, loss, data):
        self.loss = loss
        super().__init__("shared_bottom", torch.float64, data)

    def forward(self, s):
        tasks, towers = parity.TASKS, {"a": LOSSES[self.loss][1], "b": 1}

        def model(network, x, _):
            trunk = network.mlp("bottom", x, torch_models.BOTTOM)
            return {t: network.dense(f"{t}/tower/out", network.mlp(f"{t}/tower", trunk, torch_models.TOWER), towers[t])
                    for t in tasks}

        torch_models.MODELS["loss"] = model
        self.model = "loss"
        return super().forward(s)

    def step(self, s):
        logits = self.forward(s)
        losses = {}
        for i, task in enumerate(parity.TASKS):
            y, w = (torch.from_numpy(of[s, i]) for of in (self.data.labels, self.data.weights))
            each = LOSSES[self.loss if task == "a" else "BCE"][3](logits[task], y, w)
            losses[task] = (w * each).sum() / w.sum()
        total = sum(parity.TASK_WEIGHTS[t] * losses[t] for t in parity.TASKS)
        self.dense_optimizer.zero_grad(set_to_none=True)
        self.sparse_optimizer.zero_grad(set_to_none=True)
        total.backward()
        self.dense_optimizer.step()
        self.sparse_optimizer.step()
        return [float(losses[t]) for t in parity.TASKS]


def data_for(loss):
    data = parity.Data()
    random = np.random.default_rng(5)
    signal = data.dense.sum(axis=2) * 0.5 + random.normal(size=data.labels[:, 0].shape)
    data.labels[:, 0] = LOSSES[loss][2](random, signal)
    # Both tasks leave rows out.
    data.weights[:, 0] = random.choice([0.0, 1.0, 1.5], size=signal.shape)
    return data


def config_for(loss, rule):
    plain = f'task {{ name: "a" label: "a" weight: {parity.TASK_WEIGHTS["a"]} }}'
    dataset = parity.dataset_config("data.csv")
    if plain not in dataset:
        raise RuntimeError("parity.dataset_config has no plain task a")
    with_loss = plain.replace('label: "a"', f'label: "a" loss: {loss} {LOSSES[loss][0]}')
    return parity.model_config("shared_bottom", rule) + dataset.replace(plain, with_loss)


def check(arguments, work, loss, rule):
    trainer = LossTrainer(loss, data_for(loss))
    trainer.optimize_by(rule, parity.RULES[rule][2])
    return parity.check_double(arguments.reference, work, f"{loss:<12}{rule}", trainer, config_for(loss, rule))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--reference", type=pathlib.Path, required=True)
    parser.add_argument("--losses", default=",".join(LOSSES))
    parser.add_argument("--rules", default="sgd,adam")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for loss in arguments.losses.split(","):
            for rule in arguments.rules.split(","):
                good &= check(arguments, pathlib.Path(folder), loss, rule)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
