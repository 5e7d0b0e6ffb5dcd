#!/usr/bin/env python3
"""Trains many cells of a study, each with the same seeds, and prints means, spreads and paired differences.

  tests/bench/study.py models      --bin=build/bin --seeds=1,2,3,4,5   all models on Census-Income, against `single` of equal size
  tests/bench/study.py education   ...   the MMoE paper's second group of labels
  tests/bench/study.py alternating ...   joint against alternating training: 12 cells and three baselines, on two data sets
  tests/bench/study.py correlation ...   the MMoE paper's planted tasks, at four correlations
  tests/bench/study.py funnel      ...   conversion over all rows against a truth that only a planted funnel knows

Every figure of every seed goes to tests/bench/results/STUDY.tsv (cell, configuration, seed, task, metric, value); the tables
and the chart (STUDY.svg) are made from that file alone. A cell is trained again when its configuration (a hash of what
study.py asks for) is not in the file; after a change of code or of configs/, --fresh starts over.
"""

import argparse
import concurrent.futures
import csv
import dataclasses
import json
import math
import os
import pathlib
import re
import statistics
import struct
import subprocess
import sys
import tempfile

import studies

ROOT = pathlib.Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class Figure:
    """One number of one run."""
    cell: str
    configuration: str
    seed: int
    task: str
    metric: str
    value: float


def dense_parameters(checkpoint):
    """Trained dense parameters of a checkpoint: weights, without optimizer states, averages of them ("NAME.ema") and
    statistics of batch normalisation. {name: shape}"""
    with open(os.path.join(checkpoint, "dense.safetensors"), "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    return {name: tensor["shape"] for name, tensor in header.items()
            if name != "__metadata__" and not re.search(r"\.state\d|\.ema$|/running_(mean|variance)$", name)}


def run(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stderr[-2000:]}")


def judge(worker, cell, folder):
    """The cell's own figures of the best checkpoint's predictions of the test rows: {(task, metric): value}"""
    run([worker, "--mode=predict", "--labels", f"--checkpoint={folder}/run/checkpoints/best", f"--run_dir={folder}/predict",
         f"--output={folder}/test.csv", f"--override={cell.truth_text}"])
    with open(f"{folder}/test.csv", encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        header = next(rows)
        columns = dict(zip(header, zip(*([float(value) for value in row] for row in rows))))
    return cell.judge(columns)


def train(worker, cell, seed):
    """Runs one cell; returns its figures: the best checkpoint's test evaluation, size and time."""
    with tempfile.TemporaryDirectory() as folder:
        run([worker, f"--model={cell.model}", f"--dataset={cell.dataset}", f"--seed={seed}", "--threads=1",
             f"--run_dir={folder}/run", f"--override={cell.override(seed)}"])
        with open(f"{folder}/run/metrics.jsonl", encoding="utf-8") as lines:
            events = [json.loads(line) for line in lines]
        shapes = dense_parameters(f"{folder}/run/checkpoints/best")
        judged = judge(worker, cell, folder) if cell.judge else {}
    test = [event for event in events if event["event"] == "eval" and event["split"] == "test"][-1]
    end = [event for event in events if event["event"] == "done"][-1]
    values = {(task, metric): value for task, metrics in test["tasks"].items() for metric, value in metrics.items()
              if isinstance(value, (int, float))}
    values |= judged
    values["", "parameters"] = sum(math.prod(shape) for shape in shapes.values())
    values["", "seconds"] = end["seconds"]
    # The best evaluation's share of all steps: evaluations and steps cost the same throughout.
    values["", "seconds_to_best"] = end["seconds"] * test["step"] / max(1, end["steps"])
    return [Figure(cell.name, cell.configuration(), seed, task, metric, value) for (task, metric), value in values.items()]


def read(path):
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return [Figure(row["cell"], row["configuration"], int(row["seed"]), row["task"], row["metric"], float(row["value"]))
                for row in csv.DictReader(file, delimiter="\t")]


def write(path, figures):
    path.parent.mkdir(exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, delimiter="\t", lineterminator="\n")
        rows.writerow(field.name for field in dataclasses.fields(Figure))
        rows.writerows(dataclasses.astuple(figure) for figure in figures)


class Results:
    """All figures of a study, by (cell, task, metric)."""

    def __init__(self, figures):
        self._values = {}
        for figure in figures:
            self._values.setdefault((figure.cell, figure.task, figure.metric), {})[figure.seed] = figure.value

    def cells(self):
        return sorted({cell for cell, _, _ in self._values})

    def values(self, cell, task, metric):
        """{seed: value}; empty when there are none."""
        return self._values.get((cell, task, metric), {})

    def mean(self, cell, task, metric):
        return statistics.mean(self.values(cell, task, metric).values())

    def deviation(self, cell, task, metric):
        """Standard deviation over seeds; of one seed: not a number."""
        values = list(self.values(cell, task, metric).values())
        return statistics.stdev(values) if len(values) > 1 else math.nan

    def difference(self, cell, other, task, metric):
        """Mean of cell - other over the seeds of both, paired, and its standard error."""
        a, b = self.values(cell, task, metric), self.values(other, task, metric)
        pairs = [a[seed] - b[seed] for seed in a if seed in b]
        error = statistics.stdev(pairs) / math.sqrt(len(pairs)) if len(pairs) > 1 else math.nan
        return statistics.mean(pairs), error


def missing_runs(study, seeds, only, figures):
    """(cell, seed) that have no figures yet, seed by seed: a study that is cut short has whole seeds."""
    there = {(figure.cell, figure.configuration, figure.seed) for figure in figures}
    return [(cell, seed) for seed in seeds for cell in study.cells(Results(figures))
            if only in cell.name and (cell.name, cell.configuration(), seed) not in there]


def replaced(figures, fresh):
    """`figures` and those of a run, without what an older configuration of its cell gave."""
    cell, configuration = fresh[0].cell, fresh[0].configuration
    return [figure for figure in figures if figure.cell != cell or figure.configuration == configuration] + fresh


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=sorted(studies.STUDIES))
    parser.add_argument("--bin", default="build/bin", help="where worker is")
    parser.add_argument("--seeds", default="", help="comma-separated; empty: the study's own")
    parser.add_argument("--only", default="", help="cells whose name contains this")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at a time, one thread each")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results of this study")
    parser.add_argument("--results", default=str(ROOT / "tests/bench/results"))
    arguments = parser.parse_args()

    study = studies.STUDIES[arguments.study]
    worker = os.path.abspath(os.path.join(arguments.bin, "worker"))
    seeds = [int(seed) for seed in arguments.seeds.split(",")] if arguments.seeds else list(study.seeds)
    path = pathlib.Path(arguments.results) / f"{arguments.study}.tsv"
    figures = [] if arguments.fresh else read(path)
    while missing := missing_runs(study, seeds, arguments.only, figures):
        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            runs = {pool.submit(train, worker, cell, seed): (cell, seed) for cell, seed in missing}
            for done in concurrent.futures.as_completed(runs):
                cell, seed = runs[done]
                figures = replaced(figures, done.result())
                write(path, sorted(figures, key=dataclasses.astuple))
                print(f"{cell.name:40} seed {seed}", file=sys.stderr, flush=True)
    print(study.table(Results(figures)))
    if picture := study.chart and study.chart(Results(figures)):
        path.with_suffix(".svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
