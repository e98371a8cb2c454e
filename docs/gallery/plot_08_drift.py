"""
Drift detected early, and drift detected late
=============================================

A monitor watches, without labels, at which stage served rows exit and how confident the predictions
are. From day 15 on, one scanner fades and another adds noise.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cascade import CascadeClassifier, ExitMonitor

X, y = load_digits(return_X_y=True)
X_train, X, y_train, y = train_test_split(X, y, test_size=0.75, random_state=0, stratify=y)
X_calibration, X_served, _, y_served = train_test_split(X, y, test_size=0.5, random_state=0)
cascade = CascadeClassifier(
    [
        ("linear", make_pipeline(StandardScaler(), LogisticRegression())),
        ("trees", ExtraTreesClassifier(random_state=0)),
    ],
    costs=[1, 40],
).fit(X_train, y_train)

rng = np.random.default_rng(0)
scanners = {
    "healthy": lambda X, wear: X,
    "fades": lambda X, wear: X * (1 - 0.025 * wear),
    "noisy": lambda X, wear: np.clip(X + 0.25 * wear * rng.normal(size=X.shape), 0, 16),
}
days = np.arange(40)
evidence, right = {}, {}
for name, scan in scanners.items():
    monitor = ExitMonitor.from_estimator(cascade, X_calibration, window=400)
    evidence[name], right[name] = [], []
    for day in days:
        rows = rng.integers(len(X_served), size=80)
        details = cascade.predict_details(scan(X_served[rows], max(0, day - 14)))
        seen = monitor.update(details).summary()
        evidence[name].append(seen["evidence"] / seen["limit"])
        right[name].append(100 * np.mean(details.label == y_served[rows]))
print(monitor)

# %%
# The fading scanner is detected while nine in ten predictions are right. The noisy one is detected
# only when one in four is wrong, and looks healthier later on, because the linear model is as
# confident about noise as about digits. **The absence of an alarm proves nothing**, so have a small
# sample of served rows labelled. The window is short here, five days, which finds a large drift
# sooner; healthy rows raise no alarm.

colors = {"healthy": "#0072B2", "fades": "#D55E00", "noisy": "#777777"}
fig, (above, below) = plt.subplots(2, 1, figsize=(6, 6), sharex=True)
for name, color in colors.items():
    above.semilogy(days, evidence[name], color=color, label=name)
    below.plot(days, right[name], color=color, label=name)
    if max(evidence[name]) >= 1:
        alarm = int(np.argmax(np.array(evidence[name]) >= 1))
        below.plot(alarm, right[name][alarm], "*", color=color, markersize=16)
        below.annotate(
            f"alarm on day {alarm}",
            (alarm, right[name][alarm]),
            (-12, 18 - 44 * (name == "noisy")),
            textcoords="offset points",
            color=color,
            ha="right",
        )
above.axhline(1, color="black", linewidth=1, linestyle="--")
above.set(ylabel="Evidence / limit (1: alarm)", ylim=(1e-5, 1e8))
below.set(xlabel="Day", ylabel="Accuracy (%), not seen", ylim=(0, 119), yticks=range(0, 101, 20))
above.legend(loc="upper left")
plt.show()
