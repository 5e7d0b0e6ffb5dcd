#!/usr/bin/env python3
"""Whole training steps of Pagoda against PyTorch's, in pairs on the same cores. Run by hand.

  python3 -m venv /tmp/venv-torch
  /tmp/venv-torch/bin/pip install torch numpy setuptools
  /tmp/venv-torch/bin/python tests/bench/pytorch_step.py --step_bench=build/bin/step_bench

(`pip install torch --index-url https://download.pytorch.org/whl/cpu`, where it can be reached, has
no GPU libraries, which are most of the 5 GB.) The last command takes about ten minutes; its first
run some more, for torch.compile, which needs a C++ compiler and Python's headers and keeps what it
compiled. Nothing else may run beside it: on 2 threads that costs PyTorch more than Pagoda.

The workload is step_bench.cc's: MMoE with 8 experts [256, 128], towers [128, 64], 2 tasks; 16 id
features of dim 16 over 100k ids each in one table of 1.6M rows, 8 dense ones; uniform ids; Adam on
dense parameters and, lazily, on rows; fp32. There are 859,778 dense parameters. step_bench prints
865,968, with the padding of its matrices: 16 columns beside the first layer's 2,064 (of all experts
and gates), the gates' 16 biases, which they have not, and 15 columns and biases beside each
output's.

PyTorch gets the best of CHOICES, measured in turn for each number of threads and each batch size,
the better one kept; denormals are flushed always. It is not charged with what Pagoda is:
  - Its ids, numbers and labels are tensors made beforehand; Pagoda copies each batch.
  - With rows=distinct it also finds a step's distinct ids made beforehand. Pagoda looks for them in
    each step, inline on 1 thread, on a reader's thread beside 2.
  - It indexes a fixed array. Pagoda looks each id up in a hash table that takes any 64-bit id and
    can grow, counts its use, and sends ids, gradients and rows through its shard's channel.
Pagoda adds gradients in an order that does not depend on the number of threads; PyTorch need not.

A pair runs step_bench and PyTorch in turn, either pinned to the first cores, as many as there are
threads; who goes first alternates. The ratio is the median of the pairs' ratios.
"""

import argparse
import dataclasses
import functools
import json
import logging
import os
import statistics
import subprocess
import sys
import time

import torch
from torch import nn
from torch.nn import functional

FEATURES, DIM, DENSE, VOCABULARY = 16, 16, 8, 100_000
WIDTH = FEATURES * DIM + DENSE
EXPERTS, EXPERT, TOWER, TASKS = 8, (256, 128), (128, 64), 2
LEARNING_RATE, BETAS, EPSILON = 1e-3, (0.9, 0.999), 1e-8
DENSE_PARAMETERS = 859_778
WARM_UP_STEPS = 3

# torch.compile's mode max-autotune is left out: it took 25 s a shape to compile, and its steps were
# 3 % (batch 128) and 5 % (2048) slower than those of the default mode, on a busy machine.
CHOICES = {
    # How the dense network runs.
    "run": ("eager", "compile"),
    # The experts' first layer as one wide matrix; batched products for both layers; a loop.
    "experts": ("wide", "batched", "loop"),
    # The gates' weighted sum of experts as batched products, or by multiplying and adding.
    "mixture": ("product", "sum"),
    # Who looks rows up and updates them: lazy Adam written by hand on a step's distinct rows;
    # nn.Embedding and nn.EmbeddingBag with sparse gradients and SparseAdam; nn.Embedding with dense
    # gradients and fused Adam over all 1.6M rows (not lazy: another algorithm).
    "rows": ("distinct", "sparse", "bag", "dense"),
    # The implementation of torch.optim.Adam for dense parameters.
    "adam": ("fused", "foreach"),
    "environment": ("kept_heap", "plain", "passive"),
}

# A heap that keeps what is freed, in huge pages, so that a step's tensors do not fault their pages
# in anew; malloc as it comes; that heap, and OpenMP threads that sleep at once instead of spinning.
KEPT_HEAP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
             "MALLOC_TOP_PAD_": str(1 << 26), "THP_MEM_ALLOC_ENABLE": "1"}
