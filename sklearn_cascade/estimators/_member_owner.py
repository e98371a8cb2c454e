"""What every estimator with members shares: checking and fitting them, their costs."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod

from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin
from sklearn.utils import Bunch, indexable
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping

from sklearn_cascade._compat import routing_enabled
from sklearn_cascade.estimators._answers import Stage
from sklearn_cascade.estimators._fitting import Member, describe_members, fitted_classes
from sklearn_cascade.estimators._labels import Labels, encode_labels
from sklearn_cascade.estimators._named_members import NamedMembers
from sklearn_cascade.estimators._out_of_fold import Fits
from sklearn_cascade.estimators._parameters import resolve_costs
from sklearn_cascade.inspection import measure_costs
from sklearn_cascade.rules import check_weights_of_rows


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
        sample_weight = check_weights_of_rows(sample_weight, X)
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
