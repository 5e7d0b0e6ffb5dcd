"""The models in plain PyTorch, written from their papers: what Pagoda's graphs are compared with.

A model is a function (network, x) -> logits by head; `network` holds the parameters by Pagoda's names. With no values given
yet it makes each parameter when it is first asked for, so that this file alone says which there are and what shape they have.
"""
import torch
import torch.nn.functional as F

# Widths of the networks under test: small, odd, several layers, so that every kind of edge is met.
EMBEDDING_DIM = 5
BOTTOM = [12, 9]
EXPERT = [11, 7]
TOWER = [6]
EXPERTS = 3
LEVELS = [(2, 1), (1, 2)]  # (task experts, shared experts) of each PLE level.
CGC_LEVEL = LEVELS[:1]


def levels_config(levels):
    return " ".join(f"level {{ task_experts: {t} shared_experts: {s} }}" for t, s in levels)


MODEL_CONFIGS = {
    "single": f"bottom: {BOTTOM} tower: {TOWER}",
    "shared_bottom": f"bottom: {BOTTOM} tower: {TOWER}",
    "mmoe": f"expert: {EXPERT} experts: {EXPERTS} tower: {TOWER}",
    "moe": f"expert: {EXPERT} experts: {EXPERTS} tower: {TOWER}",
    "cgc": f"expert: {EXPERT} tower: {TOWER} {levels_config(CGC_LEVEL)}",
    "ple": f"expert: {EXPERT} tower: {TOWER} {levels_config(LEVELS)}",
    "esmm": f"bottom: {BOTTOM} tower: {TOWER}",
}


class Network:
    """Parameters by name, and the layers that read them."""

    def __init__(self, dtype, seed):
        self.parameters = {}
        self.statistics = {}  # Running means and variances, which have no gradient.
        self.training = True
        self.dtype = dtype
        self.generator = torch.Generator().manual_seed(seed)
        self.sets, self.dense_columns, self.fields = {}, None, []  # Of the batch; torch_zoo.py.
        self.extra = []

    def parameter(self, name, rows, columns):
        if name not in self.parameters:
            # Biases too are random: a bias of zero hides what is done to it.
            scale = (6.0 / (rows + columns)) ** 0.5 if rows > 1 else 0.1
            value = (torch.rand(rows, columns, generator=self.generator, dtype=torch.float32) * 2 - 1) * scale
            self.parameters[name] = value.to(self.dtype).requires_grad_()
        return self.parameters[name]

    def statistic(self, name, columns, value):
        if name not in self.statistics:
            self.statistics[name] = torch.full((1, columns), value, dtype=self.dtype)
        return self.statistics[name]

    def dense(self, name, x, width, relu=False, bias=True):
        y = x @ self.parameter(name + "/w", x.shape[1], width)
        if bias:
            y = y + self.parameter(name + "/b", 1, width)
        return torch.relu(y) if relu else y

    def mlp(self, name, x, widths):
        for i, width in enumerate(widths):
            x = self.dense(f"{name}/layer{i}", x, width, relu=True)
        return x

    def experts(self, name, x, count):
        return [self.mlp(f"{name}/{i}", x, EXPERT) for i in range(count)]

    def mixture(self, gate, experts):
        return (torch.softmax(gate, dim=1).unsqueeze(2) * torch.stack(experts, dim=1)).sum(dim=1)

    def tower(self, task, x):
        return self.dense(f"{task}/tower/out", self.mlp(f"{task}/tower", x, TOWER), 1)


def single(network, x, tasks):
    return {t: network.tower(t, network.mlp(f"{t}/bottom", x, BOTTOM)) for t in tasks}


def shared_bottom(network, x, tasks):
    """Caruana, Machine Learning 28, 1997."""
    trunk = network.mlp("bottom", x, BOTTOM)
    return {t: network.tower(t, trunk) for t in tasks}


def moe(network, x, tasks):
    """Ma et al., KDD 2018, eq. (5): one gate for all tasks."""
    gate = network.dense("gate", x, EXPERTS, bias=False)
    mixed = network.mixture(gate, network.experts("experts", x, EXPERTS))
    return {t: network.tower(t, mixed) for t in tasks}


def mmoe(network, x, tasks):
    """Ma et al., KDD 2018, eq. (6)-(8)."""
    experts = network.experts("experts", x, EXPERTS)
    logits = {}
    for t in tasks:
        gate = network.dense(f"{t}/gate", x, EXPERTS, bias=False)
        logits[t] = network.tower(t, network.mixture(gate, experts))
    return logits


def cgc(network, x, tasks):
    """Tang et al., RecSys 2020, eq. (1)-(4)."""
    (own_count, shared_count), = CGC_LEVEL
    shared = network.experts("level0/shared_experts", x, shared_count)
    logits = {}
    for t in tasks:
        own = network.experts(f"level0/{t}/experts", x, own_count)
        gate = network.dense(f"level0/{t}/gate", x, own_count + shared_count, bias=False)
        logits[t] = network.tower(t, network.mixture(gate, own + shared))
    return logits


def ple(network, x, tasks):
    """Tang et al., RecSys 2020, eq. (5)-(8): task experts before shared ones; the last level has no shared gate."""
    inputs, shared_input = {t: x for t in tasks}, x
    for number, (task_count, shared_count) in enumerate(LEVELS):
        level = f"level{number}"
        experts = {t: network.experts(f"{level}/{t}/experts", inputs[t], task_count) for t in tasks}
        shared = network.experts(f"{level}/shared_experts", shared_input, shared_count)
        gates = {t: network.dense(f"{level}/{t}/gate", inputs[t], task_count + shared_count, bias=False) for t in tasks}
        if number + 1 < len(LEVELS):
            everything = [e for t in tasks for e in experts[t]] + shared
            gate = network.dense(f"{level}/shared_gate", shared_input, len(everything), bias=False)
            shared_input = network.mixture(gate, everything)
        inputs = {t: network.mixture(gates[t], experts[t] + shared) for t in tasks}
    return {t: network.tower(t, inputs[t]) for t in tasks}


def esmm(network, x, tasks):
    """Ma et al., SIGIR 2018: two networks on one embedding; the second head is the product, in log space."""
    return {t: network.tower(t, network.mlp(f"{t}/bottom", x, BOTTOM)) for t in tasks}


# Models whose second prediction is the product of both probabilities.
PRODUCTS = {"esmm"}

MODELS = {"single": single, "shared_bottom": shared_bottom, "moe": moe, "mmoe": mmoe, "cgc": cgc, "ple": ple, "esmm": esmm}


def losses(model, logits, labels, weights):
    """Normalised loss by task: sum w l / sum w. labels, weights: {task: [B]}."""
    first = next(iter(logits))
    result = {}
    for task in logits:
        logit = logits[task].squeeze(1)
        log_p, log_not_p = F.logsigmoid(logit), F.logsigmoid(-logit)
        if model in PRODUCTS and task != first:
            log_p = log_p + F.logsigmoid(logits[first].squeeze(1))
            log_not_p = torch.log(-torch.expm1(log_p))
        each = -(labels[task] * log_p + (1 - labels[task]) * log_not_p)
        result[task] = (weights[task] * each).sum() / weights[task].sum()
    return result


def predictions(model, logits):
    """Probability by task."""
    first = next(iter(logits))
    p = {task: torch.sigmoid(logit.squeeze(1)) for task, logit in logits.items()}
    if model in PRODUCTS:
        p = {task: p[task] if task == first else p[task] * p[first] for task in p}
    return p
