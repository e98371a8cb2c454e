"""Cascades and ensembles against the best single model: at equal accuracy, and at equal cost."""

from __future__ import annotations

import numpy as np

from benchmarks.tables import commonest, spread

# Figures of the sources, and of the plain two-stage cascade of the data's README (20 halves): share
# of the cost saved at the best single model's score, and points gained at its cost.
SOURCES = {
    "imagenet_cnn34": "two-stage: saves 44.5 %, +0.07",
    "imagenet_cnn34 by ms": "two-stage: saves 45.1 %, +0.07",
    "imagenet_cnn16_top5": "two-stage: saves 45.1 %, +0.10",
    "imagenet_cnn16_top5 (mean)": "two-stage, mean: saves 52.7 %, +0.47",
    "cifar10_cnn13": "two-stage: saves 62.2 %, +0.57",
    "cifar10_cnn13 (proba)": "two-stage, mean: saves 62.3 %, +0.76",
    "frugalml_rafdb": "FrugalML: saves 54.0 %, +4.4; its QS only: 47.0 %, +0.75",
    "frugalml_ferplus": "two-stage: saves 45.0 %, +0.92",
    "frugalml_expw": "two-stage: saves 19.8 %, +0.06",
    "frugalml_imdb": "two-stage: saves 14.5 %, +0.08",
    "frugalml_yelp": "two-stage: saves 2.6 %, -0.03",
    "frugalml_waimai": "two-stage: saves 4.0 %, -0.06",
    "frugalml_digit": "two-stage: saves 43.2 %, +1.07",
    "frugalml_audiomnist": "two-stage: saves 89.2 %, +0.15",
    "cifar10_family": "Wang et al.: EfficientNet 5.4x, ViT 2.3x; its README, 40m: 2.26x at -0.42, "
    "+0.66 at 1.16x",
}
TOPIC, TITLE = "cascades", "Cascades at equal accuracy, and at equal cost"
CAPTION = """\
Found on one half of the rows: the best single model; the cheapest cascade or ensemble of no lower
accuracy (*saving*: how many times less a row costs; *points* of accuracy against that model); the
most accurate one within its cost (*gain*; *part spent* of that cost). Figures are of the other
half: mean ± standard deviation over {n_halves} halves. A candidate has at most {stages} models,
{stages_large} if there are more than 20 to choose from. *pays*: at least 5 % cheaper, at most 0.3
points lost.

Published: share of the cost saved at equal accuracy, points gained at equal cost. *two-stage* is
the plain cascade of the data's own notes, mean of 20 halves (5 of imagenet_cnn16_top5). Pools named
*proba*, *mean* or *family* have probabilities, which can be averaged; of the others, only the most
likely class is recorded. For imagenet_cnn16_top5 (mean), the probabilities are those of the five
best classes of each network."""
HEADER = ["data set", "models x rows", "best single (halves)", "saving", "points",
          "gain at its cost", "part spent", "s per half", "published", "verdict"]  # fmt: skip


def measure(half):
    """Return the best single model, and the figures of two choices against it."""
    single = half.single
    chosen = [half.front.select(max_score_loss=0.0), half.front.select(max_cost=single.mean_cost)]
    score, cost = half.evaluate([single, *chosen])
    points = 100 * (score - score[0])
    return single.label, [cost[0] / cost[1], points[1], points[2], cost[2] / cost[0], half.seconds]


def lines(pool, measured):
    """Return the line of a pool."""
    names, figures = zip(*measured, strict=True)
    saving, points, gain, part, seconds = np.transpose(figures)
    pays = saving.mean() >= 1.05 and points.mean() >= -0.3
    size = f"{len(pool.names)} x {len(pool.y):,}"
    cells = [spread(saving), spread(points, "+.2f"), spread(gain, "+.2f"), spread(part)]
    verdict = "pays" if pays else "**does not pay**"
    source = SOURCES.get(pool.name, "")
    return [[pool.name, size, commonest(names), *cells, f"{seconds.mean():.1f}", source, verdict]]
