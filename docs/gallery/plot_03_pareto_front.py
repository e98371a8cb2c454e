"""
The Pareto front of a pool of five models
=========================================

Five ordinary classifiers are fitted once per fold. From their predictions for the held-out rows,
the search evaluates every cascade of at most four of them, with every threshold vector of a grid.
Costs are measured, in seconds per row, on the machine that built this page.
"""

import matplotlib.pyplot as plt
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import BernoulliNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer, StandardScaler
from sklearn.svm import SVC

from sklearn_cascade import CascadeSearchCV, ExitDisplay, TradeoffDisplay

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.4, random_state=0, stratify=y)
search = CascadeSearchCV(
    [
        ("bayes", make_pipeline(Binarizer(threshold=7), BernoulliNB())),
        ("linear", make_pipeline(StandardScaler(), LogisticRegression(C=0.1))),
        ("neighbors", KNeighborsClassifier(5)),
        ("trees", ExtraTreesClassifier(200, random_state=0)),
        ("svm", CalibratedClassifierCV(SVC(C=10, gamma=0.001), ensemble=False)),
    ],
    random_state=0,
)
search.fit(X_train, y_train)
print(f"{search.n_evaluated_:,} threshold vectors, from {search.n_splits_ + 1} fits of each member")

# %%
# The Pareto front. A ring marks the cheapest candidate that is no worse than the best single model.

TradeoffDisplay.from_search(search)
plt.show()

# %%
# Those scores are from the rows that the choice was made on. On rows that played no part in it:

print(search.best_estimator_.cost_report(X_test, y_test))
ExitDisplay.from_estimator(search.best_estimator_, X_test, y_test)
plt.gcf().set_size_inches(6, 2.6)
plt.show()
