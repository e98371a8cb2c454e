"""
Choosing a cascade from a family of nets
========================================

Six small convolutional nets, from a thousand to a million multiply-adds, predict 500 digits that
they were not trained on. The search evaluates every cascade of at most four of them. The cascade it
chooses is then run on 797 other digits, which played no part in any choice.
"""

# %%
# Each net is an ONNX file, used as it is. The multiply-adds for one image are counted from its
# graph.

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
# The search needs probabilities and labels, but no nets. Of the cascades it finds, take the
# cheapest whose log loss is no worse than that of the best single net: among 500 rows, the number
# of correct predictions is too coarse a criterion.

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
print(f"{row.label}: thresholds {np.round(row.thresholds, 3)}, combine={row.combine!r}\n")

right = {name: np.sum(net.predict(images[test]) == y[test]) for name, net in nets.items()}
for name in sorted(nets, key=costs.get):
    print(
        f"{name:10} {right[name]} of {len(test)} right, {costs[name]:7.1f} thousand multiply-adds"
    )
n_right, mean_cost = np.sum(details.label == y[test]), details.cost.mean()
print(f"{'cascade':10} {n_right} of {len(test)} right, {mean_cost:7.1f} thousand on average")

# %%
# Above: the single nets and the cascade on the other 797 digits. Against the best net the cascade
# needs 49 times fewer multiply-adds and gets one digit more wrong, which is within chance. Against
# the net of equal accuracy, which owes that to a lucky seed, it needs 9 times fewer. Below: most
# digits exit after the smallest net; those that need the last net are harder to read. A wrong
# prediction is red. Multiply-adds are not seconds: for one image per call, with nets this
# small, the cascade's own work costs what it saves. ``make demo`` shows both.

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
center = np.sqrt(mean_cost * best)
ax.text(center, accuracy + 0.25, f"{best / mean_cost:.0f} times fewer", ha="center", color=orange)
ax.set(xscale="log", xlim=(0.8, 5000), ylim=(95.4, 100.4))
ax.set(xlabel="Thousand multiply-adds per digit", ylabel="Accuracy (%)")
ax.set_title("Six nets and one cascade of them, 797 digits")

last = len(row.members) - 1
lines = below.subplots(2, 8)
for line, (stage, role) in zip(
    lines, [(0, "exit first"), (last, "need the last net")], strict=True
):
    rows = np.flatnonzero(details.exit_stage == stage)
    line[0].set_title(f"{len(rows) / len(test):.1%} {role}", loc="left", fontsize=12)
    for axis, row_number in zip(line, rows, strict=False):
        wrong = details.label[row_number] != y[test][row_number]
        axis.imshow(images[test][row_number, 0], cmap="Reds" if wrong else "gray_r")
        axis.set_axis_off()
plt.show()
