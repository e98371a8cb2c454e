"""The scikit-learn estimators: the cascade, the averaging ensemble and the search."""
