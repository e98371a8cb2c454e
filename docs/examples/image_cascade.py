"""
Image nets: a cascade of ONNX files
===================================

A family of convolutional nets of growing size, as ONNX files. A search chooses which of them run,
in which order and with which thresholds, from their predictions for held-out images. The cascade it
chooses then runs on images that neither the nets nor the search have seen.

Without arguments this program uses the six digit nets in the folder beside it, as ``make demo``
does. With ``--data PATH`` it uses the CIFAR-10 family in the folder PATH, which also holds the
recorded predictions of all nets for all held-out images.
"""

# %%
# Both families in one form: the files, what an image costs in each net, the nets' predictions for
# the validation and the test images, and the images of the timed run, the first of the test images.

import argparse
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits

from sklearn_cascade import (
    AveragingEnsemble,
    CascadeClassifier,
    OnnxClassifier,
    PrefitClassifier,
    TradeoffDisplay,
    latency_report,
    search_cascades,
)


class Family(NamedTuple):
    title: str
    unit: str
    models: dict  # name -> OnnxClassifier
    class_names: list
    valid: list  # probabilities of each net, shape (n_valid, n_classes)
    y_valid: np.ndarray
    test: list
    y_test: np.ndarray
    images: np.ndarray


def open_nets(names, folder, unit):
    """Return the nets of some files; the cost of each is its multiply-adds for one image."""
    models = {}
    for name in names:
        model = OnnxClassifier(folder / f"{name}.onnx")
        models[name.partition("_")[2]] = model.set_params(cost=model.multiply_adds_ / unit)
    return models


def read_digits(folder):
    """Return the digit nets; their predictions are computed here."""
    digits, rows = load_digits(), np.load(folder / "split.npz")
    images = digits.images[:, None].astype(np.float32)
    names = sorted(path.stem for path in folder.glob("*.onnx"))
    models = open_nets(names, folder, 1e3)
    valid, test = (
        [model.predict_proba(images[rows[part]]) for model in models.values()]
        for part in ("valid", "test")
    )
    return Family(
        "scikit-learn's digits",
        "k multiply-adds",
        models,
        list(map(str, digits.target_names)),
        valid,
        digits.target[rows["valid"]],
        test,
        digits.target[rows["test"]],
        images[rows["test"]],
    )


def read_cifar(folder):
    """Return the CIFAR-10 family with its recorded predictions."""
    known, shown = np.load(folder / "predictions.npz"), np.load(folder / "test_images_500.npz")
    return Family(
        "CIFAR-10",
        "MFLOPs",
        open_nets(known["model_names"].tolist(), folder, 1e6),
        known["class_names"].tolist(),
        list(known["proba_valid"]),
        known["label_valid"],
        list(known["proba_test"]),
        known["label_test"],
        shown["images"].astype(np.float32) / 255,
    )


parser = argparse.ArgumentParser(description="Find and run a cascade of image nets.")
parser.add_argument("--data", type=Path, help="folder of the CIFAR-10 family; default: digits")
data = parser.parse_args().data
family = read_cifar(data) if data else read_digits(Path(__file__).parent / "digit_nets")
costs = {name: model.cost for name, model in family.models.items()}

# %%
# The search evaluates every cascade and ensemble of at most four nets, against the best single net.
# The obvious choice is the cheapest cascade that gets as many validation images right. With
# millions of candidates, though, that choice is partly luck: it depends on the few images that one
# net gets right and another gets wrong. The log loss uses every image, and how confident the nets
# are. We therefore choose the cheapest cascade that keeps the log loss, and show both.

options = {"costs": costs, "names": list(costs), "cost_unit": family.unit}
print(
    f"{family.title}: searching all cascades and ensembles of at most 4 of {len(costs)} nets, on "
    f"{len(family.y_valid):,} validation images ...\n",
    flush=True,
)
front = search_cascades(family.valid, family.y_valid, **options)
by_log_loss = search_cascades(family.valid, family.y_valid, **options, scoring="neg_log_loss")
singles, ensembles = ([row for row in front if row.kind == kind] for kind in ("single", "ensemble"))
best_single = max(singles, key=lambda row: (row.score, -row.mean_cost))
picked = {
    "best ensemble": max(ensembles, key=lambda row: (row.score, -row.mean_cost)),
    "same accuracy": front.select(max_score_loss=0),
    "same log loss": by_log_loss.select(max_score_loss=0),
    "within its cost": front.select(max_cost=best_single.mean_cost),
}
winner = "same log loss"
print(f"{family.title}: score and cost on the {len(family.y_valid):,} validation images\n")
print(front)
print(
    f"\nChosen: {picked[winner].label}, the cheapest whose log loss is no worse than the best net's"
)

