"""
Early exit within one forest
============================

A forest of 500 trees becomes a cascade of parts of itself. A row exits once the remaining trees are
unlikely to change its label. The threshold of the vote margin comes from an inequality that holds
for every row, or is tuned on unlabelled rows so that at most one label in fifty differs from the
forest's. The probabilities of rows that exit early are those of the few trees that ran.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from sklearn_cascade import CascadeClassifier

X, y = load_digits(return_X_y=True)
X_train, X, y_train, y = train_test_split(X, y, test_size=0.6, random_state=0, stratify=y)
X_tune, X_test, _, y_test = train_test_split(X, y, test_size=0.6, random_state=0, stratify=y)
forest = RandomForestClassifier(500, random_state=0).fit(X_train, y_train)
cascades = {
    "inequality": CascadeClassifier.from_ensemble(forest),
    "tuned margin": CascadeClassifier.from_ensemble(forest, max_disagreement=0.02, X_tune=X_tune),
}
full = forest.predict(X_test)
print(
    f"full forest: 500 trees per row, log loss {log_loss(y_test, forest.predict_proba(X_test)):.3f}"
)
for name, cascade in cascades.items():
    details = cascade.predict_details(X_test)
    print(
        f"{name}: {details.cost.mean():.0f} trees per row, {np.sum(details.label != full)} of "
        f"{len(full)} labels differ, log loss {log_loss(y_test, details.proba):.3f}"
    )

# %%
# Above: labels that differ from the full forest's against the mean number of trees, for the cascade
# and for a truncated forest. Below: the share of rows still open after each number of trees.

votes = np.cumsum([tree.predict_proba(X_test) for tree in forest.estimators_], axis=0)
cuts = np.unique(np.geomspace(8, 499, 50).astype(int))
cut = [np.mean(votes[count - 1].argmax(axis=1) != full) for count in cuts]
fig, (above, below) = plt.subplots(2, 1, figsize=(6, 7.4))
above.plot(cuts, 100 * np.array(cut), color="#777777", label="truncated forest")
tried = [
    cascades["tuned margin"].with_thresholds(margin).predict_details(X_test)
    for margin in np.linspace(0.5, 8, 31)
]
above.plot(
    [details.cost.mean() for details in tried],
    [100 * np.mean(details.label != full) for details in tried],
    color="#0072B2",
    label="vote margin, other thresholds",
)
for (name, cascade), color in zip(cascades.items(), ["#009E73", "#D55E00"], strict=True):
    details = cascade.predict_details(X_test)
    point = details.cost.mean(), 100 * np.mean(details.label != full)
    above.plot(*point, "*", color=color, markersize=16, label=name)
    paid, counts = np.unique(details.cost, return_counts=True)
    still_open = 100 * counts[::-1].cumsum()[::-1] / len(full)
    below.step([0, *paid], [100, *still_open], where="pre", color=color, label=name)
above.set(xscale="log", xlabel="Mean number of trees", ylabel="Labels that differ (%)")
below.set(ylim=(0, 103), xlabel="Trees", ylabel="Rows still open (%)")
for ax in (above, below):
    ax.legend()
plt.show()