ENVIRONMENTS = {"kept_heap": KEPT_HEAP, "plain": {},
                "passive": {**KEPT_HEAP, "OMP_WAIT_POLICY": "PASSIVE"}}


@dataclasses.dataclass(frozen=True)
class Setting:
    """One of each of CHOICES; the search starts at the defaults."""
    run: str = "eager"
    experts: str = "wide"
    mixture: str = "product"
    rows: str = "distinct"
    adam: str = "fused"
    environment: str = "kept_heap"

    def __str__(self):
        return " ".join(dataclasses.astuple(self))


# ------------------------------------------------------------------------- the network, three ways


class Stack(nn.Module):
    """Like layers side by side: [n, B, in] -> [n, B, out], one batched product a layer."""

    def __init__(self, count, sizes, ends_in_relu):
        super().__init__()
        self.ends_in_relu = ends_in_relu
        self.weights = nn.ParameterList(
            torch.empty(count, *pair).uniform_(-1, 1) * (6 / pair[0]) ** 0.5
            for pair in zip(sizes, sizes[1:]))
        self.biases = nn.ParameterList(torch.zeros(count, 1, size) for size in sizes[1:])

    def forward(self, x):
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases)):
            x = torch.baddbmm(bias, x, weight)
            if self.ends_in_relu or i + 1 < len(self.weights):
                x = x.relu_()
        return x


class WideExperts(nn.Module):
    """x [B, 264] -> experts [8, B, 128], with one product for the whole first layer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(WIDTH, EXPERTS * EXPERT[0])
        self.second = Stack(EXPERTS, EXPERT, ends_in_relu=True)

    def forward(self, x):
        hidden = self.first(x).relu_().view(-1, EXPERTS, EXPERT[0])
        return self.second(hidden.transpose(0, 1))


class BatchedExperts(nn.Module):
    """The same with a batched product for either layer."""

    def __init__(self):
        super().__init__()
        self.layers = Stack(EXPERTS, (WIDTH, *EXPERT), ends_in_relu=True)

    def forward(self, x):
        return self.layers(x.expand(EXPERTS, *x.shape))


class LoopedExperts(nn.Module):
    """The same with modules of their own, as most people write it."""

    def __init__(self):
        super().__init__()
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, EXPERT[0]), nn.ReLU(inplace=True),
                          nn.Linear(*EXPERT), nn.ReLU(inplace=True)) for _ in range(EXPERTS))

    def forward(self, x):
        return torch.stack([expert(x) for expert in self.experts])


class Mmoe(nn.Module):
    """(rows [B, 256], dense [B, 8], labels [2, B]) -> the sum of both tasks' mean losses."""

    def __init__(self, setting):
        super().__init__()
        self.mixture = setting.mixture
        self.experts = {"batched": BatchedExperts, "wide": WideExperts,
                        "loop": LoopedExperts}[setting.experts]()
        self.gates = nn.Linear(WIDTH, TASKS * EXPERTS, bias=False)
        self.towers = Stack(TASKS, (EXPERT[1], *TOWER, 1), ends_in_relu=False)

    def mix(self, gates, experts):
        """Gates [B, 2, 8], experts [8, B, 128] -> [2, B, 128]."""
        if self.mixture == "product":
            return torch.bmm(gates, experts.transpose(0, 1)).transpose(0, 1)
        return (gates.permute(1, 2, 0).unsqueeze(-1) * experts).sum(1)

    def forward(self, rows, dense, labels):
        x = torch.cat((rows, dense), 1)
        gates = self.gates(x).view(-1, TASKS, EXPERTS).softmax(2)
        logits = self.towers(self.mix(gates, self.experts(x))).squeeze(2)
        return TASKS * functional.binary_cross_entropy_with_logits(logits, labels)


# ------------------------------------------------------------------------------ rows and their Adam


