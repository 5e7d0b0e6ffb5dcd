"""The studies that study.py runs: their cells, and the tables made of them."""

import dataclasses
import hashlib
import math
import statistics
from typing import Callable

import chart

# Census-Income's input: 39 embeddings of 8 and 7 numbers; a tower of 32 behind a bottom of w.
CENSUS_INPUT = 39 * 8 + 7


@dataclasses.dataclass(frozen=True)
class Cell:
    """One configuration; every seed trains it once."""
    name: str
    model: str
    dataset: str = "census_income"
    # Protobuf text inside model { }, dataset { }, train { }; and beside them.
    model_text: str = ""
    dataset_text: str = ""
    train_text: str = ""
    more_text: str = ""
    # Inside planted { }. Data made up from a seed change with the run's seed, so that pairs share data.
    planted_text: str = ""
    # Further figures of the predictions: with truth_text's labels, columns {name: values} -> {(task, metric): value}.
    truth_text: str = ""
    judge: Callable | None = None

    def configuration(self):
        """Changes with what is asked for: results of another configuration are not this cell's."""
        return hashlib.sha256(f"{self.model} {self.dataset} {self.override(0)} {self.truth_text}".encode()).hexdigest()[:8]

    def override(self, seed):
        planted = f"planted {{ seed: {seed} {self.planted_text} }}" if self.planted_text else ""
        return (f"model {{ {self.model_text} }} dataset {{ {self.dataset_text} {planted} }} "
                f"train {{ {self.train_text} }} {self.more_text}")


@dataclasses.dataclass(frozen=True)
class Study:
    """Which cells there are (given the results so far), the seeds; the table, and perhaps the chart, of the results."""
    cells: Callable
    seeds: range
    table: Callable
    chart: Callable | None = None


def number(value, digits=4):
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def mean_and_spread(results, cell, task, metric, digits=4):
    values = results.values(cell, task, metric)
    if not values:
        return "-"
    return f"{number(results.mean(cell, task, metric), digits)} ({number(results.deviation(cell, task, metric), digits)})"


def paired(results, cell, other, task, metric, digits=4):
    """Mean paired difference and its standard error."""
    if not results.values(cell, task, metric) or not results.values(other, task, metric):
        return "-"
    mean, error = results.difference(cell, other, task, metric)
    return f"{mean:+.{digits}f} ± {number(error, digits)}"


