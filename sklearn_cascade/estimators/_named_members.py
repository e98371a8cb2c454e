"""A list of (name, classifier): its parameters, names, tags and picture."""

from __future__ import annotations

from sklearn.utils import get_tags

from sklearn_cascade._compat import VisualBlock

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


def is_dropped(estimator) -> bool:
    """Tell whether an entry is switched off; never compares arbitrary objects with a string."""
    return isinstance(estimator, str) and estimator == DROP


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
