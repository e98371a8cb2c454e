"""
Saturated confidences and temperature scaling
=============================================

Naive Bayes treats 64 pixels as independent evidence, so that for four digits in five its largest
probability is 1 to within a millionth. Some of these predictions are wrong, and no threshold can
separate them, as their confidences are all equal. Dividing the log probabilities by a temperature
tells them apart again.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB

from sklearn_cascade import search_cascades

X, y = load_digits(return_X_y=True)
X_train, X, y_train, y = train_test_split(X, y, test_size=0.6, random_state=0, stratify=y)
X_valid, X_search, y_valid, y_search = train_test_split(
    X, y, test_size=0.6, random_state=0, stratify=y
)
bayes = GaussianNB(var_smoothing=1e-3).fit(X_train, y_train)
trees = ExtraTreesClassifier(300, random_state=0).fit(X_train, y_train)

# %%
# The temperature is the one with the lowest log loss on rows that Bayes was not fitted on. It
# changes no label. It has to be applied to the logarithms: probabilities already rounded to 1 and 0
# cannot be recovered.


def scaled(X, temperature):
    """Return the probabilities of Bayes at a temperature."""
    return softmax(bayes.predict_joint_log_proba(X) / temperature, axis=1)


temperature = minimize_scalar(
    lambda t: log_loss(y_valid, scaled(X_valid, t)), bounds=(1, 100), method="bounded"
).x
share = np.mean(bayes.predict_proba(X_search).max(axis=1) > 1 - 1e-6)
print(f"{share:.0%} are 1 to within a millionth; temperature {temperature:.1f}")

probabilities = {"unscaled": bayes.predict_proba(X_search), "scaled": scaled(X_search, temperature)}
colors = {"unscaled": "#777777", "scaled": "#0072B2"}
fig, (above, below) = plt.subplots(2, 1, figsize=(6, 7.4))
for name, proba in probabilities.items():
    print(f"{name}: log loss {log_loss(y_search, proba):.2f}")
    above.hist(
        proba.max(axis=1), bins=np.linspace(0, 1, 26), color=colors[name], alpha=0.7, label=name
    )
    front = search_cascades(
        [proba, trees.predict_proba(X_search)],
        y_search,
        names=["bayes", "trees"],
        costs=[1, 40],
        combine="last",
    )
    points = [(row.mean_cost, 100 * row.score) for row in front if row.kind != "ensemble"]
    below.plot(*np.transpose(sorted(points)), ".-", color=colors[name], label=name)
above.set(xlabel="Largest probability", ylabel="Rows")
below.set(xlabel="Cost per row", ylabel="Accuracy (%)")
above.legend()
below.legend(loc="lower right")
plt.show()

# %%
# Below: all thresholds of a cascade of Bayes and trees; at the right end the trees predict every
# row. Unscaled, Bayes leaves a gap that no threshold reaches. Scaled, it fills most of the gap,
# though where few rows go on it ranks them no better. If confidences are not saturated, a
# temperature hardly changes what a cascade gains.
