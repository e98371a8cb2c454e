"""Ways to bring a model."""

from sklearn_cascade.members._prefit import PrefitClassifier

__all__ = ["PrefitClassifier"]
