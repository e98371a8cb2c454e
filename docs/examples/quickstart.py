"""
Quickstart: single models, an ensemble and a cascade
====================================================

Three ordinary classifiers on each of two data sets that come with scikit-learn, from a linear model
to a support vector machine or a large forest: each alone, averaged as an ensemble, and run as a
cascade that stops at the first confident member. ``make demo`` runs this file.
"""

# %%
# A cascade is a list of classifiers, from cheap to expensive. ``fit`` trains them, measures what a
# row costs in each, and finds the thresholds from out-of-fold predictions.

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

from sklearn_cascade import AveragingEnsemble, CascadeClassifier, latency_report

linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
support_vectors = make_pipeline(StandardScaler(with_std=False), SVC(C=10, gamma=0.001))
digit_members = [
    ("linear", linear),
    ("trees", ExtraTreesClassifier(300, random_state=0)),
    ("svm", CalibratedClassifierCV(support_vectors, ensemble=False)),
]

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.4, random_state=0, stratify=y)
print(f"Fitting a cascade on {len(y_train):,} rows of the digits ...", flush=True)
cascade = CascadeClassifier(digit_members, costs="measured", n_jobs=2).fit(X_train, y_train)
print(f"\nTable 1. Digits, one split: fitted on {len(y_train):,} rows, scored on {len(y_test):,}\n")
print(cascade.cost_report(X_test, y_test))
print("±: half of the 95 % confidence interval of the mean cost.")

# %%
# Those costs are of large batches. A service that gets one row at a time pays the overhead of a
# call for every row, so the same cascade is also timed with single rows.

print("\nTiming single rows ...", flush=True)
single_rows = latency_report(cascade, X_test, batch_sizes=[1], n_repeats=200).measurements
print("\nTable 2. Digits, the cascade of table 1, one row per call\n")
print(f"{'':14}{'median µs':>12}{'mean µs':>12}")
for row in single_rows:
    print(f"{row.name or row.kind:14}{1e6 * row.median:12,.0f}{1e6 * row.mean:12,.0f}")
mean = {row.name or row.kind: row.mean for row in single_rows}
ratio = mean["cascade"] / mean["svm"]
share = np.mean(cascade.predict_details(X_test).exit_stage > 0)
print(
    f"\ncascade against the best member alone (svm): {ratio:.2f} of its mean time, "
    f"{'saves' if ratio < 0.95 else 'does not pay'}"
    f"\n{share:.0%} of the rows go on to the trees, which are slow in calls of a single row."
)

# %%
# One split is a small sample: one of its 719 test rows is 0.14 points. In tables 3 and 4 every row
# is predicted once, by models that never saw it: five outer folds, each with its own training,
# measuring and tuning. On the smaller set the thresholds keep the log loss instead of the accuracy:
# with 455 rows, counting correct predictions is too coarse.

network = make_pipeline(StandardScaler(), MLPClassifier((100,), max_iter=1000, random_state=0))
table_members = [
    ("linear", linear),
    ("network", network),
    ("forest", RandomForestClassifier(300, random_state=0)),
]


THRESHOLDS = [0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, np.inf]


def outer_folds(members, X, y, scoring):
    """Return accuracy and microseconds per row of each model and threshold, over five folds."""
    folds = []
    for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(X, y):
        print(f"  fold {len(folds) + 1} of 5", flush=True)
        ensemble = AveragingEnsemble(members, costs="measured", n_jobs=2)
        cascade = CascadeClassifier(members, scoring=scoring, costs="measured", n_jobs=2)
        fold = {}
        for name, model in (("average", ensemble), ("cascade", cascade)):
            model.fit(X[train], y[train])
            report = model.cost_report(X[test], y[test], scoring="accuracy")
            fold[name] = (report.score, report.mean_cost)
        for name, *point in zip(
            report.names, report.member_scores, report.member_costs, strict=True
        ):
            fold[name] = tuple(point)
        for threshold in THRESHOLDS:  # other operating points need no refit
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


data_sets = {
    "Digits (1,797 rows, 10 classes)": (digit_members, X, y, "accuracy"),
    "Breast cancer (569 rows, 2 classes)": (
        table_members,
        *load_breast_cancer(return_X_y=True),
        "neg_log_loss",
    ),
}
results = {}
for number, (title, arguments) in enumerate(data_sets.items(), start=3):
    print(f"\n{title}: fitting and tuning in five outer folds ...", flush=True)
    found = results[title] = outer_folds(*arguments)
    named = {name: point for name, point in found.items() if isinstance(name, str)}
    print(f"\nTable {number}. {title}, five outer folds, batches\n")
    print(f"{'':10}{'accuracy':>10}{'µs per row':>12}")
    for name, (score, cost) in sorted(named.items(), key=lambda item: item[1][1]):
        print(f"{name:10}{score:10.4f}{cost:12.2f}")
    print()
    singles = named.keys() - {"average", "cascade"}
    best = max(singles, key=lambda name: (named[name][0], -named[name][1]))
    for name in ("average", "cascade"):
        points = 100 * (named[name][0] - named[best][0])
        change = named[best][1] / named[name][1]
        times = (
            f"{change:.1f} times cheaper" if change > 1 else f"{1 / change:.1f} times as expensive"
        )
        print(f"{name} against the best single model ({best}): {points:+.2f} points, {times}")

print(
    "\nTables 1 and 3 differ as each fit tunes its own thresholds: on 1,078 rows in table 1, on"
    "\nsome 1,437 in each fold of table 3, which also scores all 1,797 rows instead of 719."
)

# %%
# The picture: up is more accurate, left is cheaper.

try:
    import matplotlib
except ImportError:
    print("\nNo picture: pip install 'sklearn-cascade[plot]' brings matplotlib")
else:
    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    from matplotlib.patheffects import withStroke

    figure, panels = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for panel, (title, found) in zip(panels, results.items(), strict=True):
        curve = np.array([found[threshold] for threshold in THRESHOLDS])
        panel.plot(curve[:, 1], curve[:, 0], color="#e6b0aa", label="the cascade, other thresholds")
        named = {name: point for name, point in found.items() if isinstance(name, str)}
        for name, (score, cost) in named.items():
            color = {"cascade": "#c0392b", "average": "#2c3e50"}.get(name, "#7f8c8d")
            combined = name in ("cascade", "average")
            panel.scatter(cost, score, s=140 if name == "cascade" else 60, color=color, zorder=3)
            panel.annotate(
                name,
                (cost, score),
                xytext=(0, 12) if combined else (0, -16),
                textcoords="offset points",
                ha="center",
                color=color,
                weight="bold" if combined else "normal",
                path_effects=[withStroke(linewidth=3, foreground="white")],
                zorder=4,
            )
        panel.legend(loc="lower center")
        panel.set(title=title, xscale="log", xlabel="µs per row (measured)", ylabel="accuracy")
        panel.margins(0.2)
        panel.grid(alpha=0.3)
    path = Path("output", "quickstart.png")
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f"\nThe picture is in {path.resolve()}")
