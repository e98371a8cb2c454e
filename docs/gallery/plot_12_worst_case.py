"""
Limiting the worst-case cost
============================

The mean cost determines the bill, the worst case the longest wait. A cascade of four nets is cheap
on average, but the rows that reach its last stage pay for all four. ``max_worst_cost`` restricts
the search to cascades whose most expensive row stays within a limit.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from sklearn_cascade import OnnxClassifier, search_cascades

folder = Path("..", "examples", "digit_nets")
rows = np.load(folder / "split.npz")["valid"]
digits = load_digits()
images = digits.images[rows, None].astype("float32")
nets = {path.stem.removeprefix("digits_"): OnnxClassifier(path) for path in folder.glob("*.onnx")}
probabilities = [net.predict_proba(images) for net in nets.values()]
options = {
    "names": list(nets),
    "costs": {name: net.multiply_adds_ / 1000 for name, net in nets.items()},
    "cost_unit": "k multiply-adds",
    "scoring": "neg_log_loss",
}
limits = {"no limit": None, "at most 250 thousand": 250, "at most 60 thousand": 60}
fronts = {
    name: search_cascades(probabilities, digits.target[rows], max_worst_cost=limit, **options)
    for name, limit in limits.items()
}

# %%
# The best log loss for each mean cost, on the 500 digits that were searched. A limit of 250
# thousand loses little, since several nets that few rows need can be replaced by one. A limit of 60
# thousand excludes the larger nets altogether, and no mean cost makes up for that.

fig, ax = plt.subplots(figsize=(6, 4.8))
colors = ["#0072B2", "#E69F00", "#009E73"]
for (name, front), color in zip(fronts.items(), colors, strict=True):
    within = front.worst_cost <= (limits[name] or np.inf)
    cost, loss = front.mean_cost[within], -front.score[within]
    order = np.argsort(cost)
    ax.step(cost[order], np.minimum.accumulate(loss[order]), where="post", color=color, label=name)
singles = [row for row in fronts["no limit"] if row.kind == "single"]
ax.plot([row.mean_cost for row in singles], [-row.score for row in singles], "ko", label="one net")
for row in singles:
    point = row.mean_cost, -row.score
    ax.annotate(row.label, point, (7, 3), textcoords="offset points", fontsize=10)
ax.set(xscale="log", yscale="log", xlabel="Mean cost (thousand multiply-adds)", ylabel="Log loss")
ax.set(xlim=(1, 3000), yticks=[0.015, 0.02, 0.03, 0.05, 0.1])
ax.set_yticks([], minor=True)
ax.set_yticklabels(["0.015", "0.02", "0.03", "0.05", "0.1"])
ax.legend(title="worst case")
plt.show()

# %%
# The cost of the best cascade or ensemble within each limit.

for name, front in fronts.items():
    row = front.select(max_cost=2000)
    print(
        f"{name}: {row.label}, log loss {-row.score:.3f}, "
        f"mean {row.mean_cost:.0f}, worst {row.worst_cost:,.0f} thousand"
    )
