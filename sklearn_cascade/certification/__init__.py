"""Guarantees from rows that took no part in choosing members or thresholds."""

from sklearn_cascade.certification._disagreement import (
    TunedMargin,
    binomial_upper_bound,
    min_binomial_samples,
    tune_margin,
)
from sklearn_cascade.certification._fixed_sequence import (
    RISKS,
    PairedOutcomes,
    Risk,
    StagePredictions,
    TestedThresholds,
    collect_predictions,
    fixed_sequence_test,
    mean_cost_upper,
    pair_outcomes,
    projected_samples,
    threshold_path,
    worst_reference,
)
from sklearn_cascade.certification._noninferiority import (
    binomial_cdf,
    certifies,
    min_certification_samples,
    noninferiority_pvalue,
    noninferiority_upper_bound,
)

__all__ = [
    "PairedOutcomes",
    "RISKS",
    "Risk",
    "StagePredictions",
    "TestedThresholds",
    "TunedMargin",
    "binomial_cdf",
    "binomial_upper_bound",
    "certifies",
    "collect_predictions",
    "fixed_sequence_test",
    "mean_cost_upper",
    "min_binomial_samples",
    "min_certification_samples",
    "noninferiority_pvalue",
    "noninferiority_upper_bound",
    "pair_outcomes",
    "projected_samples",
    "threshold_path",
    "tune_margin",
    "worst_reference",
]
