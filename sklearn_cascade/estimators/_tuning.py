"""A cascade that tunes its thresholds on what its members said of held-out rows."""

from __future__ import annotations

import numpy as np

from sklearn_cascade._compat import warn_caller
from sklearn_cascade.estimators._out_of_fold import split_rows
from sklearn_cascade.exceptions import ScoreNotReachedWarning
from sklearn_cascade.rules import check_scoring
from sklearn_cascade.search import TunedLadder, tune_cascade


class Tunes:
    """Mixin for the cascade: choosing the combination and the thresholds."""

    def _split(self, X, labels, sample_weight, fit_params):
        """Check the scoring and return the splits; None where the thresholds are given."""
        if not self._tunes_thresholds() and self._learns() is None:
            return None
        weighted = sample_weight is not None and np.ptp(sample_weight) > 0
        check_scoring(self.scoring, weighted=weighted)
        weight = {} if sample_weight is None else {"sample_weight": sample_weight}
        return split_rows(self, X, labels, {**fit_params, **weight})

    def _tune(self, held_out, labels, sample_weight):
        """Choose what is to be chosen from what the members said of held-out rows."""
        weight = np.ones(len(labels.y)) if sample_weight is None else sample_weight
        weight, y = weight[held_out.rows], labels.columns[held_out.rows]
        learned, confidence = {}, self.confidence
        if self._learns() is not None:
            learned = self._learn(held_out, y, weight)
            self._bill(learned, held_out)
            confidence = {way: ladder.confidence for way, ladder in learned.items()}
        if self._tunes_thresholds():
            self._adopt(self._tuned(held_out, y, weight, labels.classes, confidence))
        else:
            (self.combine_,) = learned
            self.thresholds_ = self._given_thresholds()
        if learned:
            stages = learned[self.combine_].stages
            self._confidences = stages + [None] * (len(self.costs_) - len(stages))

    def _tuned(self, held_out, y, weight, classes, confidence) -> TunedLadder:
        """Return the best combination and thresholds."""
        return tune_cascade(
            held_out.proba,
            y,
            self.costs_,
            classes=classes,
            combine=self.combine,
            confidence=confidence,
            weights=self.weights_,
            scoring=self.scoring,
            sample_weight=weight,
            fold=held_out.fold,
            sample=held_out.rows,
            class_shares=self._class_shares,
        )

    def _adopt(self, tuned: TunedLadder):
        """Put what was tuned into force."""
        if not tuned.reaches_floor:
            warn_caller(
                f"combine={self.combine!r} reaches {tuned.score:.6g} on held-out rows at best; "
                f"{tuned.floor:.6g} is reached by one member alone, hence by combine='last' or "
                f"'auto'",
                ScoreNotReachedWarning,
            )
        self.combine_ = tuned.combine
        self.thresholds_ = np.array(tuned.thresholds)
        self.tuned_score_, self.tuned_cost_ = tuned.score, tuned.cost
        self.cross_fitted_score_, self.cross_fitted_cost_ = (
            tuned.cross_fitted_score,
            tuned.cross_fitted_cost,
        )

    def _forget_tuning(self):
        """Drop what an earlier tuning found, and its certificate."""
        self.certificate_ = None
        for figure in ("score", "cost", "disagreement"):
            for attribute in (f"tuned_{figure}_", f"cross_fitted_{figure}_"):
                self.__dict__.pop(attribute, None)
        self.__dict__.pop("disagreement_bound_", None)
