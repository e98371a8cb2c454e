"""
Learned confidence
==================

Naive Bayes is fast and often wrong, with the same confidence whether it is right or wrong. Its
largest probability says little; the probability that a prediction is right can be learned from
held-out rows.
"""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB

from sklearn_cascade import CascadeClassifier

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.4, random_state=0, stratify=y)
members = [("bayes", GaussianNB()), ("trees", ExtraTreesClassifier(200, random_state=0))]
cascades = {
    confidence: CascadeClassifier(
        members, costs=[1, 40], combine="last", confidence=confidence, random_state=0
    ).fit(X_train, y_train)
    for confidence in ["max_proba", "margin", "learned"]
}
colors = dict(zip(cascades, ["#777777", "#E69F00", "#0072B2"], strict=True))

# %%
# Above: each confidence at many thresholds, on rows that took no part. With the probabilities of
# Bayes, no threshold reaches a cost between 11 and that of running the trees on all rows. Below:
# the share of correct predictions of Bayes, for rows grouped by their confidence in steps of a
# tenth.

bayes_right = cascades["learned"].estimators_[0].predict(X_test) == y_test
tried = [-np.inf, *np.arange(0.3, 1, 0.05), *(1 - np.geomspace(0.02, 1e-8, 20)), np.inf]
fig, (above, below) = plt.subplots(2, 1, figsize=(6, 7.6))
for name, cascade in cascades.items():
    found = [cascade.with_thresholds(threshold).predict_details(X_test) for threshold in tried]
    cost = [details.cost.mean() for details in found]
    score = [100 * np.mean(details.label == y_test) for details in found]
    above.plot(cost, score, ".-", color=colors[name], label=name)
for name in ["max_proba", "learned"]:
    edges = np.arange(0.2, 1.01, 0.1)
    stays = [
        cascades[name].with_thresholds(edge).predict_details(X_test).exit_stage == 0
        for edge in edges[:-1]
    ]
    stays.append(np.zeros(len(y_test), bool))
    bins = [low & ~high for low, high in pairwise(stays)]
    share = [100 * np.mean(bayes_right[rows]) if rows.sum() > 9 else np.nan for rows in bins]
    size = [20 + 300 * rows.mean() for rows in bins]
    below.scatter(100 * edges[:-1] + 5, share, s=size, color=colors[name])
    below.plot(100 * edges[:-1] + 5, share, color=colors[name], linewidth=1)
below.plot([20, 100], [20, 100], color="black", linewidth=1)
below.set(xlabel="Confidence (%)", ylabel="Right (%)", title="larger: more rows", xlim=(20, 100))
above.set(xlabel="Cost per row", ylabel="Accuracy (%)")
above.legend()
plt.show()
