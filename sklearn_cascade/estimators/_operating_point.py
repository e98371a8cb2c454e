"""Putting other thresholds into force, those of a certificate among them."""

from __future__ import annotations

import copy

from sklearn.utils.validation import check_is_fitted

from sklearn_cascade.estimators._parameters import check_thresholds
from sklearn_cascade.inspection import CertificationReport


class Adjusts:
    """Mixin for the cascade: moving to another operating point without a fit."""

    def with_thresholds(self, thresholds):
        """Return a fitted copy at another operating point; the members are shared.

        Parameters
        ----------
        thresholds : float, array-like of shape (n_estimators - 1,) or CertificationReport
            As the parameter of the same name; or what `certify` returned, which then stays with
            the copy as `certificate_` until it is fitted.

        Returns
        -------
        cascade : CascadeClassifier
            With `thresholds` as parameter and in force, and `combine` as it is in force.

        Raises
        ------
        ValueError
            If the thresholds do not fit the estimators, these were changed since the fit, or the
            report is about another cascade.
        """
        check_is_fitted(self)
        if [name for name, _ in self._active_members()] != self._stage_names():
            raise ValueError(
                f"estimators={self.estimators!r} were changed since the fit, which knew "
                f"{self._stage_names()}; expected a fit in between"
            )
        certificate = None
        if isinstance(thresholds, CertificationReport):
            certificate = thresholds
            self._check_certificate(certificate)
            thresholds = list(certificate.thresholds)
        other = copy.copy(self)
        other.thresholds = thresholds
        # A fit of the copy is to mean the same.
        other.combine = self.combine_
        other.thresholds_ = check_thresholds(thresholds, self.estimators)
        other._forget_tuning()
        other.certificate_ = certificate
        return other

    def _check_certificate(self, report):
        """Raise where a report is about another cascade."""
        ours = (tuple(self._stage_names()), self.combine_)
        if (report.names, report.combine) != ours:
            raise ValueError(
                f"thresholds: the report is about {list(report.names)} with "
                f"combine={report.combine!r}; this cascade has {list(ours[0])} with "
                f"combine={ours[1]!r}: expected a report of this cascade's own certify"
            )
