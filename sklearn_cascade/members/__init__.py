"""Ways to bring a model."""

from sklearn_cascade.members._prefit import PrefitClassifier
from sklearn_cascade.members._split import EnsemblePart, split_ensemble

__all__ = ["EnsemblePart", "PrefitClassifier", "split_ensemble"]
