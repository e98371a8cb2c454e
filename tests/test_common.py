"""The common checks of scikit-learn on cascades and ensembles, with no expected failure."""

from __future__ import annotations

import pytest
from joblib import parallel_backend
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_cascade import AveragingEnsemble, CascadeClassifier, CascadeSearchCV

pytestmark = [
    # GaussianNB takes the log of a class share of zero where all weights of a class are zero.
    pytest.mark.filterwarnings("ignore:divide by zero encountered in log:RuntimeWarning"),
    # scikit-learn compares an infinite y with itself cast to integers.
    pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning"),
    # On some check data neither the mean of the stages nor the last is as good as the best member.
    pytest.mark.filterwarnings("ignore::sklearn_cascade.exceptions.ScoreNotReachedWarning"),
]


def members(*dropped):
    """Return cheap members that use sample weights, some of them dropped."""
    entries = [
        ("nb", GaussianNB()),
        ("tree", DecisionTreeClassifier(max_depth=3, random_state=0)),
        ("lr", LogisticRegression(max_iter=200)),
    ]
    return [(name, "drop" if name in dropped else est) for name, est in entries]


def pair():
    """Return two members, for the settings that fit often."""
    return members()[:2]


ESTIMATORS = {
    "cascade-fixed": CascadeClassifier(members(), thresholds=0.9),
    "cascade-auto": CascadeClassifier(pair(), cv=3, random_state=0),
    "cascade-auto-mean-weights": CascadeClassifier(
        pair(), combine="mean", cv=3, weights=[1, 2], costs=[1, 5]
    ),
    "cascade-auto-last": CascadeClassifier(pair(), combine="last", cv=3),
    "cascade-last": CascadeClassifier(pair(), thresholds=[0.9], combine="last"),
    "cascade-one-stage": CascadeClassifier(members()[2:]),
    "cascade-dropped": CascadeClassifier(members("tree"), thresholds=[0.9, 0.8], costs=[1, 2, 3]),
    "cascade-n-jobs": CascadeClassifier(pair(), thresholds=0.9, n_jobs=2),
    "search": CascadeSearchCV(pair(), costs=[1, 5], cv=3, n_thresholds=4),
    "search-last": CascadeSearchCV(pair(), costs=[1, 5], cv=3, n_thresholds=4, combine="last"),
    "ensemble": AveragingEnsemble(members()),
    "ensemble-one-member": AveragingEnsemble(members()[:1]),
    "ensemble-dropped": AveragingEnsemble(members("nb")),
    "ensemble-weights": AveragingEnsemble(pair(), weights={"nb": 1, "tree": 2}),
    "ensemble-geometric": AveragingEnsemble(pair(), average="geometric"),
    "ensemble-n-jobs": AveragingEnsemble(pair(), n_jobs=2),
}


@parametrize_with_checks(list(ESTIMATORS.values()))
def test_estimator_passes_the_common_check(estimator, check):
    """Check that a cascade or ensemble passes one of the common checks."""
    # Threads, for the estimators with two jobs: sending tiny fits to processes takes minutes.
    with parallel_backend("threading", n_jobs=1):
        check(estimator)


# Checks that scikit-learn does not list above; it may rename or move them.
@pytest.mark.parametrize("name", ["cascade-fixed", "cascade-auto", "ensemble-weights"])
@pytest.mark.parametrize(
    "check_name", ["check_param_validation", "check_dataframe_column_names_consistency"]
)
def test_estimator_passes_the_unlisted_check(name, check_name):
    """Check that a cascade or ensemble passes the checks that scikit-learn does not list."""
    check = getattr(estimator_checks, check_name, None)
    if check is None:
        pytest.skip(f"this scikit-learn has no {check_name}")
    estimator = ESTIMATORS[name]
    check(type(estimator).__name__, estimator)
