"""The scikit-learn face."""

from sklearn_cascade.estimators._averaging import AveragingEnsemble
from sklearn_cascade.estimators._cascade import CascadeClassifier

__all__ = ["AveragingEnsemble", "CascadeClassifier"]
