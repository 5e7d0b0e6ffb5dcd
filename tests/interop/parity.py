#!/usr/bin/env python3
"""Parity with PyTorch: the same models, initial values, data and order on both sides.

    parity.py --reference=BIN --worker=BIN --psctl=BIN [--models=a,b] [--rules=sgd,adam] [--keep=DIR]

1. double: parity_reference (plain kernels, plain rules) against PyTorch in float64, 100 steps, SGD, Adagrad and Adam (rows:
   torch.optim.SparseAdam): every tensor and every row, norm-relative, <= 1e-9.
2. float: the product itself, `worker --init`, against PyTorch in float32: each of 100 steps' losses (<= 1e-4 relative; 5e-3 with
   Adagrad), the gradients of the first step, dense and rows, and the predictions of the model after it (<= 1e-5
   norm-relative per tensor).
3. the same of Shared-Bottom where in every tenth step, from the first on, one id comes 100 times and more in the batch: what the
   worker and the shard make of repeated ids.

Prints a table. Exit codes: 0 parity, 1 none, 77 skipped: no PyTorch (never under CI=true).
"""
import argparse
import csv
import json
import os
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import torch
except ImportError as error:
    print(f"SKIPPED: {error}; apt-get install python3-torch python3-numpy (launcher/packages.sh parity)")
    sys.exit(1 if os.environ.get("CI") == "true" else 77)

import safetensors_lite
import torch_models
import torch_zoo

STEPS, BATCH = 100, 64
TASKS = ["a", "b"]
TASK_WEIGHTS = {"a": 1.0, "b": 0.5, "c": 1.0, "d": 1.0}
# Name, vocabulary, ids an example (more than one: a list, pooled by its sum; duplicates happen).
FEATURES = [("user", 400, 1), ("item", 60, 1), ("tags", 25, 3)]
DENSE_COLUMNS = 4
# Rule on dense parameters, rule on rows, learning rate. Adagrad's start at 0 makes its first steps as long as the rate.
RULES = {
    "sgd": ("sgd", "sgd", 0.05),
    "adagrad": ("adagrad", "adagrad", 0.01),
    "adam": ("adam", "sparse_adam", 0.002),
}
REPEATS = 100
DOUBLE_TOLERANCE = 1e-9
LOSS_TOLERANCE = {"sgd": 1e-4, "adagrad": 5e-3, "adam": 1e-4}
FIRST_STEP_TOLERANCE = 1e-5
NO_VALUE = np.uint64(2 ** 64 - 1)
# The rule of 100 steps in float, where it is not the one in double: what feeds a BatchNorm has gradients that are sums to 0,
# whose rounding errors Adam makes as long as the rate. PyTorch in float is 2.6e-3 from PyTorch in double then; 1.7e-7 with SGD.
FLOAT_RULES = {"batch_normalized": "sgd"}
# The seed of initial values where it is not 7: with that, a unit of moe has an input of 8.6e-9 in double at step 33 of Adam. In
# float its sign, and so whether its ReLU is open, is rounding.
SEEDS = {"moe": 8}
# w0 - w1 of one SGD step is the gradient times this; large, so that the difference is not lost in w's rounding.
GRADIENT_RATE = 1024.0