def rows_of(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


# ------------------------------------------------------------------------------- models, education

MODELS = ["single", "shared_bottom", "moe", "mmoe", "cgc", "ple", "esmm", "escm2", "aitm", "wide_deep", "stem", "dbmtl",
          "dselect_k"]


def single_parameters(width, tower=32):
    """Dense parameters of `single` with a bottom of `width` a task, two tasks."""
    return 2 * ((CENSUS_INPUT + 1) * width + (width + 1) * tower + tower + 1)


def equal_single(parameters):
    """`single` with a bottom that gives it about so many dense parameters."""
    width = min(range(1, 2048), key=lambda width: abs(single_parameters(width) - parameters))
    return Cell(f"single {width}", "single", model_text=f"bottom: {width}")


def models_cells(results):
    """All models; then, once its size is known, a `single` as large as each."""
    cells = [Cell(model, model) for model in MODELS]
    sizes = [results.mean(model, "", "parameters") for model in MODELS if results.values(model, "", "parameters")]
    return cells + sorted({equal_single(size) for size in sizes}, key=lambda cell: cell.name)


def models_table(results):
    """Means, spreads, and the paired difference to the `single` nearest in size that was trained."""
    rows = []
    for model in MODELS:
        if not results.values(model, "income", "auc"):
            continue
        size = results.mean(model, "", "parameters")
        row = [f"`{model}`", f"{size:,.0f}"]
        row += [mean_and_spread(results, model, task, "auc") for task in ("income", "marital")]
        row.append(mean_and_spread(results, model, "", "seconds_to_best", 1))
        equal = equal_single(size).name
        for task in ("income", "marital"):
            row.append(paired(results, model, equal, task, "auc"))
        rows.append(row)
    return rows_of(["model", "dense parameters", "income AUC, mean (SD)", "marital AUC, mean (SD)", "seconds to the best (SD)",
                    "income against `single` of its size", "marital against it"], rows)


def education_table(results):
    return rows_of(["model", "education AUC, mean (SD)", "marital AUC, mean (SD)"],
                   [[f"`{cell}`"] + [mean_and_spread(results, cell, task, "auc") for task in ("education", "marital")]
                    for cell in results.cells()])


# -------------------------------------------------------------------------------------- alternating

# CTR owns embeddings, shared experts and its own part; watch time only what is its own.
ALTERNATING = """method: ALTERNATING
  task { name: "click" optimizer: "dense" sparse_optimizer: "sparse" }
  task { name: "ysl" optimizer: "dense_ysl" owns: "level0/ysl/*" owns: "ysl/*" }
"""
OPTIMIZER_OF_YSL = 'optimizer { name: "dense_ysl" rule: "adam" learning_rate: 0.001 }'
METHODS = {"alternating": ALTERNATING, "1:1": "", "uwl": 'weighting { name: "uwl" }'}
# A quarter of the CGC of configs/: 180 runs are many, and the question is of methods, not of sizes.
ALTERNATING_CGC = "expert: 32 tower: 16 level { task_experts: 2 shared_experts: 2 }"


def study_cells(dataset):
    """Target raw or log1p, x all rows or clicked rows, x how the two tasks are trained; and the baselines."""
    def cell(name, dataset_text, train_text):
        return Cell(f"{dataset}/{name}", "cgc", dataset, model_text=ALTERNATING_CGC, dataset_text=dataset_text,
                    train_text=train_text, more_text=OPTIMIZER_OF_YSL)

    cells = []
    for target, transform in (("raw", "label_transform: RAW "), ("log1p", "label_transform: LOG1P ")):
        for rows, space in (("all", ""), ("clicked", 'sample_space: "click" ' if dataset == "planted_watch"
                                          else 'sample_space: "stock_dividends > 0" ')):
            task = f'task {{ name: "ysl" {transform}{space}}}'
            cells += [cell(f"{target}/{rows}/{method}", task, 'best_by: "click" ' + text)
                      for method, text in METHODS.items()]
            cells.append(cell(f"{target}/{rows}/single ysl", task, 'tasks: "ysl" best_by: "ysl"'))
    cells.append(cell("single click", "",
                      'method: ALTERNATING tasks: "click" best_by: "click" '
                      'task { name: "click" optimizer: "dense" sparse_optimizer: "sparse" }'))
    amount = "ysl" if dataset == "planted_watch" else "stock_dividends"
    cells.append(cell("loss weighting",
                      f'task {{ name: "click" sample_weight: "if({amount} > 0, log1p({amount}), 1)" normalize: BATCH }}',
                      'tasks: "click" best_by: "click"'))
    return cells


def alternating_table(results):
    """A line for each way to train, with the figures of both data sets: means, and paired differences with their
    standard errors, of click against click alone, of ysl against ysl alone with the same target and rows."""
    def figures(dataset, name):
        cell, click = f"{dataset}/{name}", f"{dataset}/single click"
        amount, digits = cell.rsplit("/", 1)[0] + "/single ysl", 0 if dataset == "census_dividends" else 2
        error = mean_and_spread(results, cell, "ysl", "mse", digits)
        if error != "-" and cell != amount:
            mean = number(results.mean(cell, "ysl", "mse"), digits)
            error = f"{mean}: {paired(results, cell, amount, 'ysl', 'mse', digits)}"
        return [paired(results, cell, click, "click", "auc"), paired(results, cell, click, "click", "logloss"), error]

    datasets = ("census_dividends", "planted_watch")
    names = dict.fromkeys(cell.split("/", 1)[1] for cell in results.cells())
    alone = ", ".join(f"{dataset} " + " and ".join(mean_and_spread(results, f"{dataset}/single click", "click", metric)
                                                   for metric in ("auc", "logloss")) for dataset in datasets)
    rows = [[name] + [figure for dataset in datasets for figure in figures(dataset, name)] for name in names]
    header = ["AUC of click", "logloss of click", "MSE of ysl: against ysl alone (SD)"]
    return f"click alone, AUC and logloss (SD): {alone}\n\n" + rows_of(
        ["ysl's target / rows / training"] + [f"{dataset}: {what}" for dataset in datasets for what in header], rows)


# -------------------------------------------------------------------------------------- correlation

CORRELATIONS = (1.0, 0.9, 0.5, 0.0)
# Dense parameters within 4 % of each other: 14,776, 14,818 and 14,218.
CORRELATION_MODELS = {
    "shared_bottom": "bottom: 126 tower: 8",
    "mmoe": "experts: 8 expert: 16 tower: 8",
    "ple": "expert: 16 tower: 8 level { task_experts: 3 shared_experts: 2 }",
}
# Found on seeds 1, 2, 3 at correlation 0, for all models alike: at the models' own batch of 1024 and 8 epochs none had converged.
CORRELATION_TRAIN = 'batch_size: 256 epochs: 40 patience: 4 best_by: "SUM"'


def correlation_cells():
    return [Cell(f"{correlation}/{model}", model, "planted_mmoe", model_text=shape, train_text=CORRELATION_TRAIN,
                 planted_text=f"correlation: {correlation}")
            for correlation in CORRELATIONS for model, shape in CORRELATION_MODELS.items()]


def worse_task(results, cell):
    """{seed: MSE of the task that fits worse}"""
    first, second = (results.values(cell, task, "mse") for task in ("y_0", "y_1"))
    return {seed: max(first[seed], second[seed]) for seed in first}


def mean_and_error(values):
    """Mean and its standard error; of one value: not a number."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return statistics.mean(values), error


def correlation_table(results):
    rows = []
    for correlation in CORRELATIONS:
        base = worse_task(results, f"{correlation}/shared_bottom")
        for model in CORRELATION_MODELS:
            worse = worse_task(results, f"{correlation}/{model}")
            if not worse:
                continue
            size = results.mean(f"{correlation}/{model}", "", "parameters")
            row = [str(correlation), f"`{model}`", f"{size:,.0f}", number(statistics.mean(worse.values()), 5)]
            differences = [worse[seed] - base[seed] for seed in worse if seed in base]
            if model == "shared_bottom" or not differences:
                row.append("-")
            else:
                mean, error = mean_and_error(differences)
                row.append(f"{mean:+.5f} ± {number(error, 5)}")
            rows.append(row)
    return rows_of(["correlation p", "model", "dense parameters", "worse task's MSE", "against `shared_bottom`"], rows)


def correlation_chart(results):
    """Bars of two standard errors of what the models differ by: pairs share data, and data differ more than models."""
    series = {}
    for model in CORRELATION_MODELS:
        points = series.setdefault(model, [])
        for correlation in CORRELATIONS:
            base = worse_task(results, f"{correlation}/shared_bottom")
            worse = worse_task(results, f"{correlation}/{model}")
            ratios = [worse[seed] / base[seed] for seed in worse if seed in base]
            if not ratios:
                return None
            mean, error = mean_and_error(ratios)
            points.append((mean, 0 if math.isnan(error) else 2 * error))
    return chart.chart("Worse task's MSE, as a ratio to shared_bottom's of the same seed", "correlation of the two tasks",
                       f"mean of {len(ratios)} seeds, bars of 2 standard errors", CORRELATIONS, series)


# ------------------------------------------------------------------------------------------- funnel

# Clicked rows alone teach conversion, embeddings too, and all rows are asked for it: what is done without a model of the funnel.
CLICKED_ONLY = "conversion alone, on clicked rows"
CLICKED_ONLY_TEXT = {"dataset_text": 'task { name: "conversion" sample_space: "click" }',
                     "train_text": 'tasks: "conversion" best_by: "conversion"'}
# Five thousand conversions to test with: the mean of predictions over that of labels is then known to 2 %.
FUNNEL_TEST_ROWS = 1_000_000


def funnel_sources(rows):
    """The data set of `rows` training rows, and 100,000 for validation."""
    return (f"source {{ end_row: {rows} split: TRAIN }} source {{ first_row: {rows} end_row: {rows + 100_000} split: VALID }} "
            f"source {{ first_row: {rows + 100_000} split: TEST }}")


def funnel_optimizers(rows):
    """Rates that fall to nothing within one epoch: at a constant one the mean prediction swings by 5 % from step to step."""
    return " ".join(f'optimizer {{ name: "{name}" rule: "adam" learning_rate: {rate} '
                    f'schedule {{ kind: COSINE decay_steps: {math.ceil(rows / 1024)} }} }}'
                    for name, rate in (("sparse", 0.005), ("dense", 0.001)))


PCVR_MODELS = {  # name: (model, texts of the cell, the output that is pCVR)
    CLICKED_ONLY: ("single", CLICKED_ONLY_TEXT, "conversion"),
    "esmm": ("esmm", {}, "pCVR"),
    "escm2, IPW": ("escm2", {}, "pCVR"),
    "escm2, DR": ("escm2", {"model_text": 'parameter { name: "doubly_robust" value: 1 }'}, "pCVR"),
}
# name: (correlation, training rows, models). Correlation is how much of what makes a row convert makes it clicked, too: what
# the models of a funnel share, and the bias of clicked rows. In 2,000,000 rows are 10,000 conversions: what a model learns
# of them by heart it lacks elsewhere, and its predictions are 2 to 4 % low.
FUNNELS = {
    "0.9": ("0.9", 2_000_000, tuple(PCVR_MODELS)),
    "0.5": ("0.5", 2_000_000, tuple(PCVR_MODELS)),
    "0.9, 6M rows": ("0.9", 6_000_000, (CLICKED_ONLY, "esmm")),
}
# Of a funnel nearly all of whose clicks convert: elsewhere hardly a row's conversion comes out above its click.
CALIBRATOR_ALPHAS = ("0", "0.6", "2")
CALIBRATOR_PLANTED = "kind: FUNNEL correlation: 0.9 conversion_rate: 0.9"
# The conversion that would have followed a click, of rows without one too: what no log of a real funnel has.
WOULD_CONVERT = ('dataset { task { name: "click" label: "would_convert" } '
                 'task { name: "conversion" label: "would_convert" sample_space: "click >= 0" } }')


def auc(scores, labels):
    """Area under the ROC curve; ties count half."""
    order = sorted(range(len(scores)), key=scores.__getitem__)
    positives = sum(labels)
    rank_sum, begin = 0.0, 0
    while begin < len(order):
        end = begin
        while end < len(order) and scores[order[end]] == scores[order[begin]]:
            end += 1
        rank_sum += (begin + 1 + end) / 2 * sum(labels[order[i]] for i in range(begin, end))
        begin = end
    return (rank_sum - positives * (positives + 1) / 2) / (positives * (len(labels) - positives))


def judge_funnel(output):
    """pCVR over all rows against the truth, when the model has one; how often conversion is likelier than its click."""
    def judge(columns):
        figures = {}
        if "click" in columns:
            above = sum(conversion > click for click, conversion in zip(columns["click"], columns["conversion"]))
            figures["conversion", "above_click"] = above
        if output:
            figures["conversion", "pcvr_auc"] = auc(columns[output], columns["label/conversion"])
            figures["conversion", "pcvr_pcoc"] = sum(columns[output]) / sum(columns["label/conversion"])
        return figures
    return judge


def pcvr_cell(funnel, name):
    correlation, rows, _ = FUNNELS[funnel]
    model, texts, output = PCVR_MODELS[name]
    return Cell(f"{funnel}/{name}", model, "planted_funnel", model_text=texts.get("model_text", ""),
                dataset_text=f"{funnel_sources(rows)} {texts.get('dataset_text', '')}",
                train_text=f"epochs: 1 {texts.get('train_text', '')}", more_text=funnel_optimizers(rows),
                planted_text=f"kind: FUNNEL rows: {rows + 100_000 + FUNNEL_TEST_ROWS} correlation: {correlation}",
                truth_text=WOULD_CONVERT, judge=judge_funnel(output))


def funnel_cells():
    cells = [pcvr_cell(funnel, name) for funnel, (_, _, names) in FUNNELS.items() for name in names]
    return cells + [Cell(f"aitm, alpha {alpha}", "aitm", "planted_funnel", planted_text=CALIBRATOR_PLANTED,
                         model_text=f'parameter {{ name: "alpha" value: {alpha} }}', judge=judge_funnel(None))
                    for alpha in CALIBRATOR_ALPHAS]


def funnel_table(results):
    rows = []
    for funnel, (_, _, names) in FUNNELS.items():
        for name in names:
            cell, base = f"{funnel}/{name}", f"{funnel}/{CLICKED_ONLY}"
            row = [funnel, name] + [mean_and_spread(results, cell, "conversion", "pcvr_auc")]
            row.append(paired(results, cell, base, "conversion", "pcvr_auc") if cell != base else "-")
            row.append(mean_and_spread(results, cell, "conversion", "pcvr_pcoc", 3))
            row.append(mean_and_spread(results, cell, "conversion", "pcoc", 3) if cell != base else "-")
            rows.append(row)
    pcvr = rows_of(["correlation", "model", "pCVR AUC over all rows, against the truth (SD)", "against clicked rows only",
                    "pCVR predicted over true", "pCTCVR predicted over observed"], rows)
    rows = [[f"{alpha}"] + [mean_and_spread(results, f"aitm, alpha {alpha}", task, "auc") for task in ("click", "conversion")] +
            [mean_and_spread(results, f"aitm, alpha {alpha}", "conversion", "above_click", 0)] for alpha in CALIBRATOR_ALPHAS]
    return pcvr + "\n\n" + rows_of(["`aitm`, alpha", "click AUC (SD)", "conversion AUC (SD)",
                                    "of 100,000 rows, conversion above click"], rows)


def always(cells):
    return lambda results: cells


STUDIES = {
    "models": Study(models_cells, range(1, 6), models_table),
    "education": Study(always([Cell(model, model, "census_education") for model in ("shared_bottom", "mmoe", "ple")]),
                       range(1, 6), education_table),
    "alternating": Study(always(study_cells("census_dividends") + study_cells("planted_watch")), range(1, 6), alternating_table),
    "correlation": Study(always(correlation_cells()), range(101, 121), correlation_table, correlation_chart),
    "funnel": Study(always(funnel_cells()), range(1, 6), funnel_table),
}
