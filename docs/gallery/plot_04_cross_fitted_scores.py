"""
Optimistic and cross-fitted scores
==================================

A score is optimistic on the rows that it was chosen on. ``tuned_score_`` is taken on the rows that
chose the thresholds; for ``cross_fitted_score_`` each fold is scored with thresholds chosen on the
other folds. Three fixed models, tuned on many small samples, show how far either estimate is from
the score on the remaining rows.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import BernoulliNB
from sklearn.tree import DecisionTreeClassifier

from sklearn_cascade import CascadeClassifier, PrefitClassifier

X, y = load_digits(return_X_y=True)
X_train, X, y_train, y = train_test_split(X, y, test_size=0.8, random_state=0, stratify=y)
models = {
    "bayes": BernoulliNB(binarize=7),
    "tree": DecisionTreeClassifier(max_depth=9, min_samples_leaf=4, random_state=0),
    "linear": LogisticRegression(C=0.001, max_iter=1000),
}
# Each model predicts all rows once; from then on its member looks rows up by their number.
members = [
    (name, PrefitClassifier(model.fit(X_train, y_train).predict_proba(X).__getitem__, range(10)))
    for name, model in models.items()
]
rows = np.arange(len(y))

misses = {size: [] for size in (60, 120, 240, 480)}
for size, found in misses.items():
    for seed in range(30):
        few, rest = train_test_split(rows, train_size=size, random_state=seed, stratify=y)
        cascade = CascadeClassifier(members, costs=[1, 1, 10]).fit(few, y[few])
        score = cascade.score(rest, y[rest])
        found.append((cascade.tuned_score_ - score, cascade.cross_fitted_score_ - score))
    tuned, cross_fitted = 100 * np.mean(found, axis=0)
    print(
        f"{size:3} rows, mean error of the estimate: tuned {tuned:+.1f} points, "
        f"cross-fitted {cross_fitted:+.1f}"
    )

# %%
# Each point is one sample. The optimism shrinks as the number of rows grows; the spread between
# samples remains, and no estimate removes it.

fig, ax = plt.subplots()
for shift, name, color in [(-0.17, "tuned", "#D55E00"), (0.17, "cross-fitted", "#0072B2")]:
    for position, found in enumerate(misses.values()):
        column = 100 * np.array(found)[:, int(shift > 0)]
        spread = position + shift + np.linspace(-0.1, 0.1, len(column))
        ax.plot(spread, column, "o", color=color, alpha=0.4, markersize=5)
        ax.hlines(
            column.mean(),
            position + shift - 0.14,
            position + shift + 0.14,
            color=color,
            linewidth=4,
            label=f"{name}, bar: mean of {len(column)}" if not position else None,
        )
ax.axhline(0, color="black", linewidth=1)
ax.set_xticks(range(len(misses)), [f"{size} rows" for size in misses])
ax.set(ylabel="Estimate minus score on the rest (points)")
ax.legend()
plt.show()
