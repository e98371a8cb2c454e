"""
A map of where rows exit
========================

Two features, three classes, and a map of which member makes the prediction where. A linear model is
cheap; a support vector machine is thirty times more expensive and follows the curves. The cascade
runs it along the class borders, and nowhere else.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_moons
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from sklearn_cascade import CascadeClassifier

X, y = make_moons(2400, noise=0.17, random_state=0)
third = np.random.default_rng(0).normal([2.2, 1.3], 0.25, size=(800, 2))
X, y = np.concatenate([X, third]), np.concatenate([y, np.full(800, 2)])
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)

cascade = CascadeClassifier(
    [
        ("linear", LogisticRegression()),
        ("svm", CalibratedClassifierCV(SVC(C=10), ensemble=False)),
    ],
    costs=[1, 30],
    random_state=0,
)
cascade.fit(X_train, y_train)
report = cascade.cost_report(X_test, y_test)
print(report)

# %%
# Above: the predictions. Below: the exit stage. The support vector machine runs only in the dark
# part.

x0, x1 = np.meshgrid(np.linspace(-1.6, 3.2, 240), np.linspace(-1.2, 2.3, 180))
grid = cascade.predict_details(np.column_stack([x0.ravel(), x1.ravel()]))
colors = ["#0072B2", "#E69F00", "#009E73"]
fig, (above, below) = plt.subplots(2, 1, figsize=(6, 7.6), sharex=True)
pale = ListedColormap(["#cfe3f0", "#fae5bf", "#c7e8dd"])
above.pcolormesh(x0, x1, grid.label.reshape(x0.shape), cmap=pale)
below.pcolormesh(x0, x1, grid.exit_stage.reshape(x0.shape), cmap=ListedColormap(["w", "#777777"]))
for ax, size in [(above, 6), (below, 3)]:
    ax.scatter(*X_test.T, c=[colors[k] for k in y_test], s=size)
    ax.grid(False)
above.set_title(f"accuracy {report.score:.1%}; linear alone {report.member_scores[0]:.1%}")
below.set_title(f"{report.exit_rates[1]:.0%} of the rows run the svm")
plt.show()
