"""The base of every estimator with members: its list of them, their fits, costs and columns."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import NamedTuple

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin
from sklearn.utils import Bunch, get_tags, indexable
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.validation import check_is_fitted

from sklearn_cascade._compat import VisualBlock, n_rows, routing_enabled
from sklearn_cascade.core._costs import DEFAULT_COST_UNITS
from sklearn_cascade.core._validation import as_numbers, check_sample_weight, numbers_by_name
from sklearn_cascade.estimators._fitting import Fits, MemberFit, fitted_classes, plan_fits
from sklearn_cascade.estimators._labels import Labels, encode_labels
from sklearn_cascade.estimators._routing import Stage
from sklearn_cascade.estimators._state import FittedAttribute, FittedMembers
from sklearn_cascade.inspection._latency import MeasuredCosts, measure_costs

DROP = "drop"
# Input tags that hold for the estimator when they hold for all members.
_ALL_OF = (
    "one_d_array",
    "two_d_array",
    "three_d_array",
    "sparse",
    "categorical",
    "string",
    "dict",
    "allow_nan",
    "pairwise",
)


class FitData(NamedTuple):
    """The arguments of a fit, checked."""

    X: object
    labels: Labels
    sample_weight: np.ndarray | None  # (n_samples,)
    members: list[MemberFit]
    fit_params: dict

    def routed_params(self) -> dict:
        """Return the metadata that may go to the splitter."""
        weight = {} if self.sample_weight is None else {"sample_weight": self.sample_weight}
        return {**self.fit_params, **weight}

    @property
    def is_weighted(self) -> bool:
        """Whether some rows weigh more than others."""
        return self.sample_weight is not None and np.ptp(self.sample_weight) > 0


class BaseCascade(ClassifierMixin, MetaEstimatorMixin, BaseEstimator, metaclass=ABCMeta):
    """Abstract base of `CascadeClassifier`, `AveragingEnsemble` and `CascadeSearchCV`.

    It holds a list of ``(name, classifier)`` pairs as `estimators`: ``name`` and ``name__param``
    are parameters, and tags and the diagram come from the members. The fit of a final class sets
    ``fitted_``, a frozen dataclass with the field ``members``.
    """

    # Sample weights are used by the fit itself, so nobody needs to request them.
    __metadata_request__fit = {"sample_weight": True}
    # How the diagram lays the members out.
    _block_kind = "parallel"

    classes_ = FittedAttribute(
        "members.classes",
        "Labels of `y` and of all frozen members, sorted: ndarray of shape (n_classes,).",
    )
    costs_ = FittedAttribute(
        "members.costs",
        "Cost of one row in each member that is not dropped: ndarray of shape (n_active,).",
        advice="set the parameter costs and fit again",
    )
    cost_unit_ = FittedAttribute("members.cost_unit", "Unit of the costs: str.")
    cost_conditions_ = FittedAttribute(
        "members.cost_conditions", "How the costs were measured: dict or None.", optional=True
    )
    estimators_ = FittedAttribute(
        lambda fitted: [stage.estimator for stage in fitted.members.stages],
        "Fitted members, dropped ones left out: list of classifiers.",
    )
    named_estimators_ = FittedAttribute(
        lambda fitted: Bunch(**{stage.name: stage.estimator for stage in fitted.members.stages}),
        "Fitted members by name: `sklearn.utils.Bunch`.",
    )
    n_features_in_ = FittedAttribute(
        lambda fitted: _of_first_member(fitted, "n_features_in_"),
        "Number of features: int, only if the first member has it.",
    )
    feature_names_in_ = FittedAttribute(
        lambda fitted: _of_first_member(fitted, "feature_names_in_"),
        "Names of the features: ndarray of shape (n_features,), only if the first member has them.",
    )

    def get_params(self, deep=True):
        """Get the parameters of this estimator and of its members.

        Parameters
        ----------
        deep : bool, default=True
            Return the members by name, and their own parameters as ``name__param``.

        Returns
        -------
        params : dict
            Parameter names mapped to their values.
        """
        params = super().get_params(deep=False)
        if not deep:
            return params
        # A malformed list is for `fit` to report.
        for name, estimator in _well_formed(self.estimators):
            params[name] = estimator
            if hasattr(estimator, "get_params") and not isinstance(estimator, type):
                nested = estimator.get_params(deep=True)
                params.update({f"{name}__{key}": value for key, value in nested.items()})
        return params

    def set_params(self, **params):
        """Set parameters of this estimator, replace members by name, or set theirs.

        Parameters
        ----------
        **params : dict
            ``estimators``, a member's name (an estimator or "drop"), ``name__param``, or any
            parameter of this estimator.

        Returns
        -------
        self : estimator
            The estimator itself.
        """
        if "estimators" in params:
            self.estimators = params.pop("estimators")
        entries = _well_formed(self.estimators)
        replaced = {name: params.pop(name) for name, _ in entries if name in params}
        if replaced:
            # A new list: the old one may belong to someone else.
            self.estimators = [(name, replaced.get(name, old)) for name, old in entries]
        super().set_params(**params)
        return self

    def get_metadata_routing(self):
        """Get the metadata routing of this estimator.

        Returns
        -------
        routing : MetadataRouter
            Consumer of `sample_weight`, and router to the members' ``fit``, and to the splitter
            where there is one.
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        for name, estimator in active_members(self.estimators):
            mapping = MethodMapping().add(caller="fit", callee="fit")
            router.add(**{name: estimator}, method_mapping=mapping)
        if hasattr(self, "cv"):
            mapping = MethodMapping().add(caller="fit", callee="split")
            router.add(splitter=self.cv, method_mapping=mapping)
        return router

    @abstractmethod
    def _check_parameters(self):
        """Raise for parameters that do not fit together; called before anything is fitted."""

    def _begin_fit(self, X, y, sample_weight, fit_params) -> FitData:
        """Check everything that can be checked before a member is fitted."""
        self._validate_params()
        _check_estimators(self.estimators, {*self.get_params(deep=False), "splitter"})
        self._check_parameters()
        if fit_params and not routing_enabled():
            raise ValueError(
                f"fit got {sorted(fit_params)}; expected no other metadata than sample_weight, "
                f"unless sklearn.set_config(enable_metadata_routing=True) is in force and the "
                f"members request it with set_fit_request"
            )
        X, y = indexable(X, y)
        sample_weight = check_sample_weight(sample_weight, X)
        members = plan_fits(self, active_members(self.estimators), sample_weight, fit_params)
        frozen = [fitted_classes(m.name, m.estimator) for m in members if m.frozen]
        labels = encode_labels(y, frozen)
        if len(labels.seen if len(frozen) < len(members) else labels.classes) < 2:
            raise ValueError(
                f"y holds 1 class, {labels.seen.tolist()}; a classifier needs rows of at least "
                f"two classes"
            )
        # Not fitted until all of it is.
        self.__dict__.pop("fitted_", None)
        return FitData(X, labels, sample_weight, members, fit_params)

    def _fitted_members(self, fits: Fits, data: FitData) -> FittedMembers:
        """Return the fitted members with their costs, measured if that is asked for."""
        labels, allow_abstain = data.labels, getattr(self, "allow_abstain", False)
        stages = tuple(
            Stage(k, member.name, estimator, columns, len(labels.classes), allow_abstain)
            for k, (member, (estimator, columns)) in enumerate(
                zip(data.members, fits.members, strict=False)
            )
        )
        shares = labels.shares(data.sample_weight) if allow_abstain else None
        costs = resolve_costs(self.costs, self.cost_unit, self.estimators, stages, data.X)
        return FittedMembers(stages, labels.classes, shares, *costs)

    def _check_costs(self):
        """Raise early for costs that name no member or have another count."""
        if not (isinstance(self.costs, str) and self.costs == "measured"):
            resolve_costs(self.costs, self.cost_unit, self.estimators)

    def _check_X(self, X):
        """Return X with rows that can be taken, and their number; raise where it has none."""
        # Looking is much cheaper than `check_is_fitted`, which builds the tags of all members.
        if "fitted_" not in self.__dict__:
            check_is_fitted(self)
        # Arrays, the fastest way to predict one row, need no look.
        if isinstance(X, np.ndarray) and X.ndim:
            n_samples = X.shape[0]
        else:
            (X,) = indexable(X)
            n_samples = n_rows(X)
        if n_samples == 0:
            raise ValueError("Found array with 0 sample(s) in X; at least one row is required")
        first = self.fitted_.members.stages[0]
        # Parts of one ensemble want the same X: it is checked and converted once.
        return (first.estimator.prepare(X) if first.is_additive else X), n_samples

    def __sklearn_is_fitted__(self):
        return "fitted_" in self.__dict__

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        try:
            members = [get_tags(estimator) for _, estimator in active_members(self.estimators)]
        except Exception:
            # Tags are read before `fit` has had a chance to report a malformed list.
            return tags
        for kind in _ALL_OF:
            if hasattr(tags.input_tags, kind):
                every = all(getattr(member.input_tags, kind) for member in members)
                setattr(tags.input_tags, kind, every)
        tags.input_tags.positive_only = any(m.input_tags.positive_only for m in members)
        tags.non_deterministic = any(member.non_deterministic for member in members)
        tags.array_api_support = False
        classifiers = [m.classifier_tags for m in members if m.classifier_tags is not None]
        tags.classifier_tags.multi_class = all(tag.multi_class for tag in classifiers)
        tags.classifier_tags.poor_score = any(tag.poor_score for tag in classifiers)
        tags.classifier_tags.multi_label = False
        return tags

    def _sk_visual_block_(self):
        names, estimators = zip(*self.estimators, strict=True)
        if self._block_kind == "serial":
            # Only parallel blocks show names, so each stage is one of its own.
            estimators = [
                VisualBlock("parallel", [estimator], names=[name], dash_wrapped=False)
                for name, estimator in self.estimators
            ]
        return VisualBlock(self._block_kind, estimators, names=names)