# %%
# From a row of that table to a classifier. All nets are frozen and all thresholds given, so ``fit``
# learns nothing. The same cascade can be made of recorded predictions: then X holds row numbers.


def make(row, members, X, y):
    """Return the cascade or ensemble of a row, made of the given members."""
    chosen = [(name, members[name]) for name in row.members]
    if row.kind == "ensemble":
        return AveragingEnsemble(chosen).fit(X, y)
    return CascadeClassifier(chosen, thresholds=row.thresholds, combine=row.combine).fit(X, y)


recorded = {
    name: PrefitClassifier(proba.__getitem__, range(len(family.class_names)), cost=costs[name])
    for name, proba in zip(costs, family.test, strict=True)
}
test_rows = np.arange(len(family.y_test))


def replay(row):
    """Return predictions and costs of a cascade or ensemble for all test images."""
    return make(row, recorded, test_rows, family.y_test).predict_details(test_rows)


shown = {row.label: row for row in singles} | picked
predictions = {name: replay(row) for name, row in shown.items()}

# %%
# Now the nets themselves run, in ONNX Runtime on one thread. Every image has to exit at the stage
# that the recorded predictions give. Timed with one image per call, as in a service, and with 256.

y_images = family.y_test[: len(family.images)]
real = {name: make(row, family.models, family.images, y_images) for name, row in picked.items()}
details = {name: model.predict_details(family.images) for name, model in real.items()}
same = [details[k].exit_stage == predictions[k].exit_stage[: len(y_images)] for k in picked]
print(
    f"Run with ONNX Runtime, the exit stages equal those of the recorded predictions on "
    f"{np.all(same, axis=0).sum():,} of {len(y_images):,} test images"
)
print("Timing single images and batches of 256 ...", flush=True)
timed = family.models | real


def time_one(name):
    """Return the mean seconds of single images: the median of each exit stage, by its share."""
    stages = details[name].exit_stage if name in details else np.zeros(len(y_images))
    total = 0.0
    for stage in np.unique(stages):
        images = family.images[stages == stage]
        report = latency_report([(name, timed[name])], images, batch_sizes=[1], n_repeats=100)
        total += report.measurements[0].median * len(images) / len(y_images)
    return total


# The least of three rounds, since other work on the machine only adds.
rounds = [{name: time_one(name) for name in timed} for _ in range(3)]
one = {name: min(times[name] for times in rounds) for name in timed}
# Large batches for some two seconds.
n_calls = max(3, int(2 / (256 * sum(one.values()))))
many = latency_report(timed, family.images, batch_sizes=[256], n_repeats=n_calls).measurements
seconds = {row.name: (one[row.name], row.median / row.batch_size) for row in many}

lines = [["", "", "accuracy", family.unit, "worst case", "µs, batch 1", "µs each, batch 256"]]
for name, row in shown.items():
    role = f"{row.kind}, {name}" if name in picked else row.kind
    figures = [
        f"{np.mean(predictions[name].label == family.y_test):.4f}",
        f"{predictions[name].cost.mean():,.2f}",
        f"{row.worst_cost:,.2f}",
        *(f"{1e6 * time:,.1f}" for time in seconds[name]),
    ]
    lines.append([role.removesuffix(", best ensemble"), row.label, *figures])
widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
print(f"\n{family.title}: {len(family.y_test):,} test images, which played no part in any choice")
for cells in lines:
    words = [f"{cell:{width}}" for cell, width in zip(cells[:2], widths[:2], strict=True)]
    figures = [f"{cell:>{width}}" for cell, width in zip(cells[2:], widths[2:], strict=True)]
    print("  ".join(words + figures))
print("µs per image: median call of ONNX Runtime, 1 thread; batch 1: by exit stage, then weighted")
print("same accuracy, same log loss, within its cost: as the best net, on the validation images")

