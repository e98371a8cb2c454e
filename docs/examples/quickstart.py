"""
Quickstart: easy rows cheaply, hard rows well
=============================================

Three ordinary classifiers of two data sets that scikit-learn carries, from a linear model to a
support vector machine or a large forest. Each alone, all of them averaged, and run as a cascade
that stops as soon as it is sure. ``make demo`` runs this file.
"""

# %%
# A cascade is a list of classifiers, from cheap to dear. ``fit`` trains them, measures what a row
# costs in each, and finds the thresholds from out-of-fold predictions.

from pathlib import Path

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from sklearn_cascade import AveragingEnsemble, CascadeClassifier

linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
support_vectors = make_pipeline(StandardScaler(with_std=False), SVC(C=10, gamma=0.001))
digit_members = [
    ("linear", linear),
    ("trees", ExtraTreesClassifier(300, random_state=0)),
    ("svm", CalibratedClassifierCV(support_vectors, ensemble=False)),
]

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.4, random_state=0, stratify=y)
cascade = CascadeClassifier(digit_members, costs="measured", n_jobs=2).fit(X_train, y_train)
print(cascade.cost_report(X_test, y_test))

# %%
# One split of 1,797 rows is a small sample. Below, every row of both sets is answered once by
# models that never saw it: five outer folds, each with its own training, measuring and tuning
# inside. On the smaller set the thresholds are to hold the log loss: among 455 rows, counts of
# right answers are too coarse a guide.

network = make_pipeline(StandardScaler(), MLPClassifier((100,), max_iter=1000, random_state=0))
table_members = [
    ("linear", linear),
    ("network", network),
    ("forest", RandomForestClassifier(300, random_state=0)),
]


TRADE_OFF = [0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, np.inf]


def outer_folds(members, X, y, scoring):
    """Return accuracy and microseconds per row of each way to answer, over five folds."""
    folds = []
    for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(X, y):
        ensemble = AveragingEnsemble(members, costs="measured", n_jobs=2)
        cascade = CascadeClassifier(members, scoring=scoring, costs="measured", n_jobs=2)
        fold = {}
        for name, committee in (("average", ensemble), ("cascade", cascade)):
            committee.fit(X[train], y[train])
            report = committee.cost_report(X[test], y[test], scoring="accuracy")
            fold[name] = (report.score, report.mean_cost)
        for name, *point in zip(
            report.names, report.member_scores, report.member_costs, strict=True
        ):
            fold[name] = tuple(point)
        for threshold in TRADE_OFF:  # other operating points need no refit
            other = cascade.with_thresholds(threshold).predict_details(X[test])
            fold[threshold] = (np.mean(other.label == y[test]), other.cost.mean())
        folds.append(fold)
    # The median over the folds: a busy moment of the machine spoils one of them only.
    return {
        name: (
            np.mean([fold[name][0] for fold in folds]),
            np.median([fold[name][1] for fold in folds]) * 1e6,
        )
        for name in folds[0]
    }


results = {
    "digits (1,797 rows, 10 classes)": outer_folds(digit_members, X, y, "accuracy"),
    "breast cancer (569 rows, 2 classes)": outer_folds(
        table_members, *load_breast_cancer(return_X_y=True), "neg_log_loss"
    ),
}
for title, found in results.items():
    named = {name: point for name, point in found.items() if isinstance(name, str)}
    print(f"\n{title}: every row untouched, five outer folds")
    print(f"{'':10}{'accuracy':>10}{'µs per row':>12}")
    for name, (score, cost) in sorted(named.items(), key=lambda item: item[1][1]):
        print(f"{name:10}{score:10.4f}{cost:12.2f}")
    singles = named.keys() - {"average", "cascade"}
    best = max(singles, key=lambda name: (named[name][0], -named[name][1]))
    for name in ("average", "cascade"):
        points = 100 * (named[name][0] - named[best][0])
        change = named[best][1] / named[name][1]
        times = f"{change:.1f}x cheaper" if change > 1 else f"{1 / change:.1f}x dearer"
        print(f"{name} against the best single model ({best}): {points:+.2f} points, {times}")

# %%
# The picture: up is more accurate, left is cheaper.

try:
    import matplotlib
except ImportError:
    print("\nNo picture: pip install 'sklearn-cascade[plot]' brings matplotlib")
else:
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for panel, (title, found) in zip(panels, results.items(), strict=True):
        curve = np.array([found[threshold] for threshold in TRADE_OFF])
        panel.plot(curve[:, 1], curve[:, 0], color="#e6b0aa", label="the cascade, other thresholds")
        named = {name: point for name, point in found.items() if isinstance(name, str)}
        for name, (score, cost) in named.items():
            color = {"cascade": "#c0392b", "average": "#2c3e50"}.get(name, "#7f8c8d")
            committee = name in ("cascade", "average")
            panel.scatter(cost, score, s=140 if name == "cascade" else 60, color=color, zorder=3)
            panel.annotate(
                name,
                (cost, score),
                xytext=(0, 12) if committee else (-9, -4),
                textcoords="offset points",
                ha="center" if committee else "right",
                color=color,
                weight="bold" if committee else "normal",
            )
        panel.legend(loc="lower right")
        panel.set(title=title, xscale="log", xlabel="µs per row (measured)", ylabel="accuracy")
        panel.margins(0.2)
        panel.grid(alpha=0.3)
    place = Path("output", "quickstart.png")
    place.parent.mkdir(exist_ok=True)
    figure.savefig(place, dpi=120)
    print(f"\nThe picture is in {place.resolve()}")
