"""The report says what the estimator does: with abstentions, failures and missing classes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from sklearn_cascade import AveragingEnsemble, CascadeClassifier, make_cost_scorer
from tests.probes import ScriptedMember, numbered_rows

RNG = np.random.default_rng(0)
Y = RNG.integers(3, size=60)
X = numbered_rows(60)


def table(skill, silent=0.0):
    """Return probabilities that lean to the true label; some rows are NaN."""
    proba = np.eye(3)[Y] * skill + RNG.dirichlet(np.ones(3), 60) * (1 - skill)
    proba[RNG.random(60) < silent] = np.nan
    return proba


def two(silent=0.0):
    """Return two scripted members."""
    return [("a", ScriptedMember(table(0.2, silent))), ("b", ScriptedMember(table(0.4, silent)))]


@pytest.mark.filterwarnings("ignore::sklearn_cascade.exceptions.AllAbstainedWarning")
@pytest.mark.parametrize("scoring", ["accuracy", "neg_log_loss", "f1_macro"])
def test_abstentions_count_as_the_class_shares(scoring):
    """Check that members and the full ensemble are scored as they would be alone."""
    members = two(silent=0.3)
    ensemble = AveragingEnsemble(members, allow_abstain=True).fit(X, Y)
    report = ensemble.cost_report(X, Y, scoring=scoring)
    assert report.full_score == report.score
    for name, member in members:
        alone = AveragingEnsemble([(name, member)], allow_abstain=True).fit(X, Y)
        score = report.member_scores[report.names.index(name)]
        assert score == alone.cost_report(X, Y, scoring=scoring).score
    assert report.score == pytest.approx(report.full_score, abs=0)


def test_log_loss_of_rows_that_lack_a_class():
    """Check that tuning, report and scorer agree where the rows do not show every class."""
    cascade = CascadeClassifier(two(), scoring="neg_log_loss", costs=[1, 5]).fit(X, Y)
    rows = Y < 2
    true_proba = cascade.predict_proba(X[rows])[np.arange(rows.sum()), Y[rows]]
    expected = pytest.approx(np.log(true_proba).mean(), rel=1e-12)
    assert cascade.cost_report(X[rows], Y[rows]).score == expected
    assert make_cost_scorer("neg_log_loss")(cascade, X[rows], Y[rows]) == expected
    assert cascade.cost_report(X, Y).score == pytest.approx(cascade.tuned_score_, abs=1e-12)


class Poisoned(ScriptedMember):
    """A member that fails on every batch that holds row 0."""

    def predict_proba(self, X):
        if 0 in X[:, 0]:
            raise RuntimeError("row 0 is poison")
        return super().predict_proba(X)


@pytest.mark.parametrize("on_stage_error", ["keep_previous", "raise"])
def test_failure_on_rows_that_never_reach_a_stage_does_not_count(on_stage_error):
    """Check that the report shows the exits of predict_details, though the member alone failed."""
    confident = table(0.2)
    confident[0] = [1, 0, 0]
    members = [("a", ScriptedMember(confident)), ("b", Poisoned(table(0.9)))]
    cascade = CascadeClassifier(members, thresholds=0.95, on_stage_error=on_stage_error)
    details = cascade.fit(X, Y).predict_details(X)
    report = cascade.cost_report(X, Y)
    assert report.exit_counts == tuple(np.bincount(details.exit_stage).tolist())
    assert report.score == accuracy_score(Y, details.label)
    assert np.isnan(report.member_scores[1])


@pytest.mark.parametrize(
    ("costs", "saving", "words"),
    [([0, 1], 0.0, "more expensive than"), ([0, 0], 1.0, "1.00 times cheaper")],
)
def test_free_members_are_printed(costs, saving, words):
    """Check the sentence below the table where the best member costs nothing."""
    best_first = [("a", ScriptedMember(table(0.9))), ("b", ScriptedMember(table(0.1)))]
    cascade = CascadeClassifier(best_first, thresholds=np.inf, costs=costs).fit(X, Y)
    report = cascade.cost_report(X, Y)
    assert (report.best_member, report.saving) == ("a", saving)
    assert words in str(report)
