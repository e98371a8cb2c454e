"""The scikit-learn face."""

from sklearn_cascade._compat import imported_at_first_use
from sklearn_cascade.estimators._averaging import AveragingEnsemble
from sklearn_cascade.estimators._cascade import CascadeClassifier

__all__ = [
    "AveragingEnsemble",
    "CascadeClassifier",
    "CascadeSearchCV",
]

__getattr__ = imported_at_first_use(
    __name__,
    {
        "CascadeSearchCV": "sklearn_cascade.estimators._search_cv",
    },
)