def is_dropped(estimator) -> bool:
    """Tell whether an entry is switched off; never compares arbitrary objects with a string."""
    return isinstance(estimator, str) and estimator == DROP


def active_members(estimators) -> list[tuple]:
    """Return the (name, classifier) pairs that are not dropped."""
    return [(name, estimator) for name, estimator in estimators if not is_dropped(estimator)]


def values_per_member(parameter: str, value, estimators, defaults: Mapping | None = None):
    """Return one finite, non-negative number per member that is not dropped: (n_active,).

    A list counts dropped members, as `estimators` does; a mapping may leave out `defaults`.
    """
    names = [name for name, _ in estimators]
    active = [not is_dropped(estimator) for _, estimator in estimators]
    values = numbers_by_name(parameter, value, names, used=active, defaults=defaults)
    return values[active]


def resolve_weights(weights, estimators) -> np.ndarray:
    """Return one weight per member that is not dropped: (n_active,)."""
    return values_per_member(
        "weights", np.ones(len(estimators)) if weights is None else weights, estimators
    )


def resolve_costs(costs, cost_unit: str | None, estimators, stages: Sequence[Stage] = (), X=None):
    """Return the cost of a row in each active member (n_active,), its unit and its conditions.

    "measured" measures the `stages` on X. None takes what the members declare in an attribute
    ``cost``, otherwise one each.
    """
    if isinstance(costs, str) and stages:
        costs = measure_costs([(stage.name, stage.estimator) for stage in stages], X)
    if isinstance(costs, str):
        raise ValueError(
            f"costs={costs!r}; expected 'measured', None, one number per member or a mapping from "
            f"name to number"
        )
    declared = {
        name: float(estimator.cost)
        for name, estimator in estimators
        if isinstance(getattr(estimator, "cost", None), Real)
    }
    unit, conditions = DEFAULT_COST_UNITS["given"], None
    if isinstance(costs, MeasuredCosts):
        unit, conditions = costs.unit, costs.conditions
    undeclared = [name for name, _ in active_members(estimators) if name not in declared]
    if costs is None and declared and undeclared:
        raise ValueError(
            f"costs=None leaves out {undeclared}: {sorted(declared)} declare a cost of their own; "
            f"expected costs for each of {[name for name, _ in estimators]}"
        )
    if costs is None and declared:
        costs = declared
    elif costs is None:
        costs, unit = np.ones(len(estimators)), DEFAULT_COST_UNITS["counted"]
    return values_per_member("costs", costs, estimators, declared), cost_unit or unit, conditions