# %%
# The gain over the best single net: in accuracy, with the standard error of the difference on the
# same images; in multiply-adds; and in seconds. Seconds include the cascade's own work, some
# microseconds per stage, which is as much as the smallest nets take.


def verdict(before, after):
    """Return in words how many times more or less is spent."""
    if max(before, after) < 1.05 * min(before, after):
        return "the same within 5 %"
    if after < before:
        return f"{before / after:.1f} times less: saves"
    return f"{after / before:.1f} times as much: does not pay"


best = predictions[best_single.label]
print(f"\nAgainst the best single net, {best_single.label}, on the test images")
print("(±: standard error of the difference in accuracy; within chance: at most two of them)")
for name, row in picked.items():
    change = (predictions[name].label == family.y_test) - 1.0 * (best.label == family.y_test)
    gain, error = 100 * change.mean(), 100 * change.std() / np.sqrt(len(change))
    words = "within chance" if abs(gain) <= 2 * error else "gained" if gain > 0 else "lost"
    spent = {
        "multiply-adds": (best.cost.mean(), predictions[name].cost.mean()),
        "batches of 1": (seconds[best_single.label][0], seconds[name][0]),
        "batches of 256": (seconds[best_single.label][1], seconds[name][1]),
    }
    print(f"{name}, {row.label}")
    print(f"  {'accuracy':14}  {gain:+.2f} ± {error:.2f} points: {words}")
    for what, pair in spent.items():
        print(f"  {what:14}  {verdict(*pair)}")

# %%
# The picture: accuracy against cost on the test images, for the Pareto front found on the
# validation images; and images that exited after the first net beside some that needed the last.

try:
    import matplotlib
except ImportError:
    print("\nNo picture: pip install 'sklearn-cascade[plot]' brings matplotlib")
else:
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    on_front = [row for row, good in zip(front, front.non_dominated, strict=True) if good]
    # Thinned from the end, so that the most accurate row stays.
    on_front = on_front[:: -1 - len(on_front) // 60]
    drawn = list(dict.fromkeys([*singles, *on_front, picked["best ensemble"], picked[winner]]))
    found = [replay(row) for row in drawn]
    figure = plt.figure(figsize=(12.8, 6.4), layout="constrained")
    left, *strips = figure.subfigures(1, 2, width_ratios=[1.3, 1])
    strips = strips[0].subfigures(2, 1)
    TradeoffDisplay(
        score=[np.mean(result.label == family.y_test) for result in found],
        cost=[result.cost.mean() for result in found],
        kind=[row.kind for row in drawn],
        label=[row.label for row in drawn],
        on_front=[True] * len(drawn),
        chosen=drawn.index(picked[winner]),
        cost_unit=family.unit,
    ).plot(
        ax=left.subplots(),
        single_kwargs={"color": "#7f8c8d"},
        ensemble_kwargs={"color": "#2c3e50"},
        cascade_kwargs={"color": "#d98880", "marker": "o", "markersize": 5},
        chosen_kwargs={"color": "#c0392b"},
        label_kwargs={"fontsize": 10},
    )
    left.suptitle(f"{family.title}: {len(family.y_test):,} test images")
    last = len(picked[winner].members) - 1
    for strip, stage, role in zip(
        strips, (0, last), ("exit after the first", "need the last"), strict=True
    ):
        rows = np.flatnonzero(details[winner].exit_stage == stage)
        net = picked[winner].members[stage]
        strip.suptitle(f"{len(rows) / len(y_images):.1%} of the images {role} net, {net}")
        for axes, row in zip(strip.subplots(2, 5).flat, [*rows[:10], *[None] * 10], strict=False):
            axes.set_axis_off()
            if row is not None:
                image, label = family.images[row], details[winner].label[row]
                predicted, truth = (family.class_names[k] for k in (label, y_images[row]))
                right = predicted == truth
                axes.imshow(image.transpose(1, 2, 0), cmap="gray_r")
                title = predicted if right else fill(f"{predicted}, not {truth}", 14)
                axes.set_title(title, fontsize=10, color="#2c3e50" if right else "#c0392b")
    path = Path("output", "image_cascade.png")
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=100)
    print(f"\nThe picture is in {path.resolve()}")
