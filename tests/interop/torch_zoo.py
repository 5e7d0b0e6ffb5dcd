"""More models in plain PyTorch, written from their papers, and what any model can be given: see torch_models.py.

A function here reads, beside x, `network.sets`: {embedding set: [B, features * dim]}, `network.dense_columns` [B, N] and
`network.fields` [per feature [B, dim]]; it may append to `network.extra` losses beside the tasks': functions of {task: label}
and {task: weight}.
"""
import torch
import torch.nn.functional as F

import torch_models
from torch_models import BOTTOM, EXPERT, EXPERTS, TOWER

ALPHA, GAMMA, ENTROPY, SELECTORS, FLOOR = 0.6, 1.5, 0.01, 2, 0.3
COUNTERFACTUAL, GLOBAL = 0.7, 0.4
MOMENTUM, EPSILON = 0.3, 1e-3
UNIT = [8, 6]
STEM_LEVEL = (2, 1)
SELECT_EXPERTS = 4
RESIDUAL = [9, 9]
EMBEDDED, DENSE = 3, 4  # Features of parity.py.


def gelu_mlp(network, name, x, widths):
    for i, width in enumerate(widths):
        x = F.gelu(network.dense(f"{name}/layer{i}", x, width))
    return x


def aitm(network, x, tasks):
    """Xi et al., KDD 2021."""
    logits, z, before = {}, None, None
    for t in tasks:
        q = network.mlp(f"{t}/bottom", x, BOTTOM)
        if z is None:
            z = q
        else:
            p = network.dense(f"{t}/transfer/info", z, BOTTOM[-1], relu=True)
            parts = [p, q]
            h1, h2, h3 = ([network.dense(f"{t}/transfer/h{i}", u, BOTTOM[-1], bias=False) for u in parts] for i in (1, 2, 3))
            scores = torch.stack([(k * q2).sum(dim=1) for k, q2 in zip(h2, h3)], dim=1) / BOTTOM[-1] ** 0.5
            z = network.mixture(scores, h1)
        logits[t] = network.tower(t, z)
        if before is not None:
            excess = torch.sigmoid(logits[t]) - torch.sigmoid(before)
            network.extra.append(lambda labels, weights, excess=excess: ALPHA * torch.clamp(excess, min=0).mean())
        before = logits[t]
    return logits


def wide_deep(network, x, tasks):
    """Cheng et al., DLRS 2016: `bottom` shared, a weight an id and task."""
    trunk = network.mlp("bottom", x, BOTTOM)
    return {t: network.tower(t, trunk) + network.sets[f"wide/{t}"].sum(dim=1, keepdim=True) for t in tasks}


def stem(network, x, tasks):
    """Su et al., AAAI 2024: detach what other tasks' gates read of a task's experts."""
    own_count, shared_count = STEM_LEVEL
    inputs = {t: torch.cat([network.sets[t], network.dense_columns], dim=1) for t in tasks}
    experts = {t: network.experts(f"level0/{t}/experts", inputs[t], own_count) for t in tasks}
    shared = network.experts("level0/shared_experts", x, shared_count)
    logits = {}
    for t in tasks:
        read = [e if other == t else e.detach() for other in tasks for e in experts[other]] + shared
        gate = network.dense(f"level0/{t}/gate", inputs[t] + x, len(read), bias=False)
        logits[t] = network.tower(t, network.mixture(gate, read))
    return logits


def escm2(network, x, tasks, doubly_robust=False):
    """Wang et al., SIGIR 2022."""
    click, conversion = tasks
    hidden = {t: network.mlp(f"{t}/bottom", x, BOTTOM) for t in tasks}
    logits = {t: network.tower(t, hidden[t]) for t in tasks}
    p = torch.clamp(torch.sigmoid(logits[click].detach().squeeze(1)), min=FLOOR)
    cvr = logits[conversion].squeeze(1)
    if doubly_robust:
        name = f"{conversion}/imputation"
        imputed = network.dense(f"{name}/out", network.mlp(name, hidden[conversion], TOWER), 1).squeeze(1)

    def loss(labels, weights):
        e = F.binary_cross_entropy_with_logits(cvr, labels[conversion], reduction="none")
        # A row outside a task's sample space has no labels.
        clicked = ((labels[click] != 0) & (weights[click] != 0) & (weights[conversion] != 0)).to(e.dtype)
        if not doubly_robust:
            return COUNTERFACTUAL * (clicked * e / p).mean()
        # The imputation learns from a given prediction.
        given = e.detach() - imputed
        return COUNTERFACTUAL * (imputed + clicked * (e - imputed + given ** 2) / p).mean()

    network.extra.append(loss)
    return logits


def escm2_dr(network, x, tasks):
    return escm2(network, x, tasks, doubly_robust=True)


def dbmtl(network, x, tasks):
    """Wang et al., arXiv:1902.09154."""
    trunk, relations, logits = network.mlp("bottom", x, BOTTOM), [], {}
    for t in tasks:
        read = torch.cat([network.mlp(f"{t}/specific", trunk, EXPERT)] + relations, dim=1)
        relations.append(network.mlp(f"{t}/tower", read, TOWER))
        logits[t] = network.dense(f"{t}/tower/out", relations[-1], 1)
    return logits


