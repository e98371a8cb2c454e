"""
A family of nets, and which of them to run
==========================================

Six small convolutional nets, from a thousand to a million multiply-adds, have answered 500 digits
that they were not trained on. The search looks at every cascade of at most four of them. What it
chose is then run on 797 other digits, on which nothing was chosen.
"""

# %%
# Each net is an ONNX file, used as it is. What an image costs is counted from its graph.

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from sklearn_cascade import CascadeClassifier, OnnxClassifier, search_cascades

folder = Path("..", "examples", "digit_nets")
split = np.load(folder / "split.npz")
digits = load_digits()
images, y = digits.images[:, None].astype("float32"), digits.target
valid, test = split["valid"], split["test"]

nets = {path.stem.removeprefix("digits_"): OnnxClassifier(path) for path in folder.glob("*.onnx")}
costs = {name: net.multiply_adds_ / 1000 for name, net in nets.items()}

# %%
# The search needs probabilities and labels, no nets. Of the committees it found, take the cheapest
# whose log loss is no worse than the best single net's: counts of right answers among 500 are too
# coarse a guide.

front = search_cascades(
    [net.predict_proba(images[valid]) for net in nets.values()],
    y[valid],
    names=list(nets),
    costs=costs,
    cost_unit="k multiply-adds",
    scoring="neg_log_loss",
)
row = front.select(max_score_loss=0)
cascade = CascadeClassifier(
    [(name, nets[name]) for name in row.members],
    thresholds=row.thresholds,
    combine=row.combine,
    costs=[costs[name] for name in row.members],
).fit(images[valid], y[valid])
details = cascade.predict_details(images[test])
print(f"{row.label}: thresholds {np.round(row.thresholds, 3)}, answer with the {row.combine}\n")

right = {name: np.sum(net.predict(images[test]) == y[test]) for name, net in nets.items()}
for name in sorted(nets, key=costs.get):
    print(
        f"{name:10} {right[name]} of {len(test)} right, {costs[name]:7.1f} thousand multiply-adds"
    )
n_right, mean_cost = np.sum(details.label == y[test]), details.cost.mean()
print(f"{'cascade':10} {n_right} of {len(test)} right, {mean_cost:7.1f} thousand on average")

# %%
# Above: the single nets, and the cascade, on the other 797 digits. Against the best net it costs 49
# times fewer multiply-adds and gets one digit less right, which is chance; against the one that is
# as accurate, by the luck of its seed, 9 times fewer. Below: most digits are settled by the
# smallest net, and those that need the last look as if they should. The wrong answer is red.

fig = plt.figure(figsize=(6.0, 6.6))
above, below = fig.subfigures(2, 1, height_ratios=[4.3, 2.3])
ax = above.subplots()
for name in nets:
    accuracy = 100 * right[name] / len(test)
    ax.plot(costs[name], accuracy, "ko")
    ax.annotate(name, (costs[name], accuracy), (7, -13), textcoords="offset points", fontsize=10)
accuracy = 100 * n_right / len(test)
best, orange = costs["1120k"], "#D55E00"
ax.plot(mean_cost, accuracy, "*", color=orange, markersize=20)
ax.annotate(
    f"cascade: {accuracy:.2f} %\nfor {mean_cost:.1f} thousand",
    (mean_cost, accuracy),
    (-14, 0),
    textcoords="offset points",
    ha="right",
    va="center",
    color=orange,
    weight="bold",
)
ax.annotate(
    "",
    (mean_cost * 1.3, accuracy + 0.15),
    (best * 0.8, accuracy + 0.15),
    arrowprops={"arrowstyle": "->", "color": orange, "lw": 1.5},
)
middle = np.sqrt(mean_cost * best)
ax.text(middle, accuracy + 0.25, f"{best / mean_cost:.0f} times fewer", ha="center", color=orange)
ax.set(xscale="log", xlim=(0.8, 5000), ylim=(95.4, 100.4))
ax.set(xlabel="Thousand multiply-adds per digit", ylabel="Accuracy (%)")
ax.set_title("Six nets and one cascade of them, 797 digits")

last = len(row.members) - 1
lines = below.subplots(2, 8)
for line, (stage, role) in zip(
    lines, [(0, "leave first"), (last, "need the last net")], strict=True
):
    rows = np.flatnonzero(details.exit_stage == stage)
    line[0].set_title(f"{len(rows) / len(test):.1%} {role}", loc="left", fontsize=12)
    for axis, place in zip(line, rows, strict=False):
        wrong = details.label[place] != y[test][place]
        axis.imshow(images[test][place, 0], cmap="Reds" if wrong else "gray_r")
        axis.set_axis_off()
plt.show()
