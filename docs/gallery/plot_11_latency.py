"""
Latency by batch size
=====================

A cascade saves work of its members and adds some of its own. ``latency_report`` times it at several
batch sizes, beside each member and beside all members without early exit, on the machine that built
this page.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FuncFormatter
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cascade import CascadeClassifier, latency_report

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.4, random_state=0, stratify=y)
cascade = CascadeClassifier(
    [
        ("linear", make_pipeline(StandardScaler(), LogisticRegression(C=0.1))),
        ("trees", ExtraTreesClassifier(200, random_state=0)),
    ],
    costs="measured",
    random_state=0,
).fit(X_train, y_train)
report = latency_report(cascade, X_test, batch_sizes=(1, 8, 64, 512), n_repeats=20)
print(report)

# %%
# Each line is the mean time per row. The gain is largest for single rows, most of which never reach
# the expensive member, and smallest for batches of a few dozen: one hard row among them is enough
# for a call of the trees, and most of the time of such a call is overhead.

rows = report.rows()
fig, ax = plt.subplots()
styles = {
    "linear": ("#0072B2", 1.5),
    "trees": ("#009E73", 1.5),
    "no early exit": ("black", 1.5),
    "cascade": ("#D55E00", 3),
}
for kind, name in dict.fromkeys((row["kind"], row["name"]) for row in rows):
    size, mean = np.transpose(
        [
            (row["batch_size"], 1e6 * row["mean"] / row["batch_size"])
            for row in rows
            if (row["kind"], row["name"]) == (kind, name)
        ]
    )
    color, width = styles[name or kind]
    ax.loglog(size, mean, "o-", color=color, linewidth=width, label=name or kind)
ax.set(xlabel="Rows per call", ylabel="Microseconds per row")
for axis in (ax.xaxis, ax.yaxis):
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
ax.legend()
plt.show()
print(cascade.cost_report(X_test, y_test))
