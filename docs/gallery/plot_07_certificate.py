"""
What a certificate promises, and what it costs
==============================================

``certify`` tests thresholds, from cautious to bold, on rows that neither members nor tuning have
seen, and stops where it can no longer be sure that the loss against no early exit is small enough.
The rows come from a generator, so that there are enough to check the promise on.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cascade import CascadeClassifier

X, y = make_classification(
    24000, n_features=20, n_informative=10, n_classes=3, class_sep=1.6, random_state=0
)
train, certification, new = np.split(np.arange(len(y)), [3000, 8000])
cascade = CascadeClassifier(
    [
        ("linear", LogisticRegression()),
        (
            "net",
            make_pipeline(StandardScaler(), MLPClassifier((100,), max_iter=60, random_state=0)),
        ),
    ],
    costs=[1, 50],
    combine="last",
    cv=3,
).fit(X[train], y[train])
promises = {
    epsilon: cascade.certify(X[certification], y[certification], epsilon=epsilon, delta=0.1)
    for epsilon in (0.002, 0.005, 0.01, 0.02, 0.04)
}
print(promises[0.01])

# %%
# Each promise, and what 16,000 new rows make of it: the loss stays below, with a margin that a few
# thousand rows cost; the more one is willing to lose, the less a row costs.

full = cascade.with_thresholds(np.inf).score(X[new], y[new])
fig, (above, below) = plt.subplots(2, 1, figsize=(6, 7), sharex=True)
for epsilon, report in promises.items():
    details = cascade.with_thresholds(report).predict_details(X[new])
    loss = full - np.mean(details.label == y[new])
    above.plot(100 * epsilon, 100 * loss, "o", color="#0072B2", markersize=9)
    below.plot(100 * epsilon, details.cost.mean(), "o", color="#0072B2", markersize=9)
    print(f"epsilon {epsilon:.1%}: lost {loss:+.2%}, cost {details.cost.mean():.1f} of 51")
above.fill_between([0, 4.4], [0, 4.4], 5, color="#D55E00", alpha=0.15)
above.text(1.1, 2.6, "promise broken", color="#D55E00")
above.set(xlim=(0, 4.4), ylim=(-0.3, 4.4), ylabel="Lost on new rows (points)")
below.axhline(51, color="black", linewidth=1)
below.set(xlim=(0, 4.4), ylim=(0, 55), xlabel="Promised at most (points)", ylabel="Cost per row")
below.text(0.1, 52, "no early exit", fontsize=9)
plt.show()