def check_thresholds(thresholds, estimators) -> np.ndarray:
    """Return one threshold per active stage but the last: (n_active - 1,).

    A list counts dropped members, as `estimators` does, or leaves them all out.
    """
    active = np.array([not is_dropped(estimator) for _, estimator in estimators])
    if isinstance(thresholds, Real):
        values = np.full(active.sum() - 1, float(thresholds))
    else:
        values = as_numbers("thresholds", thresholds)
        if values.shape == (len(estimators) - 1,):
            values = np.append(values, np.inf)[active][:-1]
        elif values.shape != (active.sum() - 1,):
            raise ValueError(
                f"thresholds={thresholds!r} has {values.size} values; expected 'auto', one "
                f"number, or one for each of the {len(estimators)} estimators but the last"
            )
    if np.isnan(values).any():
        raise ValueError(
            f"thresholds={thresholds!r} holds NaN; expected numbers (infinity: never exit here, "
            f"minus infinity: always)"
        )
    return values


def _of_first_member(fitted, attribute: str):
    """Return an attribute of the first fitted member, None where it has none."""
    stages = fitted.members.stages
    return getattr(stages[0].estimator, attribute, None) if stages else None


def _well_formed(estimators) -> list[tuple]:
    """Return the entries that are (text, object) pairs."""
    if not isinstance(estimators, (list, tuple)):
        return []
    return [
        tuple(entry)
        for entry in estimators
        if isinstance(entry, (list, tuple)) and len(entry) == 2 and isinstance(entry[0], str)
    ]


