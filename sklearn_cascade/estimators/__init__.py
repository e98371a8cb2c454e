"""The scikit-learn face."""

from sklearn_cascade.estimators._averaging import AveragingEnsemble
from sklearn_cascade.estimators._cascade import CascadeClassifier
from sklearn_cascade.estimators._search_cv import CascadeSearchCV

__all__ = ["AveragingEnsemble", "CascadeClassifier", "CascadeSearchCV"]