class Data:
    """Ids [S, B, L] numbered over all features, dense values, labels and weights [S, T, B]."""

    def __init__(self, seed=1, has_sequence=False, tasks=TASKS, repeats=0):
        self.tasks = tasks  # The first two, and as many of c and d.
        self.has_sequence = has_sequence  # The last feature has 0 to L values, the first places.
        random = np.random.default_rng(seed)
        columns, offset = [], 0
        self.offsets = []
        for _, vocabulary, length in FEATURES:
            self.offsets.append(offset)
            # Squares lean towards small ids: some rows are met in each step, some in one only.
            ids = (random.random((STEPS, BATCH, length)) ** 2 * vocabulary).astype(np.uint64)
            columns.append(ids + np.uint64(offset))
            if length > 1:  # In every tenth step, from the first on, one id comes so often and more.
                columns[-1][::10].reshape(STEPS // 10, -1)[:, :repeats] = offset
            offset += vocabulary
        self.row_count = offset
        self.ids = np.concatenate(columns, axis=2)
        if has_sequence:
            # The last row is nobody's: what PyTorch looks up where there is no value.
            length = FEATURES[-1][2]
            tags = self.ids[:, :, -length:]
            tags[tags == offset - 1] = offset - 2
            filled = np.random.default_rng(seed + 1).integers(0, length + 1, size=(STEPS, BATCH, 1))
            tags[np.arange(length) >= filled] = NO_VALUE
        # Short decimals: the same in text, float and double.
        self.dense = np.round(random.normal(size=(STEPS, BATCH, DENSE_COLUMNS)) * 64) / 64
        logit = self.dense.sum(axis=2) * 0.5 + (self.ids[:, :, 0] % 2).astype(float) - 0.5
        a = random.random((STEPS, BATCH)) < 1 / (1 + np.exp(-logit))
        b = a & (random.random((STEPS, BATCH)) < 0.5)  # A funnel, for ESMM.
        self.labels = np.stack([a, b], axis=1).astype(np.float64)
        weight = random.choice([0.0, 0.5, 1.0, 2.0], size=(STEPS, BATCH))
        self.weights = np.stack([np.ones_like(weight), weight], axis=1)
        # What is likely for a, c is not: their gradients conflict.
        random = np.random.default_rng(seed + 2)
        c = a == (random.random((STEPS, BATCH)) < 0.2)
        d = self.dense[:, :, 1] > random.normal(size=(STEPS, BATCH))
        more = np.stack([c, d], axis=1)[:, :len(tasks) - 2].astype(np.float64)
        self.labels = np.concatenate([self.labels, more], axis=1)
        self.weights = np.concatenate([self.weights, np.ones_like(more)], axis=1)

    def write_csv(self, path):
        with open(path, "w", newline="") as file:
            writer = csv.writer(file)
            names = [name for name, _, _ in FEATURES] + [f"d{i}" for i in range(DENSE_COLUMNS)]
            writer.writerow(names + self.tasks + ["weight"])
            for s in range(STEPS):
                for r in range(BATCH):
                    row, at = [], 0
                    for (_, _, length), offset in zip(FEATURES, self.offsets):
                        row.append("|".join(str(int(i) - offset) for i in self.ids[s, r, at:at + length] if i != NO_VALUE))
                        at += length
                    row += [repr(float(d)) for d in self.dense[s, r]]
                    row += [int(label) for label in self.labels[s, :, r]] + [self.weights[s, 1, r]]
                    writer.writerow(row)


class TorchTrainer:
    """The other side: plain PyTorch, sparse gradients for the rows."""

    def __init__(self, model, dtype, data):
        self.model, self.dtype = model, dtype
        seed = SEEDS.get(model, 7)
        self.data = data
        self.network = torch_models.Network(dtype, seed)
        generator = torch.Generator().manual_seed(seed + 1)
        rows = (torch.rand(data.row_count, torch_models.EMBEDDING_DIM, generator=generator) * 2 - 1) * 0.5
        self.rows = rows.to(dtype).requires_grad_()
        self.set_rows = {}
        for name, dim in torch_zoo.sets_of(model, data.tasks, torch_models.EMBEDDING_DIM):
            rows = (torch.rand(data.row_count, dim, generator=generator) * 2 - 1) * 0.5
            self.set_rows[name] = rows.to(dtype).requires_grad_()
        with torch.no_grad():
            self.network.training = False  # Running statistics stay where they start.
            self.forward(0)  # Makes the parameters.
            self.network.training = True
        self.dense_optimizer = self.sparse_optimizer = None
        self.coefficients = []  # [S] of [K]: what a weighting gave the tasks.

    def optimize_by(self, rule, rate):
        dense = list(self.network.parameters.values())
        make = {"sgd": torch.optim.SGD, "adagrad": torch.optim.Adagrad, "adam": torch.optim.Adam}[rule]
        make_sparse = {"sgd": torch.optim.SGD, "adagrad": torch.optim.Adagrad, "adam": torch.optim.SparseAdam}[rule]
        self.dense_optimizer, self.sparse_optimizer = make(dense, lr=rate), make_sparse(self.all_rows(), lr=rate)

    def all_rows(self):
        return [self.rows] + list(self.set_rows.values())

    def pool(self, s, rows):
        """Each feature's [B, D]."""
        nobody = self.data.row_count - 1 if self.data.has_sequence else None
        ids = self.data.ids[s]
        ids = torch.from_numpy(np.where(ids == NO_VALUE, nobody or 0, ids).astype(np.int64))
        vectors = torch.nn.functional.embedding(ids, rows, padding_idx=nobody, sparse=True)  # [B, L, D]
        parts, at = [], 0
        for _, _, length in FEATURES:
            parts.append(vectors[:, at:at + length].sum(dim=1))
            at += length
        if self.data.has_sequence:
            places, mask = vectors[:, at - length:], (self.data.ids[s][:, at - length:] != NO_VALUE)
            mask = torch.from_numpy(mask).to(self.dtype)
            parts[-1] = torch_zoo.SEQUENCES[self.model](self.network, places, mask, parts[1])
        return parts

    def forward(self, s):
        network = self.network
        network.fields, network.extra = self.pool(s, self.rows), []
        network.dense_columns = torch.from_numpy(self.data.dense[s]).to(self.dtype)
        network.sets = {name: torch.cat(self.pool(s, rows), dim=1) for name, rows in self.set_rows.items()}
        x = torch.cat(network.fields + [network.dense_columns], dim=1)
        return torch_models.MODELS[self.model](network, x, self.data.tasks)

    def step(self, s):
        labels = {t: torch.from_numpy(self.data.labels[s, i]).to(self.dtype) for i, t in enumerate(TASKS)}
        weights = {t: torch.from_numpy(self.data.weights[s, i]).to(self.dtype) for i, t in enumerate(TASKS)}
        losses = torch_models.losses(self.model, self.forward(s), labels, weights)
        total = sum(TASK_WEIGHTS[t] * torch_zoo.loss_weight(self.model, t, TASKS[0]) * losses[t] for t in TASKS)
        total = total + sum(extra(labels, weights) for extra in self.network.extra)
        self.dense_optimizer.zero_grad(set_to_none=True)
        self.sparse_optimizer.zero_grad(set_to_none=True)
        total.backward()
        self.dense_optimizer.step()
        self.sparse_optimizer.step()
        return [float(losses[t]) for t in TASKS]

    def predict(self, s):
        with torch.no_grad():
            self.network.training = False
            predictions = torch_models.predictions(self.model, self.forward(s))
            self.network.training = True
        return predictions

    def tensors(self):
        named = {**self.network.parameters, **self.network.statistics}
        return {name: p.detach().numpy().copy() for name, p in named.items()}

    def row_values(self):
        return self.rows.detach().numpy().copy()

    def set_row_values(self):
        """{"rows/SET": [n, dim]}."""
        return {f"rows/{name}": rows.detach().numpy().copy() for name, rows in self.set_rows.items()}


def norm_relative(got, wanted):
    got, wanted = got.astype(np.float64), wanted.astype(np.float64)
    norm = np.linalg.norm(wanted)
    difference = np.linalg.norm(got.reshape(-1) - wanted.reshape(-1))
    relative = difference / norm if norm > 0 else difference
    return relative if np.isfinite(relative) else float("inf")  # No maximum sees a NaN.


def model_config(model, rule, rate=None):
    dense, sparse, default_rate = RULES[rule]
    rate = default_rate if rate is None else rate
    return f"""
        model {{ name: "{torch_zoo.ZOO.get(model, (None, model))[1]}" embedding_dim: {torch_models.EMBEDDING_DIM} {torch_models.MODEL_CONFIGS[model]} }}
        optimizer {{ name: "dense" rule: "{dense}" learning_rate: {rate} }}
        optimizer {{ name: "sparse" rule: "{sparse}" learning_rate: {rate} }}
        train {{ epochs: 1 batch_size: {BATCH} shuffle: NONE patience: 0 }}
    """


def dataset_config(path, has_sequence=False, tasks=TASKS):
    kind = "SEQUENCE max_length: 3" if has_sequence else "ID_LIST"
    features = "".join(
        f'feature {{ name: "{name}" table: "{name}" kind: {"ID" if length == 1 else kind} }}\n'
        for name, _, length in FEATURES)
    features += "".join(f'feature {{ name: "d{i}" kind: DENSE }}\n' for i in range(DENSE_COLUMNS))
    more = "".join(f'task {{ name: "{t}" label: "{t}" weight: {TASK_WEIGHTS[t]} }}\n' for t in tasks[2:])
    return f"""
        dataset {{
          name: "parity"
          csv {{ header: true }}
          source {{ path: "{path}" split: TRAIN }}
          source {{ path: "{path}" split: VALID end_row: {BATCH} }}
          source {{ path: "{path}" split: TEST end_row: {BATCH} }}
          {features}
          task {{ name: "a" label: "a" weight: {TASK_WEIGHTS["a"]} }}
          task {{ name: "b" label: "b" weight: {TASK_WEIGHTS["b"]} sample_weight: "weight" }}
          {more}
          {"".join(f'funnel: "{t}" ' for t in tasks)}
        }}
    """


def run(command, **keywords):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300,
                          **keywords)
    if done.returncode != 0:
        raise RuntimeError(f"exit code {done.returncode}: {' '.join(map(str, command))}\n{done.stdout[-2000:]}"
                           f"\n{done.stderr[-2000:]}")
    return done


