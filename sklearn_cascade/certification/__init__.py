"""Guarantees from labelled rows that nothing was tuned on."""

from sklearn_cascade.certification._fixed_sequence import (
    RISKS,
    PairedOutcomes,
    Risk,
    StagePredictions,
    TestedThresholds,
    binomial_upper,
    collect_answers,
    compare,
    fixed_sequence_test,
    mean_cost_upper,
    rows_projected,
    threshold_path,
    tune_margin,
    worst_reference,
)
from sklearn_cascade.certification._noninferiority import (
    binomial_cdf,
    binomial_rows,
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
    "binomial_cdf",
    "binomial_rows",
    "binomial_upper",
    "certifies",
    "collect_answers",
    "compare",
    "fixed_sequence_test",
    "mean_cost_upper",
    "min_certification_samples",
    "noninferiority_pvalue",
    "noninferiority_upper_bound",
    "rows_projected",
    "threshold_path",
    "tune_margin",
    "worst_reference",
]
