"""What a search found, fold by fold: the table that scikit-learn's searches give, and more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from sklearn_cascade.search import OperatingPoint, Options, ParetoFront, replay


def params_of(row: OperatingPoint) -> dict:
    """Return what a row of the front chooses."""
    return {"members": row.members, "combine": row.combine, "thresholds": row.thresholds}


def tabulate_results(
    recordings, options: Options, front: ParetoFront, parts: Sequence[np.ndarray]
) -> dict:
    """Return ``cv_results_``: a row for each row of the front.

    Parameters
    ----------
    recordings : Recordings
        Held-out answers of the members.
    options : Options
        Parameters of the search.
    front : ParetoFront
        The committees.
    parts : sequence of ndarray of int
        Rows of each fold.
    """
    score, cost = replay(recordings, options, front, parts)
    params = [params_of(row) for row in front]
    results: dict = {"params": params}
    for name in ("members", "combine", "thresholds"):
        column = np.empty(len(front), dtype=object)
        column[:] = [choice[name] for choice in params]
        results[f"param_{name}"] = np.ma.MaskedArray(column, mask=False)
    results["kind"] = np.array([row.kind for row in front])
    for figure, values in (("score", score), ("cost", cost)):
        for k in range(len(parts)):
            results[f"split{k}_test_{figure}"] = values[:, k]
        results[f"mean_test_{figure}"] = values.mean(axis=1)
        results[f"std_test_{figure}"] = values.std(axis=1)
    results["worst_case_cost"] = front.worst_cost
    for figure in ("cross_fitted_score", "cross_fitted_cost"):
        found = [getattr(row, figure) for row in front]
        results[figure] = np.array([np.nan if value is None else value for value in found])
    # Rounded, so that equals share a rank.
    rank = rankdata(-np.round(results["mean_test_score"], 10), method="min")
    results["rank_test_score"] = rank.astype(np.int32)
    return results