class DistinctRows:
    """SparseAdam's arithmetic, its weights and moments of a row side by side: table [n, 3 * 16]."""

    def __init__(self):
        self.table = torch.zeros(FEATURES * VOCABULARY, 3 * DIM)
        self.table[:, :DIM].uniform_(-0.05, 0.05)
        self.steps = 0

    @staticmethod
    def prepare(ids):
        """Ids [B, 16] -> the distinct ones, and each id's place among them."""
        return ids.unique(return_inverse=True)

    def lookup(self, prepared):
        self.ids, places = prepared
        self.block = self.table.index_select(0, self.ids)
        self.weights = self.block[:, :DIM].detach().requires_grad_()
        return functional.embedding(places, self.weights).view(-1, FEATURES * DIM)

    @torch.no_grad()
    def update(self):
        self.steps += 1
        gradient = self.weights.grad
        weights, first, second = self.block.split(DIM, 1)  # [n, 16] each, of one memory.
        first.lerp_(gradient, 1 - BETAS[0])
        second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        correction = (1 - BETAS[1] ** self.steps) ** 0.5 / (1 - BETAS[0] ** self.steps)
        weights.addcdiv_(first, second.sqrt().add_(EPSILON), value=-LEARNING_RATE * correction)
        self.table.index_copy_(0, self.ids, self.block)

    def touch(self):
        """Writes to every page, as step_bench touches every row before it measures."""
        self.table.mul_(1)


class ModuleRows:
    """nn.Embedding or nn.EmbeddingBag with an optimizer of torch.optim."""

    def __init__(self, kind):
        self.is_bag = kind == "bag"
        is_sparse = kind != "dense"
        weights = torch.empty(FEATURES * VOCABULARY, DIM).uniform_(-0.05, 0.05)
        if self.is_bag:
            self.module = nn.EmbeddingBag.from_pretrained(weights, freeze=False, mode="sum",
                                                          sparse=is_sparse)
        else:
            self.module = nn.Embedding.from_pretrained(weights, freeze=False, sparse=is_sparse)
        if is_sparse:
            self.adam = torch.optim.SparseAdam(self.module.parameters(), lr=LEARNING_RATE)
        else:
            self.adam = torch.optim.Adam(self.module.parameters(), lr=LEARNING_RATE, fused=True)

    def prepare(self, ids):
        return ids.reshape(-1, 1) if self.is_bag else ids

    def lookup(self, prepared):
        return self.module(prepared).view(-1, FEATURES * DIM)

    def update(self):
        self.adam.step()
        self.adam.zero_grad()

    def touch(self):
        for state in self.adam.state.values():
            state["exp_avg"].mul_(1)
            state["exp_avg_sq"].mul_(1)


# ------------------------------------------------------------------------------- PyTorch's process