def run_reference(binary, work, trainer, config, *flags):
    """All steps of parity_reference from the trainer's values on its data, in folder `work`; the final tensors."""
    data = trainer.data
    safetensors_lite.write(work / "batches.safetensors", {
        "ids": data.ids, "dense": data.dense, "labels": data.labels, "weights": data.weights})
    ids = np.arange(data.row_count, dtype=np.uint64)
    safetensors_lite.write(work / "init.safetensors", {**trainer.tensors(), "row_ids": ids, "rows": trainer.row_values(),
                                                       **trainer.set_row_values()})
    (work / "reference.textproto").write_text(config)
    run([binary, f"--config={work}/reference.textproto", f"--init={work}/init.safetensors",
         f"--batches={work}/batches.safetensors", f"--output={work}/final.safetensors",
         "--list_lengths=" + ",".join(str(f[2]) for f in FEATURES), *flags])
    return safetensors_lite.read(work / "final.safetensors")


def pairs_of(final, trainer, losses):
    """What double parity compares, by kind: {kind: [(name, got, wanted)]}. `losses` [S, T] are the trainer's."""
    wanted = trainer.tensors()
    others = ("rows", "row_ids", "losses", "coefficients")
    names = {name for name in final if name not in others and not name.startswith("rows/")}
    if names != set(wanted):
        raise RuntimeError(f"parameters differ: {sorted(names ^ set(wanted))}")
    if ("coefficients" in final) != bool(trainer.coefficients):
        raise RuntimeError("only one side has coefficients")
    rows = {"rows": trainer.row_values(), **trainer.set_row_values()}
    pairs = {"tensors": [(n, final[n], wanted[n]) for n in wanted],
             "rows": [(f"{name} {i}", final[name][i], row) for name, of_set in rows.items() for i, row in enumerate(of_set)],
             "losses": [("losses", final["losses"], losses)]}
    if trainer.coefficients:
        pairs["coefficients"] = [(f"coefficients of step {s + 1}", final["coefficients"][s], np.array(c))
                                 for s, c in enumerate(trainer.coefficients)]
    return pairs


