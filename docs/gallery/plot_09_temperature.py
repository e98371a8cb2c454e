"""
When a model says "certain" and is not
======================================

Naive Bayes multiplies 64 pixels as if each were news, so that on four digits in five its largest
probability is 1 up to a millionth. Some of these are wrong, and no threshold can tell which, as all
are equally certain. Divided by a temperature, the same logarithms tell them apart again.
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
X_valid, X_test, y_valid, y_test = train_test_split(X, y, test_size=0.6, random_state=0, stratify=y)
bayes = GaussianNB(var_smoothing=1e-3).fit(X_train, y_train)
trees = ExtraTreesClassifier(300, random_state=0).fit(X_train, y_train)

# %%
# The temperature that makes the log loss least, on rows that Bayes was not fitted on. It changes no
# label. What it needs are the logarithms: from probabilities already rounded to 1 and 0, nothing
# comes back.


def cooled(X, temperature):
    """Return the probabilities of Bayes at a temperature."""
    return softmax(bayes.predict_joint_log_proba(X) / temperature, axis=1)


temperature = minimize_scalar(
    lambda t: log_loss(y_valid, cooled(X_valid, t)), bounds=(1, 100), method="bounded"
).x
share = np.mean(bayes.predict_proba(X_test).max(axis=1) > 1 - 1e-6)
print(f"{share:.0%} are certain up to a millionth; temperature {temperature:.1f}")

answers = {"as it is": bayes.predict_proba(X_test), "cooled": cooled(X_test, temperature)}
colors = {"as it is": "#777777", "cooled": "#0072B2"}
fig, (above, below) = plt.subplots(2, 1, figsize=(6, 7.4))
for name, proba in answers.items():
    print(f"{name}: log loss {log_loss(y_test, proba):.2f}")
    above.hist(
        proba.max(axis=1), bins=np.linspace(0, 1, 26), color=colors[name], alpha=0.7, label=name
    )
    front = search_cascades(
        [proba, trees.predict_proba(X_test)],
        y_test,
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
# Below: every threshold of a cascade of Bayes and trees; at the end of the line the trees answer
# all. As it is, Bayes leaves a gap that no threshold reaches; cooled, it fills most of the gap,
# though where few rows go on it ranks them no better. Where confidences are not saturated, a
# temperature hardly changes what a cascade gains.
