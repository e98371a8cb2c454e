"""
One forest, most of it unasked
==============================

A forest of 500 trees, split into parts of itself. A row leaves once the trees left are unlikely to
turn its label: by an inequality that holds for every row, or by the lead that keeps the labels of
some rows without answers, which may differ in one of fifty. Probabilities of rows that leave early
are those of the few trees that ran.
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
    "tuned lead": CascadeClassifier.from_ensemble(forest, max_disagreement=0.02, X_tune=X_tune),
}
whole = forest.predict(X_test)
print(f"the forest: 500 trees a row, log loss {log_loss(y_test, forest.predict_proba(X_test)):.3f}")
for name, cascade in cascades.items():
    details = cascade.predict_details(X_test)
    print(
        f"{name}: {details.cost.mean():.0f} trees a row, {np.sum(details.label != whole)} of "
        f"{len(whole)} labels differ, log loss {log_loss(y_test, details.proba):.3f}"
    )

# %%
# Above: how many labels differ where the cascade asks so many trees, and where the forest is simply
# cut short. Below: how many trees the rows ask for.

votes = np.cumsum([tree.predict_proba(X_test) for tree in forest.estimators_], axis=0)
cuts = np.unique(np.geomspace(8, 499, 50).astype(int))
cut = [np.mean(votes[count - 1].argmax(axis=1) != whole) for count in cuts]
fig, (above, below) = plt.subplots(2, 1, figsize=(6, 7.4))
above.plot(cuts, 100 * np.array(cut), color="#777777", label="the forest cut short")
tried = [
    cascades["tuned lead"].with_thresholds(lead).predict_details(X_test)
    for lead in np.linspace(0.5, 8, 31)
]
above.plot(
    [details.cost.mean() for details in tried],
    [100 * np.mean(details.label != whole) for details in tried],
    color="#0072B2",
    label="the lead at any threshold",
)
for (name, cascade), color in zip(cascades.items(), ["#009E73", "#D55E00"], strict=True):
    details = cascade.predict_details(X_test)
    point = details.cost.mean(), 100 * np.mean(details.label != whole)
    above.plot(*point, "*", color=color, markersize=16, label=name)
    paid, counts = np.unique(details.cost, return_counts=True)
    asking = 100 * counts[::-1].cumsum()[::-1] / len(whole)
    below.step([0, *paid], [100, *asking], where="pre", color=color, label=name)
above.set(xscale="log", xlabel="Trees asked, mean", ylabel="Labels that differ (%)")
below.set(ylim=(0, 103), xlabel="Trees", ylabel="Rows still asking (%)")
for ax in (above, below):
    ax.legend()
plt.show()