def smooth_step(z):
    s = -2 / GAMMA ** 3 * z ** 3 + 3 / (2 * GAMMA) * z + 0.5
    return torch.where(z <= -GAMMA / 2, torch.zeros_like(z), torch.where(z >= GAMMA / 2, torch.ones_like(z), s))


def dselect_k(network, x, tasks):
    """Hazimeh et al., NeurIPS 2021, per-example gates."""
    experts = network.experts("experts", x, SELECT_EXPERTS)
    bits = SELECT_EXPERTS.bit_length() - 1
    logits = {}
    for t in tasks:
        z = network.dense(f"{t}/gate/selectors", x, SELECTORS * bits)
        alpha = torch.softmax(network.dense(f"{t}/gate/weights", x, SELECTORS), dim=1)
        s = smooth_step(z).view(-1, SELECTORS, bits)
        r = torch.stack([torch.stack([s[:, :, j] if i >> j & 1 else 1 - s[:, :, j] for j in range(bits)], dim=0).prod(dim=0)
                         for i in range(SELECT_EXPERTS)], dim=2)  # [B, k, n]
        log_r = torch.log(torch.clamp(r, min=1e-12))
        network.extra.append(lambda labels, weights, r=r, log_r=log_r: ENTROPY * -(r * log_r).sum(dim=(1, 2)).mean())
        q = (alpha.unsqueeze(2) * r).sum(dim=1)
        logits[t] = network.tower(t, (q.unsqueeze(2) * torch.stack(experts, dim=1)).sum(dim=1))
    return logits


def normalized(network, x, tasks):
    """Shared-Bottom whose layers are y = x + PReLU(LayerNorm(x w + b)) where widths agree."""
    def mlp(name, x, widths):
        for i, width in enumerate(widths):
            layer = f"{name}/layer{i}"
            y = network.dense(layer, x, width)
            y = F.layer_norm(y, (width,), network.parameter(layer + "/norm/gain", 1, width).squeeze(0),
                             network.parameter(layer + "/norm/b", 1, width).squeeze(0))
            y = F.prelu(y, network.parameter(layer + "/act/slope", 1, 1).view(1))
            x = x + y if x.shape[1] == width else y
        return x

    trunk = mlp("bottom", x, RESIDUAL)
    return {t: network.dense(f"{t}/tower/out", mlp(f"{t}/tower", trunk, TOWER), 1) for t in tasks}


def batch_normalized(network, x, tasks):
    """Shared-Bottom whose layers are y = ReLU(BatchNorm1d(x w)): Ioffe and Szegedy, ICML 2015."""
    def mlp(name, x, widths):
        for i, width in enumerate(widths):
            norm = f"{name}/layer{i}/norm"
            y = network.dense(f"{name}/layer{i}", x, width, bias=False)
            mean, variance = network.statistic(norm + "/running_mean", width, 0.0), network.statistic(norm + "/running_variance", width, 1.0)
            x = torch.relu(F.batch_norm(y, mean[0], variance[0], network.parameter(norm + "/gain", 1, width)[0],
                                        network.parameter(norm + "/b", 1, width)[0], training=network.training,
                                        momentum=MOMENTUM, eps=EPSILON))
        return x

    trunk = mlp("bottom", x, BOTTOM)
    return {t: network.dense(f"{t}/tower/out", mlp(f"{t}/tower", trunk, TOWER), 1) for t in tasks}


def crossed(network, x, tasks):
    """Shared-Bottom with GELU behind two cross layers of DCN-v2 (Wang et al., WWW 2021, eq. (1))."""
    y = x
    for layer in range(2):
        y = x * network.dense(f"interaction/layer{layer}", y, x.shape[1]) + y
    trunk = gelu_mlp(network, "bottom", y, BOTTOM)
    return {t: network.dense(f"{t}/tower/out", gelu_mlp(network, f"{t}/tower", trunk, TOWER), 1) for t in tasks}


def factorized(network, x, tasks):
    """single behind pairwise products (Rendle, ICDM 2010); one bottom reads some features, one tower reads one beside."""
    fields = network.fields
    pairs = sum(fields[i] * fields[j] for i in range(len(fields)) for j in range(i))
    inputs = {tasks[0]: torch.cat([x, pairs], dim=1),
              tasks[1]: torch.cat([fields[0], fields[2], network.dense_columns[:, 1:2]], dim=1)}
    logits = {}
    for t in tasks:
        h = network.mlp(f"{t}/bottom", inputs[t], BOTTOM)
        logits[t] = network.tower(t, torch.cat([h, fields[1]], dim=1) if t == tasks[0] else h)
    return logits