class Data:
    """As many batches as step_bench makes. Feature f's ids begin at f * 100k in the one table."""

    def __init__(self, rows):
        generator = torch.Generator().manual_seed(1)
        first = torch.arange(FEATURES) * VOCABULARY
        self.rows = rows
        self.ids, self.dense, self.labels = [], [], []
        for _ in range(min(max(1_000_000 // rows, 32), 512)):
            ids = torch.randint(VOCABULARY, (rows, FEATURES), generator=generator)
            self.ids.append(ids + first)
            self.dense.append(torch.rand(rows, DENSE, generator=generator) * 2 - 1)
            labels = torch.randint(4, (TASKS, rows), generator=generator) == 0
            self.labels.append(labels.float())

    @functools.cached_property
    def distinct_ids(self):
        return [DistinctRows.prepare(ids) for ids in self.ids]


def compiled(network):
    # A budget below 1 lets the backward pass compute ReLU's masks again instead of storing them as
    # booleans, which is slow here: 6,400 samples/s without it, 9,300 with it (batch 128).
    import torch._functorch.config as functorch_config
    functorch_config.activation_memory_budget = 0.9
    return torch.compile(network, dynamic=False, fullgraph=True)


class Trainer:
    """A model in one setting, and its steps."""

    def __init__(self, setting, data):
        torch.manual_seed(1)
        self.data = data
        self.next = 0
        network = Mmoe(setting)
        count = sum(parameter.numel() for parameter in network.parameters())
        assert count == DENSE_PARAMETERS, count
        self.adam = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, betas=BETAS,
                                     eps=EPSILON, **{setting.adam: True})
        self.network = compiled(network) if setting.run == "compile" else network
        is_distinct = setting.rows == "distinct"
        self.rows = DistinctRows() if is_distinct else ModuleRows(setting.rows)
        self.ids = data.distinct_ids if is_distinct else [self.rows.prepare(x) for x in data.ids]
        self.check_loss()
        self.rows.touch()

    def step(self, i):
        loss = self.network(self.rows.lookup(self.ids[i]), self.data.dense[i], self.data.labels[i])
        loss.backward()
        self.rows.update()
        self.adam.step()
        self.adam.zero_grad()
        return loss

    def check_loss(self):
        """Steps on one batch, which also warm up, lower its loss."""
        losses = [self.step(0).item() for _ in range(WARM_UP_STEPS)]
        assert losses[-1] < losses[0], losses

    def measure(self, seconds, now):
        """Samples/s over about `seconds`."""
        start, steps = now(), 0
        while now() - start < seconds:
            self.step(self.next)
            self.next = (self.next + 1) % len(self.ids)
            steps += 1
        return steps * self.data.rows / (now() - start)


def serve(threads, batch):
    """Answers each line of standard input, a setting and how to measure it, with a line."""
    torch.set_flush_denormal(True)  # Before there are other threads: they inherit it.
    torch.set_num_threads(threads)
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    data = Data(batch)
    trainer, current = None, None
    for line in sys.stdin:
        question = json.loads(line)
        setting = Setting(**question["setting"])
        now = time.process_time if question["cpu_time"] else time.perf_counter
        try:
            if trainer is None or setting != current:
                trainer, current = None, setting  # The old one is freed before the next is made.
                trainer = Trainer(setting, data)
            answer = {"rate": trainer.measure(question["seconds"], now)}
        except Exception as error:  # Whatever this PyTorch or this machine cannot do.
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print("answer " + json.dumps(answer), flush=True)


# ----------------------------------------------------------------------------------- the comparison


def pinned(threads):
    return ["taskset", "-c", "0" if threads == 1 else f"0-{threads - 1}"]


class PyTorch:
    """A process of PyTorch for one number of threads and batch size."""

    def __init__(self, threads, batch, cpu_time):
        self.threads, self.batch, self.cpu_time = threads, batch, cpu_time
        self.environment, self.process = None, None

    def start(self, environment):
        self.close()
        self.environment = environment
        command = pinned(self.threads) + [sys.executable, os.path.abspath(__file__),
                                          f"--serve={self.threads},{self.batch}"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **ENVIRONMENTS[environment]})

    def close(self):
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()
        self.process = None

    def measure(self, setting, seconds):
        """Samples/s; 0, and a word on standard error, where this setting cannot be had."""
        if setting.environment != self.environment:
            self.start(setting.environment)
        question = {"setting": dataclasses.asdict(setting), "seconds": seconds,
                    "cpu_time": self.cpu_time}
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("answer "):
                answer = json.loads(line[len("answer "):])
                if "error" in answer:
                    print(f"{setting}: {answer['error']}", file=sys.stderr)
                return answer.get("rate", 0.0)
        sys.exit(f"{setting}: PyTorch's process ended with {self.process.wait()}")


def survey(pytorch, seconds, is_verbose):
    """The best setting: one choice after another, each time the better of its values is kept."""
    def rate(setting):
        result = pytorch.measure(setting, seconds / 2)
        if result > 0:
            result = max(result, pytorch.measure(setting, seconds / 2))
        if is_verbose:
            print(f"  {pytorch.threads} {pytorch.batch:5} {result:8.0f}  {setting}", flush=True)
        return result

    best = Setting()
    best_rate = rate(best)
    for name, values in CHOICES.items():
        for value in values:
            if value == getattr(Setting(), name) or value == "passive" and pytorch.threads == 1:
                continue
            candidate = dataclasses.replace(best, **{name: value})
            candidate_rate = rate(candidate)
            if candidate_rate > best_rate:
                best, best_rate = candidate, candidate_rate
    return best


def measure_pagoda(arguments, threads, batch):
    """Samples/s of step_bench, from the last row of its table."""
    command = pinned(threads) + [arguments.step_bench, f"--threads={threads}", f"--batches={batch}",
                                 "--rounds=1", f"--seconds={arguments.seconds}"]
    command += ["--cpu_time"] if arguments.cpu_time else []
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if finished.returncode != 0:
        sys.exit(f"{' '.join(command)}\nended with {finished.returncode}:\n"
                 f"{finished.stderr[-2000:]}")
    cells = finished.stdout.splitlines()[-1].strip("| ").split(" | ")
    assert cells[:2] == [str(threads), str(batch)], finished.stdout
    return float(cells[2])


def compare(arguments, threads, batch):
    """One row of the table."""
    pytorch = PyTorch(threads, batch, arguments.cpu_time)
    setting = survey(pytorch, arguments.survey_seconds, arguments.verbose)
    pytorch.measure(setting, 0)  # Made, compiled and warm before the pairs.
    measures = {"pagoda": lambda: measure_pagoda(arguments, threads, batch),
                "pytorch": lambda: pytorch.measure(setting, arguments.seconds)}
    rates = {name: [] for name in measures}
    for pair in range(arguments.rounds):
        for name in sorted(measures, reverse=pair % 2 == 1):
            rates[name].append(measures[name]())
        if arguments.verbose:
            print(f"  {threads} {batch:5} {rates['pytorch'][-1]:8.0f}  paired with Pagoda's "
                  f"{rates['pagoda'][-1]:.0f}", flush=True)
    pytorch.close()
    if 0 in rates["pytorch"]:
        sys.exit(f"{setting}: PyTorch failed in a pair, see above")
    ratios = [one / other for one, other in zip(rates["pagoda"], rates["pytorch"])]
    print(f"| {threads} | {batch} | {statistics.median(rates['pagoda']):,.0f} "
          f"| {statistics.median(rates['pytorch']):,.0f} | {statistics.median(ratios):.2f} "
          f"| {min(ratios):.2f} to {max(ratios):.2f} | {setting} |", flush=True)


def numbers(text):
    return [int(part) for part in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step_bench", default="build/bin/step_bench", help="the program")
    parser.add_argument("--threads", type=numbers, default="1,2")
    parser.add_argument("--batches", type=numbers, default="128,512,2048,4096")
    parser.add_argument("--rounds", type=int, default=3, help="pairs a row")
    parser.add_argument("--seconds", type=float, default=3, help="time of each measurement")
    parser.add_argument("--survey_seconds", type=float, default=0.6,
                        help="the same of each setting while the best one is looked for")
    parser.add_argument("--cpu_time", action="store_true",
                        help="take CPU time for time, for one thread on a busy machine")
    parser.add_argument("--verbose", action="store_true", help="print each setting's samples/s")
    parser.add_argument("--serve", type=numbers, help=argparse.SUPPRESS)  # PyTorch's own process.
    arguments = parser.parse_args()
    if arguments.serve:
        serve(*arguments.serve)
        return
    if arguments.cpu_time and arguments.threads != [1]:
        parser.error("--cpu_time is for --threads=1")
    if not os.access(arguments.step_bench, os.X_OK):
        parser.error(f"--step_bench={arguments.step_bench} is no program: build it, or name it")
    print(f"PyTorch {torch.__version__}, Python {sys.version.split()[0]}; {arguments.rounds} pairs "
          f"of {arguments.seconds:g} s{' of CPU time' if arguments.cpu_time else ''}")
    print("| threads | batch | Pagoda: samples/s | PyTorch: samples/s | ratio | range "
          "| PyTorch's setting |\n|---|---|---|---|---|---|---|", flush=True)
    for threads in arguments.threads:
        for batch in arguments.batches:
            compare(arguments, threads, batch)


if __name__ == "__main__":
    main()
