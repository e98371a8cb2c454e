"""The search of many cascades: held-out predictions in, the Pareto front out; sees no estimator."""
