"""What every estimator with members shares: checking and fitting them, their costs."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Mapping
from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin
from sklearn.utils import Bunch, get_tags, indexable
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.validation import check_is_fitted

from sklearn_cascade._compat import VisualBlock, n_rows, routing_enabled
from sklearn_cascade.core import (
    DEFAULT_UNIT,
    as_numbers,
    check_sample_weight,
    fill_abstained,
    numbers_by_name,
    row_costs,
)
from sklearn_cascade.estimators._fitting import Fits, Member, describe_members, fitted_classes
from sklearn_cascade.estimators._labels import Labels, encode_labels
from sklearn_cascade.estimators._routing import RoutingResult, Stage, record_stages
from sklearn_cascade.inspection import CascadePrediction, MeasuredCosts, build_report, measure_costs

DROP = "drop"
# Input tags that hold for the committee when they hold for all its members.
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


class NamedMembers:
    """Mixin for estimators that hold a list of ``(name, classifier)`` pairs as `estimators`.

    Gives ``name`` and ``name__param`` as parameters, and derives tags and the diagram from the
    members.
    """

    # How the diagram lays the members out.
    _block_kind = "parallel"

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

    def _active_members(self):
        """Return the (name, classifier) pairs that are not dropped."""
        return [(name, est) for name, est in self.estimators if not is_dropped(est)]

    def _check_estimators(self):
        """Raise unless `estimators` is a list of distinct, usable names with classifiers."""
        if not isinstance(self.estimators, (list, tuple)) or not self.estimators:
            raise ValueError(
                f"estimators={self.estimators!r}; expected a list of (name, classifier) pairs, "
                f"at least one"
            )
        if len(_well_formed(self.estimators)) < len(self.estimators):
            raise ValueError(
                f"estimators={self.estimators!r}; every entry has to be a (name, classifier) "
                f"pair with a text as its name"
            )
        self._check_names([name for name, _ in self.estimators])
        if not self._active_members():
            raise ValueError(
                "estimators: all members are 'drop'; at least one has to be a classifier"
            )
        for name, estimator in self._active_members():
            _check_classifier(name, estimator)

    def _check_names(self, names):
        """Raise for names that occur twice, hold "__", or mean something else here."""
        reserved = {*self.get_params(deep=False), "splitter"}
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"estimators: the name {name!r} occurs {names.count(name)} times")
            if "__" in name or name in reserved or not name:
                raise ValueError(
                    f"estimators: the name {name!r} cannot be used; names must not be empty, hold "
                    f"'__' or equal one of {sorted(reserved)}"
                )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        try:
            members = [get_tags(estimator) for _, estimator in self._active_members()]
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


class MemberOwner(
    NamedMembers, ClassifierMixin, MetaEstimatorMixin, BaseEstimator, metaclass=ABCMeta
):
    """Abstract base of the committees and of the search for one."""

    # The owners use weights themselves, so nobody needs to request them.
    __metadata_request__fit = {"sample_weight": True}

    @property
    def estimators_(self):
        """Fitted members, dropped ones left out: list of classifiers."""
        return [stage.estimator for stage in self._fitted_stages("estimators_")]

    @property
    def named_estimators_(self):
        """Fitted members by name: `sklearn.utils.Bunch`."""
        return Bunch(**{s.name: s.estimator for s in self._fitted_stages("named_estimators_")})

    def get_metadata_routing(self):
        """Get the metadata routing of this estimator.

        Returns
        -------
        routing : MetadataRouter
            Consumer of `sample_weight`, and router to the members' ``fit``, and to the splitter
            where there is one.
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        for name, estimator in self._active_members():
            mapping = MethodMapping().add(caller="fit", callee="fit")
            router.add(**{name: estimator}, method_mapping=mapping)
        if hasattr(self, "cv"):
            mapping = MethodMapping().add(caller="fit", callee="split")
            router.add(splitter=self.cv, method_mapping=mapping)
        return router

    def __sklearn_is_fitted__(self):
        return hasattr(self, "_stages")

    @abstractmethod
    def _check_parameters(self):
        """Raise for parameters that do not fit together; called before anything is fitted."""

    def _fitted_stages(self, attribute):
        """Return the stages, or raise as for any attribute that only `fit` sets."""
        if not hasattr(self, "_stages"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {attribute!r}")
        return self._stages

    def _stage_names(self):
        """Return the names of the fitted members."""
        return [stage.name for stage in self._stages]

    def _begin_fit(self, X, y, sample_weight, fit_params):
        """Check everything that can be checked before a member is fitted."""
        self._validate_params()
        self._check_estimators()
        self._check_parameters()
        if fit_params and not routing_enabled():
            raise ValueError(
                f"fit got {sorted(fit_params)}; expected no other metadata than sample_weight, "
                f"unless sklearn.set_config(enable_metadata_routing=True) is in force and the "
                f"members request it with set_fit_request"
            )
        X, y = indexable(X, y)
        sample_weight = check_sample_weight(sample_weight, X)
        active = self._active_members()
        members = describe_members(self, active, sample_weight, fit_params)
        frozen = [fitted_classes(m.name, m.estimator) for m in members if m.frozen]
        labels = encode_labels(y, frozen)
        if len(labels.seen if len(frozen) < len(members) else labels.classes) < 2:
            raise ValueError(
                f"y holds 1 class, {labels.seen.tolist()}; a classifier needs rows of at least "
                f"two classes"
            )
        # Not fitted until all of it is.
        self.__dict__.pop("_stages", None)
        return X, labels, sample_weight, members

    def _adopt_members(self, fits: Fits, labels: Labels, sample_weight, members: list[Member]):
        """Return the fitted members as stages, and set what both committees know of them."""
        shape = (len(labels.classes), self.allow_abstain)
        stages = [
            Stage(place, member.name, estimator, columns, *shape)
            for place, (member, (estimator, columns)) in enumerate(
                zip(members, fits.members, strict=True)
            )
        ]
        self._class_shares = labels.shares(sample_weight) if self.allow_abstain else None
        self.classes_ = labels.classes
        for attribute in ("n_features_in_", "feature_names_in_"):
            self.__dict__.pop(attribute, None)
            if hasattr(stages[0].estimator, attribute):
                setattr(self, attribute, getattr(stages[0].estimator, attribute))
        return stages

    def _set_costs(self, X, stages):
        """Set the cost of a row in each stage, with its unit and conditions."""
        costs = self.costs
        if isinstance(costs, str):
            costs = measure_costs([(stage.name, stage.estimator) for stage in stages], X)
        resolved = resolve_costs(costs, self.cost_unit, self.estimators)
        self.costs_, self.cost_unit_, self.cost_conditions_ = resolved

    def _check_costs(self):
        """Raise early for costs that name nobody or count wrongly."""
        if not (isinstance(self.costs, str) and self.costs == "measured"):
            resolve_costs(self.costs, self.cost_unit, self.estimators)


class Committee(MemberOwner):
    """Abstract base of `AveragingEnsemble` and `CascadeClassifier`."""

    _exits_early = False

    def predict(self, X):
        """Predict the most probable class of each row.

        Parameters
        ----------
        X : array-like or object with n_samples rows
            Whatever the members take.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
            Labels from `classes_`.
        """
        proba = self._pass(X).proba
        return self.classes_[proba.argmax(axis=1)]

    def predict_proba(self, X):
        """Predict class probabilities.

        Parameters
        ----------
        X : array-like or object with n_samples rows
            Whatever the members take.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Columns as in `classes_`.
        """
        return self._pass(X).proba

    def predict_details(self, X):
        """Predict, and tell which stage answered each row and what it cost, in one pass.

        Parameters
        ----------
        X : array-like or object with n_samples rows
            Whatever the members take.

        Returns
        -------
        prediction : CascadePrediction
            Arrays ``label``, ``proba``, ``exit_stage`` and ``cost``, the last in `cost_unit_`.
        """
        passage = self._pass(X).expand()
        return CascadePrediction(
            self.classes_[passage.proba.argmax(axis=1)],
            passage.proba,
            passage.exit_stage,
            row_costs(passage.last_called, self.costs_),
        )

    def cost_report(self, X, y=None, sample_weight=None, *, scoring=None, compare=True):
        """Report what rows cost, and with `y` how good the answers are.

        Parameters
        ----------
        X : array-like or object with n_samples rows
            Rows like those to come, best not those of the fit.
        y : array-like of shape (n_samples,), default=None
            True labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.
        scoring : str or callable, default=None
            Scorer for `y`; by default this estimator's own, or accuracy.
        compare : bool, default=True
            With `y`, ask every member for all rows, once, so that each alone and all together
            stand beside the committee. False keeps to the rows that reach each member.

        Returns
        -------
        report : CostReport
            Prints as a table; ``to_frame()``, ``to_dict()``.
        """
        given = X
        X, n_samples = self._enter(X)
        indexable(X, y)
        weight = check_sample_weight(sample_weight, X)
        recorded = None
        if compare and (y is not None or self._stages[0].adds_up):
            recorded = record_stages(self._stages, X, n_samples)
        if recorded is None:
            alone, passage = None, self._run(self._stages, X, n_samples).expand()
        else:
            alone = [stage.proba for stage in recorded]
            if self._stages[0].adds_up and alone[-1] is None:
                # A part failed, so nobody knows what the whole would say.
                alone = None
            passage = self._run(recorded, np.arange(n_samples), n_samples).expand()
        return build_report(
            title=self._report_title(),
            exits_early=self._exits_early,
            names=self._stage_names(),
            costs=self.costs_,
            unit=self.cost_unit_,
            conditions=self.cost_conditions_,
            passage=passage,
            y=None if y is None else np.asarray(y),
            classes=self.classes_,
            sample_weight=weight,
            scoring=scoring or getattr(self, "scoring", None) or "accuracy",
            alone=None if alone is None or y is None else [self._answered(p) for p in alone],
            together=None if alone is None else self._answered(self._all_together(alone)),
            whole=None if alone is None else self._compare_with_whole(given, passage, alone),
            certificate=getattr(self, "certificate_", None),
        )

    @abstractmethod
    def _run(self, stages, X, n_samples) -> RoutingResult:
        """Answer a batch by asking the members."""

    @abstractmethod
    def _all_together(self, proba):
        """Return the answer of all members, without any early exit."""

    def _compare_with_whole(self, X, passage, alone):
        """Return how parts of one ensemble compare with the whole; None for other members."""
        return None

    @abstractmethod
    def _report_title(self):
        """Return the words that head the report."""

    def _answered(self, proba):
        """Return the answers with class shares where all abstain; None stays None."""
        return None if proba is None else fill_abstained(proba, self._class_shares)

    def _pass(self, X) -> RoutingResult:
        """Answer a batch."""
        X, n_samples = self._enter(X)
        return self._run(self._stages, X, n_samples)

    def _enter(self, X):
        """Return X with rows that can be taken, and their number."""
        # Looking is much cheaper than `check_is_fitted`, which builds the tags of all members.
        if not hasattr(self, "_stages"):
            check_is_fitted(self)
        # Arrays, the fastest way to ask for one row, need no look.
        if isinstance(X, np.ndarray) and X.ndim:
            n_samples = X.shape[0]
        else:
            (X,) = indexable(X)
            n_samples = n_rows(X)
        if n_samples == 0:
            raise ValueError("Found array with 0 sample(s) in X; at least one row is required")
        first = self._stages[0]
        # Parts of one ensemble want the same X: it is checked and converted once.
        return (first.estimator.prepare(X) if first.adds_up else X), n_samples


def is_dropped(estimator) -> bool:
    """Tell whether an entry is switched off; never compares arbitrary objects with a string."""
    return isinstance(estimator, str) and estimator == DROP


def _well_formed(estimators):
    """Return the entries that are (text, object) pairs."""
    if not isinstance(estimators, (list, tuple)):
        return []
    return [
        entry
        for entry in estimators
        if isinstance(entry, (list, tuple)) and len(entry) == 2 and isinstance(entry[0], str)
    ]


def _check_classifier(name, estimator):
    """Raise unless a member can be asked for probabilities."""
    kind = type(estimator).__name__
    if isinstance(estimator, type) or not hasattr(estimator, "fit"):
        raise ValueError(
            f"estimators: {name!r} is {estimator!r}; expected a classifier with fit and "
            f"predict_proba, or 'drop'. A function becomes one through PrefitClassifier"
        )
    if not hasattr(estimator, "predict_proba"):
        raise ValueError(
            f"estimators: {name!r} ({kind}) has no predict_proba, which committees need; "
            f"wrap it in sklearn.calibration.CalibratedClassifierCV"
        )


def values_per_member(parameter: str, value, estimators, defaults: Mapping | None = None):
    """Return one finite, non-negative number per member that is not dropped.

    Parameters
    ----------
    parameter : str
        Name for the errors.
    value : array-like of shape (len(estimators),) or mapping from name to number
        A list counts dropped members, like `estimators` does.
    estimators : list of (name, estimator)
        All entries.
    defaults : mapping, default=None
        Values of the names that a mapping leaves out.

    Returns
    -------
    values : ndarray of shape (n_active,)
    """
    names = [name for name, _ in estimators]
    active = [not is_dropped(estimator) for _, estimator in estimators]
    values = numbers_by_name(parameter, value, names, used=active, defaults=defaults)
    return values[active]


def resolve_costs(costs, cost_unit, estimators):
    """Return the cost of a row in each active member, its unit, and how it was measured.

    Parameters
    ----------
    costs : None, array-like, mapping or MeasuredCosts
        None: what the members declare in an attribute `cost`, else one each.
    cost_unit : str or None
        Unit given by the user.
    estimators : list of (name, estimator)
        All entries.

    Returns
    -------
    costs : ndarray of shape (n_active,)
    unit : str
    conditions : dict or None
    """
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
    unit, conditions = DEFAULT_UNIT["given"], None
    if isinstance(costs, MeasuredCosts):
        unit, conditions = costs.unit, costs.conditions
    silent = [n for n, est in estimators if not is_dropped(est) and n not in declared]
    if costs is None and declared and silent:
        raise ValueError(
            f"costs=None leaves out {silent}: {sorted(declared)} declare a cost of their own; "
            f"expected costs for each of {[name for name, _ in estimators]}"
        )
    if costs is None and declared:
        costs = declared
    elif costs is None:
        costs, unit = np.ones(len(estimators)), DEFAULT_UNIT["counted"]
    return values_per_member("costs", costs, estimators, declared), cost_unit or unit, conditions


def check_thresholds(thresholds, estimators) -> np.ndarray:
    """Return one threshold per active stage but the last.

    A list counts dropped members, like `estimators` does, or leaves them all out.
    """
    active = np.array([not is_dropped(estimator) for _, estimator in estimators])
    if isinstance(thresholds, Real):
        values = np.full(len(estimators), float(thresholds))
    else:
        given = as_numbers("thresholds", thresholds)
        if given.shape == (active.sum() - 1,):
            return _without_nan(given, thresholds)
        if given.shape != (len(estimators) - 1,):
            raise ValueError(
                f"thresholds={thresholds!r} has {given.size} values; expected 'auto', one number, "
                f"or one for each of the {len(estimators)} estimators but the last"
            )
        values = np.append(given, np.inf)
    return _without_nan(values[active][:-1], thresholds)


def _without_nan(values: np.ndarray, thresholds) -> np.ndarray:
    """Return the values, or raise where one is NaN."""
    if np.isnan(values).any():
        raise ValueError(
            f"thresholds={thresholds!r} holds NaN; expected numbers (infinity: never exit here, "
            f"minus infinity: always)"
        )
    return values