def _check_estimators(estimators, reserved: set[str]) -> None:
    """Raise unless there is a list of distinct, usable names with classifiers."""
    if not isinstance(estimators, (list, tuple)) or not estimators:
        raise ValueError(
            f"estimators={estimators!r}; expected a list of (name, classifier) pairs, at least one"
        )
    if len(_well_formed(estimators)) < len(estimators):
        raise ValueError(
            f"estimators={estimators!r}; every entry has to be a (name, classifier) pair with a "
            f"text as its name"
        )
    names = [name for name, _ in estimators]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"estimators: the name {name!r} occurs {names.count(name)} times")
        if "__" in name or name in reserved or not name:
            raise ValueError(
                f"estimators: the name {name!r} cannot be used; names must not be empty, hold '__' "
                f"or equal one of {sorted(reserved)}"
            )
    active = active_members(estimators)
    if not active:
        raise ValueError("estimators: all members are 'drop'; at least one has to be a classifier")
    for name, estimator in active:
        kind = type(estimator).__name__
        if isinstance(estimator, type) or not hasattr(estimator, "fit"):
            raise ValueError(
                f"estimators: {name!r} is {estimator!r}; expected a classifier with fit and "
                f"predict_proba, or 'drop'. A function becomes one through PrefitClassifier"
            )
        if not hasattr(estimator, "predict_proba"):
            raise ValueError(
                f"estimators: {name!r} ({kind}) has no predict_proba, which every member needs; "
                f"wrap it in sklearn.calibration.CalibratedClassifierCV"
            )