def self_attention(network, e, mask, target, heads):
    """Vaswani et al., NIPS 2017, eq. (1) and section 3.2.2; the mean over filled places. e [B, P, d], mask [B, P]."""
    d = e.shape[2]
    q, k, v = ((e @ network.parameter(f"sequence/tags/{name}/w", d, d)).view(e.shape[0], e.shape[1], heads, -1) for name in "qkv")
    scores = torch.einsum("bihd,bjhd->bhij", q, k) / (d // heads) ** 0.5
    scores = scores.masked_fill(mask[:, None, None, :] == 0, -1e30)
    p = torch.softmax(scores, dim=3) * mask[:, None, None, :]
    rows = torch.einsum("bhij,bjhd->bihd", p, v).reshape(e.shape)
    mean = (rows * mask.unsqueeze(2)).sum(dim=1) / torch.clamp(mask.sum(dim=1, keepdim=True), min=1)
    return mean @ network.parameter("sequence/tags/out/w", d, d)


def target_attention(network, e, mask, target):
    """DIN: Zhou et al., KDD 2018, eq. (3)."""
    v = target.unsqueeze(1).expand_as(e)
    z = torch.cat([e, v, e - v, e * v], dim=2).view(-1, 4 * e.shape[2])
    a = network.dense("sequence/tags/out", network.mlp("sequence/tags", z, UNIT), 1).view(mask.shape)
    return ((a * mask).unsqueeze(2) * e).sum(dim=1)


# What the model does with `tags` as a sequence, before all else: (network, places, mask, item's vector) -> vector.
SEQUENCES = {
    "attention": lambda *a: self_attention(*a, heads=1),
    "attention_heads": lambda *a: self_attention(*a, heads=5),
    "din": target_attention,
}


def parameters(**values):
    return " ".join(f'parameter {{ name: "{name}" value: {value} }}' for name, value in values.items())


BOTTOM_TOWER = f"bottom: {BOTTOM} tower: {TOWER} "
ESCM2 = BOTTOM_TOWER + parameters(counterfactual_weight=COUNTERFACTUAL, global_weight=GLOBAL, propensity_floor=FLOOR)

# Function, Pagoda's model, its configuration.
ZOO = {
    "aitm": (aitm, "aitm", BOTTOM_TOWER + parameters(alpha=ALPHA)),
    "wide_deep": (wide_deep, "wide_deep", BOTTOM_TOWER + "wide {}"),
    "stem": (stem, "stem", f"expert: {EXPERT} tower: {TOWER} "
             f"level {{ task_experts: {STEM_LEVEL[0]} shared_experts: {STEM_LEVEL[1]} }}"),
    "escm2": (escm2, "escm2", ESCM2),
    "escm2_dr": (escm2_dr, "escm2", ESCM2 + " " + parameters(doubly_robust=1)),
    "dbmtl": (dbmtl, "dbmtl", f"bottom: {BOTTOM} expert: {EXPERT} tower: {TOWER}"),
    "dselect_k": (dselect_k, "dselect_k", f"expert: {EXPERT} experts: {SELECT_EXPERTS} tower: {TOWER} " +
                  parameters(selectors=SELECTORS, gamma=GAMMA, entropy_weight=ENTROPY)),
    "normalized": (normalized, "shared_bottom",
                   f"bottom: {RESIDUAL} tower: {TOWER} normalization: LAYER activation: PRELU residual: true"),
    "batch_normalized": (batch_normalized, "shared_bottom", BOTTOM_TOWER + "normalization: BATCH "
                         f"batch_norm {{ momentum: {MOMENTUM} epsilon: {EPSILON} }}"),
    "attention": (torch_models.shared_bottom, "shared_bottom", BOTTOM_TOWER + 'sequence { feature: "tags" }'),
    "attention_heads": (torch_models.shared_bottom, "shared_bottom", BOTTOM_TOWER + 'sequence { feature: "tags" heads: 5 }'),
    "din": (torch_models.shared_bottom, "shared_bottom", BOTTOM_TOWER +
            f'sequence {{ feature: "tags" pooling: TARGET target: "item" hidden: {UNIT} }}'),
    "crossed": (crossed, "shared_bottom", BOTTOM_TOWER + "activation: GELU interaction { kind: DCN_V2 layers: 2 }"),
    "factorized": (factorized, "single", BOTTOM_TOWER + 'interaction { kind: FM } '
                   'reads { match: "b/bottom" feature: "user" feature: "tags" feature: "d1" } '
                   'reads { match: "a/tower" feature: "item" }'),
}


def sets_of(model, tasks, dim):
    """The embedding sets besides the ordinary one: [(name, dim)], in Pagoda's order."""
    if model == "wide_deep":
        return [(f"wide/{t}", 1) for t in tasks]
    return [(t, dim) for t in tasks] if model == "stem" else []


def loss_weight(model, task, first):
    """What a task's own loss is multiplied by inside the model."""
    return GLOBAL if model.startswith("escm2") and task != first else 1.0


for name, (function, _, config) in ZOO.items():
    torch_models.MODELS[name] = function
    torch_models.MODEL_CONFIGS[name] = config
# Models whose second prediction is pCTCVR.
torch_models.PRODUCTS = {"esmm", "escm2", "escm2_dr"}