def worst_of(pairs):
    """pairs: (name, got, wanted); the largest norm-relative difference and its name."""
    return max(((norm_relative(got, wanted), name) for name, got, wanted in pairs), default=(float("inf"), "nothing"))


def check_double(binary, work, label, trainer, config, *flags):
    """Trains both sides, prints one line for everything together; True where they agree."""
    final = run_reference(binary, work, trainer, config, *flags)
    losses = np.array([trainer.step(s) for s in range(STEPS)])
    pairs = pairs_of(final, trainer, losses)
    worst, where = worst_of(pair for kind in pairs.values() for pair in kind)
    good = worst <= DOUBLE_TOLERANCE
    print(f"{label:<34}{worst:>10.1e} <= {DOUBLE_TOLERANCE:.0e}  {'ok' if good else 'FAILED'}  ({where})", flush=True)
    return good


class Parity:
    def __init__(self, arguments, work, has_sequence=False, repeats=0):
        self.arguments, self.work = arguments, work
        work.mkdir(parents=True, exist_ok=True)
        self.data = Data(has_sequence=has_sequence, repeats=repeats)
        self.failed = False
        self.data.write_csv(work / "data.csv")
        self.dataset = dataset_config("data.csv", has_sequence)
        (work / "dataset.textproto").write_text(self.dataset)

    def report(self, what, model, rule, worst, where, tolerance):
        good = worst <= tolerance
        self.failed |= not good
        print(f"{what:<22}{model:<15}{rule:<9}{worst:>10.1e} <= {tolerance:.0e}  {'ok' if good else 'FAILED'}  ({where})",
              flush=True)

    def double(self, model, rule):
        trainer = TorchTrainer(model, torch.float64, self.data)
        trainer.optimize_by(rule, RULES[rule][2])
        final = run_reference(self.arguments.reference, self.work, trainer,
                              model_config(model, rule) + self.dataset)
        losses = np.array([trainer.step(s) for s in range(STEPS)])
        for kind, pairs in pairs_of(final, trainer, losses).items():
            self.report(f"double, {kind}", model, rule, *worst_of(pairs), DOUBLE_TOLERANCE)

    def train_product(self, model, rule, trainer, name, rate, steps):
        """A single-process run from the trainer's values; its folder."""
        run_dir = self.work / name
        tables = {}
        for (feature, vocabulary, _), offset in zip(FEATURES, self.data.offsets):
            tables[f"{feature}.ids"] = np.arange(vocabulary, dtype=np.uint64)
            tables[f"{feature}.rows"] = trainer.row_values()[offset:offset + vocabulary].astype(np.float32)
            for name, rows in trainer.set_row_values().items():
                table = f"{name.removeprefix('rows/')}/{feature}"
                tables[f"{table}.ids"] = np.arange(vocabulary, dtype=np.uint64)
                tables[f"{table}.rows"] = rows[offset:offset + vocabulary].astype(np.float32)
        safetensors_lite.write(self.work / "init32.safetensors", {**trainer.tensors(), **tables})
        (self.work / "model.textproto").write_text(model_config(model, rule, rate))
        run([self.arguments.worker, f"--model={self.work}/model.textproto", f"--dataset={self.work}/dataset.textproto",
             f"--init={self.work}/init32.safetensors", f"--run_dir={run_dir}", "--log_every=1", f"--max_steps={steps}",
             "--lanes=1", "--threads=1"])
        return run_dir

    def losses_of(self, run_dir):
        events = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
        return np.array([[e["loss"][t] for t in TASKS] for e in events if e["event"] == "step"])

    def checkpoint(self, run_dir, steps):
        return run_dir / "checkpoints" / f"step-{steps:012d}"

    def dump_of(self, run_dir, steps):
        """Dense tensors, and the rows [row_count, D] of the ordinary tables; rows without a push are None."""
        checkpoint = self.checkpoint(run_dir, steps)
        output = run_dir / "dump"
        run([self.arguments.psctl, "dump", f"--checkpoint={checkpoint}", f"--output={output}", "--dense"])
        dense, rows = {}, [None] * self.data.row_count
        for file in sorted(output.rglob("*.safetensors")):
            arrays = safetensors_lite.read(file)
            if "ids" not in arrays:
                dense.update(arrays)
                continue
            for (feature, _, _), offset in zip(FEATURES, self.data.offsets):
                if file.parent == output / "tables" / feature:
                    for i, row in zip(arrays["ids"], arrays["rows"]):
                        rows[int(i) + offset] = row
        return dense, rows

    def float_losses(self, model, rule):
        """float: losses of each step."""
        trainer = TorchTrainer(model, torch.float32, self.data)
        run_dir = self.train_product(model, rule, trainer, f"{model}-{rule}", None, STEPS)
        trainer.optimize_by(rule, RULES[rule][2])
        wanted = np.array([trainer.step(s) for s in range(STEPS)])
        got = self.losses_of(run_dir)
        if got.shape != wanted.shape:
            raise RuntimeError(f"{model}: {got.shape[0]} steps logged, not {STEPS}")
        relative = np.abs(got - wanted) / np.abs(wanted)
        step = int(relative.max(axis=1).argmax())
        self.report("float, losses", model, rule, float(relative.max()), f"step {step + 1}", LOSS_TOLERANCE[rule])

    def first_step(self, model):
        """float: gradients and the forward pass. PyTorch computes in double here: the oracle's own error is none."""
        trainer = TorchTrainer(model, torch.float32, self.data)
        before, rows_before = trainer.tensors(), trainer.row_values()
        run_dir = self.train_product(model, "sgd", trainer, f"{model}-gradient", GRADIENT_RATE, 1)
        dense, rows = self.dump_of(run_dir, 1)

        oracle = TorchTrainer(model, torch.float64, self.data)
        oracle.optimize_by("sgd", 1.0)
        oracle_before, oracle_rows = oracle.tensors(), oracle.row_values()
        first = oracle.step(0)
        gradients = {n: oracle_before[n] - v for n, v in oracle.tensors().items()}
        row_gradients = oracle_rows - oracle.row_values()
        self.report("float, gradients", model, "",
                    *worst_of((n, (before[n].astype(np.float64) - dense[n]) / GRADIENT_RATE, gradients[n])
                                for n in trainer.network.parameters), FIRST_STEP_TOLERANCE)
        if trainer.network.statistics:
            self.report("float, statistics", model, "", *worst_of((n, dense[n], oracle.tensors()[n]) for n in trainer.network.statistics),
                        FIRST_STEP_TOLERANCE)
        pairs = []
        for (feature, vocabulary, _), offset in zip(FEATURES, self.data.offsets):
            touched = [i for i in range(offset, offset + vocabulary) if np.any(row_gradients[i])]
            got = [(rows_before[i].astype(np.float64) - rows[i]) / GRADIENT_RATE for i in touched]
            pairs.append((feature, np.array(got), row_gradients[touched]))
        self.report("float, row gradients", model, "", *worst_of(pairs), FIRST_STEP_TOLERANCE)
        self.report("float, first losses", model, "", *worst_of([("both", self.losses_of(run_dir)[0], np.array(first))]),
                    FIRST_STEP_TOLERANCE)
        self.predictions(model)

    def predictions(self, model):
        """float: predictions after one ordinary SGD step."""
        run_dir = self.train_product(model, "sgd", TorchTrainer(model, torch.float32, self.data), f"{model}-predict", None, 1)
        run([self.arguments.worker, "--mode=predict", f"--checkpoint={self.checkpoint(run_dir, 1)}",
             f"--output={run_dir}/predictions.csv", "--threads=1"])
        with open(run_dir / "predictions.csv", newline="") as file:
            table = list(csv.DictReader(file))
        oracle = TorchTrainer(model, torch.float64, self.data)
        oracle.optimize_by("sgd", RULES["sgd"][2])
        oracle.step(0)
        wanted = oracle.predict(0)
        self.report("float, predictions", model, "",
                    *worst_of((t, np.array([float(r[t]) for r in table]), wanted[t].numpy()) for t in TASKS),
                    FIRST_STEP_TOLERANCE)


def main():
    parser = argparse.ArgumentParser()
    for name in ("reference", "worker", "psctl"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    parser.add_argument("--models", default=",".join(torch_models.MODELS))
    parser.add_argument("--rules", default=",".join(RULES))
    parser.add_argument("--keep", type=pathlib.Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        work = (arguments.keep or pathlib.Path(folder)).resolve()
        parities = [Parity(arguments, work / "lists"), Parity(arguments, work / "sequence", has_sequence=True)]
        for model in arguments.models.split(","):
            parity = parities[model in torch_zoo.SEQUENCES]
            rules = arguments.rules.split(",")
            for rule in rules[-1:] if model in torch_zoo.ZOO else rules:
                parity.double(model, rule)
                parity.float_losses(model, FLOAT_RULES.get(model, rule))
            parity.first_step(model)
        print(f"one id {REPEATS} times in a batch:", flush=True)
        parities.append(Parity(arguments, work / "repeats", repeats=REPEATS))
        for rule in arguments.rules.split(","):
            parities[-1].double("shared_bottom", rule)
            parities[-1].float_losses("shared_bottom", rule)
        parities[-1].first_step("shared_bottom")
    return 1 if any(parity.failed for parity in parities) else 0


if __name__ == "__main__":
    sys.exit(main())
