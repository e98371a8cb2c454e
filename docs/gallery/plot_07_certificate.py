"""
A certified accuracy loss, and its cost
=======================================

``certify`` tests thresholds, from cautious to bold, on rows that neither members nor tuning have
seen. It stops at the first whose loss, against no early exit, is not certain to be small
enough. The rows come from a generator, so that there are enough to check the guarantee.
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
train, certify, new = np.split(np.arange(len(y)), [3000, 8000])
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
certificates = {
    epsilon: cascade.certify(X[certify], y[certify], epsilon=epsilon, delta=0.1)
    for epsilon in (0.002, 0.005, 0.01, 0.02, 0.04)
}
print(certificates[0.01])

# %%
# The certified limit and the loss on 16,000 new rows: the loss stays below the limit, by a margin
# that comes from certifying on a few thousand rows. The larger the limit, the less a row costs.

full = cascade.with_thresholds(np.inf).score(X[new], y[new])
fig, (above, below) = plt.subplots(2, 1, figsize=(6, 7), sharex=True)
for epsilon, report in certificates.items():
    details = cascade.with_thresholds(report).predict_details(X[new])
    loss = full - np.mean(details.label == y[new])
    above.plot(100 * epsilon, 100 * loss, "o", color="#0072B2", markersize=9)
    below.plot(100 * epsilon, details.cost.mean(), "o", color="#0072B2", markersize=9)
    print(f"epsilon {epsilon:.1%}: loss {loss:+.2%}, cost {details.cost.mean():.1f} of 51")
above.fill_between([0, 4.4], [0, 4.4], 5, color="#D55E00", alpha=0.15)
above.text(1.1, 2.6, "limit exceeded", color="#D55E00")
above.set(xlim=(0, 4.4), ylim=(-0.3, 4.4), ylabel="Loss on new rows (points)")
below.axhline(51, color="black", linewidth=1)
below.set(
    xlim=(0, 4.4),
    ylim=(0, 55),
    xlabel="Certified limit (points)",
    ylabel="Cost per row",
)
below.text(0.1, 52, "no early exit", fontsize=9)
plt.show()
