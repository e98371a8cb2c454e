"""The search of a pool: from recorded predictions to the Pareto front of its candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sklearn_cascade.core._costs import DEFAULT_COST_UNITS
from sklearn_cascade.core._samples import training_rows
from sklearn_cascade.core._validation import check_sample_weight, numbers_by_name
from sklearn_cascade.inspection._latency import MeasuredCosts
from sklearn_cascade.search._cross_fit import add_cross_fitted_scores, choose_folds
from sklearn_cascade.search._front import ParetoFront
from sklearn_cascade.search._predictions import check_predictions
from sklearn_cascade.search._strategy import Options, run_search, validate_options
from sklearn_cascade.tuning._fit_confidence import LearnedConfidence

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def search_cascades(
    proba: Sequence,
    y: ArrayLike,
    *,
    costs: ArrayLike | Mapping[str, float],
    names: Sequence[str] | None = None,
    cost_unit: str | None = None,
    classes: ArrayLike | None = None,
    train_costs: ArrayLike | Mapping[str, float] | None = None,
    marginal_cost: Callable[[str, tuple[str, ...]], float] | None = None,
    max_stages: int = 4,
    order: str = "cost",
    combine: str = "auto",
    confidence: str | Callable | LearnedConfidence = "max_proba",
    n_thresholds: int = 64,
    method: str = "auto",
    scoring: str | Callable = "accuracy",
    sample_weight: ArrayLike | None = None,
    max_worst_cost: float | None = None,
    cv: int | str | ArrayLike | None = "auto",
    n_jobs: int | None = None,
    verbose: int = 0,
) -> ParetoFront:
    """Find the cascades of a pool of models that trade score against cost best.

    Takes recorded predictions for rows that no model was fitted on, and evaluates every cascade of
    at most `max_stages` models with every vector of a grid of thresholds, and finer ones around
    the best; exact for scores that are sums over rows. Checking all combinations on held-out
    predictions follows Wang et al. (2022) [1]_; the rule for large pools is that of Streeter
    (2018) [2]_.

    Parameters
    ----------
    proba : sequence of array of shape (n_samples, n_classes), or of (confidence, predicted)
        Predictions of each model for the rows: class probabilities, of any float type, also as
        memory maps, which are read block by block. Where a model gives no probabilities: a tuple
        of two arrays of shape (n_samples,), its confidence and its predicted label.
    y : array-like of shape (n_samples,)
        True labels.
    costs : array-like of shape (n_models,) or dict
        Cost of one row in each model, as a list or by name; not below zero.
    names : sequence of str, default=None
        Name of each model; by default "model_0", "model_1", ...
    cost_unit : str, default=None
        Name of the unit of `costs`, such as "MFLOPs" or "USD".
    classes : array-like of shape (n_classes,), default=None
        Label of each column. By default the labels of `y`, sorted, or 0, 1, ... where `y` holds
        numbers and lacks some of them.
    train_costs : array-like of shape (n_models,) or dict, default=None
        Cost of training each model, for the table.
    marginal_cost : callable, default=None
        ``marginal_cost(name, names_run)`` returns the cost of one row in a model once those of the
        tuple `names_run` have run on it, where models share work; `costs` then only give the
        order.
    max_stages : int, default=4
        The most models in one cascade or ensemble.
    order : {"cost", "any"}, default="cost"
        Run the models of a set cheapest first, or try every order.
    combine : {"auto", "mean", "last", "most_confident"}, default="auto"
        Predict with the mean of the stages run so far, with the last of them or with the most
        confident; "auto" tries the first two, and all where the confidence is learned.
        Confidences with labels have no mean.
    confidence : str, LearnedConfidence or callable, default="max_proba"
        Confidence of a prediction, as in `CascadeClassifier`: "max_proba", "margin", "entropy",
        "learned" or a function. With confidences and labels it is the one recorded, or learned
        from it. Learning takes time, so a pool of more than forty sets of models is first
        searched with "max_proba", and then only the cascades on that front and those of the four
        models that it uses most are searched again; each confidence model is fitted when the first
        cascade needs it, on all rows and on those outside each fold.
    n_thresholds : int, default=64
        Thresholds tried at each stage, besides never to exit: at quantiles of the
        confidences. Cascades of many stages get fewer, so that one cascade has
        half a million vectors at most.
    method : {"auto", "exhaustive", "greedy"}, default="auto"
        "auto" evaluates all candidates where that takes about two minutes at most, and is greedy
        otherwise.
    scoring : str or callable, default="accuracy"
        "accuracy", "balanced_accuracy", "neg_log_loss" and "neg_brier_score" are searched
        exactly; any other scorer is applied to the Pareto front.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows.
    max_worst_cost : float, default=None
        Leave out sets of models that cost more in the worst case.
    cv : int, "auto", array-like of shape (n_samples,) or None, default="auto"
        Folds for cross-fitted scores, and for a learned confidence: how many, or the fold of each
        row. "auto": five, where that takes a minute at most; None: none, but five for a learned
        confidence, whose thresholds are chosen on rows that it was not fitted on.
    n_jobs : int, default=None
        Number of threads. None is 1 unless in a `joblib.parallel_config` context. The result
        does not depend on it.
    verbose : int, default=0
        Above 0: print what is searched, and how far it is.

    Returns
    -------
    front : ParetoFront
        Prints as a table; ``front.select(...)`` chooses from it.

    Raises
    ------
    ValueError
        If shapes, labels, costs or parameters do not fit.
    InvalidProbabilitiesError
        If a model's predictions are not probabilities.

    See Also
    --------
    CascadeSearchCV : The same from estimators, fitted or not.

    Notes
    -----
    Beyond its inputs, the search takes at most 500 MB and 60 bytes a row, whatever the numbers of
    rows, classes and models; a scorer that is no sum over rows needs one matrix of predictions
    more for each stage. Where there are more than a million rows, or statistics that do not fit,
    blocks of rows are read one after the other and the grid is not refined.

    The greedy rule is within a factor 4 of the cheapest order of *fixed* abstaining models (a
    model with a threshold of its own); it guarantees nothing about the cheapest cascade over all
    thresholds and models.

    References
    ----------
    .. [1] X. Wang, D. Kondratyuk, E. Christiansen, K. M. Kitani, Y. Alon, E. Eban. "Wisdom of
       Committees: An Overlooked Approach To Faster and More Accurate Models." ICLR 2022.
    .. [2] M. Streeter. "Approximation Algorithms for Cascading Prediction Models." ICML 2018.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_val_predict
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sklearn_cascade import search_cascades
    >>> X, y = load_digits(return_X_y=True)
    >>> X = X / 16
    >>> proba = [
    ...     cross_val_predict(model, X, y, method="predict_proba")
    ...     for model in (LogisticRegression(), KNeighborsClassifier(10))
    ... ]
    >>> front = search_cascades(proba, y, names=["linear", "neighbors"], costs=[1, 40])
    >>> front.select().members
    ('linear', 'neighbors')
    >>> bool(front.select().mean_cost < 20)
    True
    """
    # Validate.
    entries = _check_entries(proba)
    names = _check_names(names, len(entries))
    predictions = check_predictions(
        entries,
        y,
        names=names,
        costs=numbers_by_name("costs", costs, names),
        classes=classes,
        sample_weight=check_sample_weight(sample_weight, np.asarray(y)),
        marginal_cost=marginal_cost,
    )
    if train_costs is not None:
        numbers = numbers_by_name("train_costs", train_costs, names)
        train_costs = dict(zip(names, numbers.tolist(), strict=True))
    parameters = (max_stages, order, combine, confidence, n_thresholds, method)
    options = Options(*parameters, scoring, max_worst_cost, n_jobs, verbose)
    cross_fitted, fold = choose_folds(cv, predictions, options)
    sample = np.arange(predictions.n_samples)
    # Seconds of a learned confidence can be added to no other unit.
    seconds = isinstance(costs, MeasuredCosts) and predictions.has_proba
    options = validate_options(predictions, options, fold, sample, costs_in_seconds=seconds)

    # Search all rows and, for cross-fitted scores, those outside of each fold.
    pairs = training_rows(fold, sample) if cross_fitted else ()
    parts, others = [list(rows) for rows in zip(*pairs, strict=True)] or ([], [])
    front, *fold_fronts = run_search(
        predictions,
        options,
        cost_unit or getattr(costs, "unit", None) or DEFAULT_COST_UNITS["given"],
        rows=[None, *others],
        names=names,
        train_costs=train_costs,
    )

    # Cross-fit: choose without each fold, and evaluate on it.
    if not cross_fitted:
        return front
    return add_cross_fitted_scores(predictions, options, front, fold_fronts, parts)


def _check_entries(proba: Any) -> list[Any]:
    """Return one entry per model, or raise where there is none."""
    if isinstance(proba, (str, bytes, dict)) or not hasattr(proba, "__len__") or not len(proba):
        raise ValueError(
            f"proba={proba!r}; expected one array of shape (n_samples, n_classes) per model, or "
            f"one (confidence, predicted) tuple, at least one"
        )
    return [proba[model] for model in range(len(proba))]


def _check_names(names: Sequence[str] | None, n_models: int) -> list[str]:
    """Return distinct names, one per model."""
    if names is None:
        return [f"model_{model}" for model in range(n_models)]
    names = names.split() if isinstance(names, str) else list(names)
    if len(names) != n_models or len(set(names)) != n_models:
        raise ValueError(
            f"names={names!r}; expected {n_models} different names, one for each entry of proba"
        )
    return [str(name) for name in names]
