"""Tests of the report of latencies: who is called how often and for which rows."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.exceptions import NotFittedError
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import LinearSVC

from sklearn_cascade import AveragingEnsemble, CascadeClassifier
from sklearn_cascade.inspection._latency import Latency, LatencyReport, latency_report
from tests.probes import LABELS_W, ScriptedMember, members_w, numbered_rows

X = numbered_rows(6)


def cascade_w(members=None, thresholds=(0.75, 0.65)):
    """Return the cascade counted by hand: its six rows exit at stages 0 0 2 1 0 2."""
    return CascadeClassifier(members or members_w(), thresholds=thresholds).fit(X, LABELS_W)


def scripted(n_rows):
    """Return one scripted member for some rows."""
    return ScriptedMember(np.full((n_rows, 2), 0.5))


def invented(**changes):
    """Return a report of invented seconds."""
    rows = (
        Latency(1, 200, "alone", "a <b>", 1e-4, 1e-4, 2e-4, 10000, 20.0),
        Latency(1, 200, "alone", "c", 2e-3, 2e-3, 3e-3, 500, 1.0),
        Latency(1, 200, "cascade", "", 1e-4, 5e-4, 3e-3, 2000, 4.0),
        Latency(1000, 20, "alone", "a <b>", 1e-3, 1e-3, 2e-3, 1e6, 50.0),
        Latency(1000, 20, "alone", "c", 50e-3, 50e-3, 60e-3, 20000, 1.0),
        Latency(1000, 20, "cascade", "", 16e-3, 16e-3, 20e-3, 62500, 3.125),
    )
    values = {"n_samples": 1797, "n_threads": 1, "measurements": rows}
    return LatencyReport(**{**values, **changes})


def test_cascade_stands_beside_its_members_and_itself_without_exit():
    """Check kinds, names, their order, and batch sizes."""
    report = latency_report(cascade_w(), X, batch_sizes=(2, 6), n_repeats=2)
    assert isinstance(report, LatencyReport)
    contestants = [
        ("alone", "a"),
        ("alone", "b"),
        ("alone", "c"),
        ("no early exit", ""),
        ("cascade", ""),
    ]
    assert [row[2:4] for row in report.measurements] == contestants * 2
    assert [row.batch_size for row in report.measurements] == [2] * 5 + [6] * 5
    assert {row.n_repeats for row in report.measurements} == {2}
    assert (report.n_samples, report.n_threads) == (6, 1)


def test_ensemble_stands_beside_its_members():
    """Check that an ensemble, which has no early exit, is timed once; dropped ones are not."""
    members = members_w()
    members[1] = ("b", "drop")
    ensemble = AveragingEnsemble(members).fit(X, LABELS_W)
    report = latency_report(ensemble, X, batch_sizes=[3], n_repeats=1)
    kinds = [row[2:4] for row in report.measurements]
    assert kinds == [("alone", "a"), ("alone", "c"), ("ensemble", "")]


def test_cascade_of_one_stage_has_no_line_without_exit():
    """Check that what cannot exit early is not timed twice."""
    cascade = CascadeClassifier(members_w()[:1]).fit(X, LABELS_W)
    report = latency_report(cascade, X, batch_sizes=[3], n_repeats=1)
    assert [row.kind for row in report.measurements] == ["alone", "cascade"]


@pytest.mark.parametrize("form", [list, dict, tuple])
def test_named_classifiers_are_timed_as_they_are(form):
    """Check a list, a mapping and a tuple of classifiers."""
    report = latency_report(form(members_w()), X, batch_sizes=[3], n_repeats=1)
    assert [row[2:4] for row in report.measurements] == [("alone", name) for name in "abc"]


@pytest.mark.parametrize("n_repeats", [1, 4])
def test_each_is_called_once_to_warm_up_and_then_timed(n_repeats):
    """Check the number of calls of each member, alone, without early exit and in the cascade."""
    members = members_w()
    # Never exits, so that the cascade calls all its members in each of its own calls.
    latency_report(cascade_w(members, np.inf), X, batch_sizes=[2], n_repeats=n_repeats)
    assert [len(member.asked) for _, member in members] == [3 * (1 + n_repeats)] * 3


def test_cascade_asks_its_members_only_for_the_rows_that_reach_them():
    """Check the rows of the calls: alone, all together, and with early exit, in turns."""
    members = members_w()
    latency_report(cascade_w(members), X, batch_sizes=[6], n_repeats=1)
    every = [0, 1, 2, 3, 4, 5]
    assert members[0][1].asked == [every, every, every] * 2
    assert members[1][1].asked == [every, every, [2, 3, 5]] * 2
    assert members[2][1].asked == [every, every, [2, 5]] * 2


@pytest.mark.parametrize(
    ("batch_size", "n_repeats", "timed"),
    [
        (1, 3, [[0], [2], [4]]),
        (2, 3, [[0, 3], [1, 4], [2, 5]]),
        (3, 2, [[0, 2, 4], [1, 3, 5]]),
        (6, 2, [[0, 1, 2, 3, 4, 5]] * 2),
        (1, 12, [[0], [0], [1], [1], [2], [2], [3], [3], [4], [4], [5], [5]]),
        (4, 2, [[0, 1, 3, 4], [0, 2, 3, 5]]),
    ],
)
def test_calls_bring_other_rows_spread_evenly(batch_size, n_repeats, timed):
    """Check the rows of each timed call; the first of them also warm up."""
    member = scripted(6)
    latency_report({"m": member}, X, batch_sizes=[batch_size], n_repeats=n_repeats)
    assert member.asked == [timed[0], *timed]


@pytest.mark.parametrize(("n_samples", "batch_size", "n_repeats"), [(97, 1, 200), (1000, 7, 31)])
def test_rows_of_all_calls_cover_the_data_evenly(n_samples, batch_size, n_repeats):
    """Check that no row is asked for twice in a call, nor much more often than others in all."""
    member = scripted(n_samples)
    latency_report(
        [("m", member)], numbered_rows(n_samples), batch_sizes=[batch_size], n_repeats=n_repeats
    )
    assert {len(set(rows)) for rows in member.asked} == {batch_size}
    counts = np.bincount(np.concatenate(member.asked[1:]), minlength=n_samples)
    assert np.ptp(counts) <= 1


def test_all_contestants_get_the_same_rows():
    """Check that every classifier is asked for the same batches in the same order."""
    members = [(name, scripted(50)) for name in "abc"]
    latency_report(members, numbered_rows(50), batch_sizes=(1, 7), n_repeats=5)
    first, second, third = [member.asked for _, member in members]
    assert first == second == third


@pytest.mark.parametrize(
    ("batch_size", "n_calls"), [(1, 200), (10, 200), (32, 62), (100, 20), (150, 20)]
)
def test_small_batches_are_called_more_often_by_default(batch_size, n_calls):
    """Check the default number of calls, and that the report states it."""
    member = scripted(150)
    report = latency_report([("m", member)], numbered_rows(150), batch_sizes=[batch_size])
    assert len(member.asked) == 1 + n_calls
    assert report.measurements[0].n_repeats == n_calls
    assert f"batch of {batch_size}, {n_calls} calls" in str(report)


@pytest.mark.parametrize(
    ("batch_sizes", "kept"),
    [
        ((1, 32, 1000), [1, 6]),
        ((4, 2, 4), [4, 2]),
        ([np.int64(3)], [3]),
        (iter([2]), [2]),
        (5, [5]),
    ],
)
def test_batches_are_cut_to_the_rows_and_each_is_timed_once(batch_sizes, kept):
    """Check that sizes keep their order, without those that come out equal."""
    report = latency_report([("m", scripted(6))], X, batch_sizes=batch_sizes, n_repeats=1)
    assert [row.batch_size for row in report.measurements] == kept


def test_figures_agree_with_each_other():
    """Check order of the percentiles, rows per second from the mean, and the speedup."""
    rng = np.random.default_rng(0)
    members = [("nb", GaussianNB().fit(rng.normal(size=(60, 3)), np.arange(60) % 3))]
    members.append(("wide", GaussianNB().fit(rng.normal(size=(60, 3)), np.arange(60) % 20)))
    report = latency_report(members, rng.normal(size=(60, 3)), batch_sizes=(1, 60), n_repeats=9)
    for row in report.measurements:
        assert 0 < row.median <= row.p99
        assert row.rows_per_second == pytest.approx(row.batch_size / row.mean)
    for size in (1, 60):
        means = [row.mean for row in report.measurements if row.batch_size == size]
        speedups = [row.speedup for row in report.measurements if row.batch_size == size]
        assert speedups == pytest.approx([max(means) / mean for mean in means])


@pytest.mark.parametrize("form", ["list", "frame", "sparse"])
def test_rows_keep_their_type(form):
    """Check that batches of a list, a frame or a sparse matrix are of the same type."""
    rows = numbered_rows(6)
    if form == "list":
        rows = rows.tolist()
    elif form == "frame":
        rows = pytest.importorskip("pandas").DataFrame(rows, columns=["number"])
    elif form == "sparse":
        rows = csr_matrix(rows)
    types = []

    class Looking(ScriptedMember):
        def predict_proba(self, X):
            types.append(type(X))
            return np.full((X.shape[0] if hasattr(X, "shape") else len(X), 2), 0.5)

    latency_report([("m", Looking([[0.5, 0.5]]))], rows, batch_sizes=[1, 4], n_repeats=2)
    assert set(types) == {type(rows)}


def test_threads_are_stated():
    """Check the number of threads, given or left as it is."""
    report = latency_report([("m", scripted(6))], X, batch_sizes=[1], n_repeats=1, n_threads=2)
    assert report.n_threads == 2
    report = latency_report([("m", scripted(6))], X, batch_sizes=[1], n_repeats=1, n_threads=None)
    assert report.n_threads >= 1


def test_report_cannot_be_changed():
    """Check that fields are frozen."""
    with pytest.raises(FrozenInstanceError, match="n_samples"):
        invented().n_samples = 3


def test_table_is_rows_of_plain_values():
    """Check keys and values of the rows, and that the whole is ready for JSON."""
    report = latency_report(cascade_w(), X, batch_sizes=[np.int64(2)], n_repeats=np.int64(1))
    assert list(report.rows()[0]) == [
        *("batch_size", "n_repeats", "kind", "name"),
        *("median", "mean", "p99", "rows_per_second", "speedup"),
    ]
    assert json.loads(json.dumps(report.to_dict())) == {
        "n_samples": 6,
        "n_threads": 1,
        "rows": report.rows(),
    }


def test_frame_is_the_table():
    """Check the DataFrame."""
    pandas = pytest.importorskip("pandas")
    frame = invented().to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.to_dict("records") == invented().rows()


def test_text_is_a_table_with_a_block_for_each_batch_size():
    """Check the text, letter for letter."""
    assert str(invented()) == repr(invented())
    assert str(invented()).splitlines() == [
        "Time of a call, batches from 1,797 rows, 1 thread(s)",
        "              median     mean      p99  rows per second  speedup",
        "batch of 1, 200 calls",
        "alone a <b>   100 µs   100 µs   200 µs           10,000    20.00",
        "alone c      2.00 ms  2.00 ms  3.00 ms              500     1.00",
        "cascade       100 µs   500 µs  3.00 ms            2,000     4.00",
        "",
        "batch of 1,000, 20 calls",
        "alone a <b>  1.00 ms  1.00 ms  2.00 ms        1,000,000    50.00",
        "alone c      50.0 ms  50.0 ms  60.0 ms           20,000     1.00",
        "cascade      16.0 ms  16.0 ms  20.0 ms           62,500     3.12",
        "",
        "Warm calls of predict_proba, in turns, on other rows each time.",
        "Rows per second and speedup are from the mean; speedup is against the slowest alone.",
        "Of fewer than 100 calls the p99 is nearly the slowest.",
    ]


def test_remark_on_few_calls_is_left_out_where_there_are_many():
    """Check that the last sentence depends on the number of calls."""
    report = invented(measurements=invented().measurements[:3])
    assert "nearly the slowest" not in str(report)


def test_slow_rates_keep_their_digits():
    """Check rows per second below a hundred."""
    row = Latency(1, 200, "alone", "net", 2.5, 2.5, 3.0, 0.4, 1.0)
    assert "  0.400     1.00" in str(invented(measurements=(row,)))


def test_html_is_a_table_and_escapes_names():
    """Check that a notebook shows the same cells."""
    html = invented()._repr_html_()
    assert html.count("<tr>") == 1 + 2 + 6
    assert "alone a &lt;b&gt;" in html
    assert "<b>" not in html
    assert "batch of 1,000, 20 calls" in html
    assert ">62,500</td>" in html


@pytest.mark.parametrize(
    ("estimators", "error", "message"),
    [
        ([], ValueError, r"estimators=\[\] is empty"),
        ({}, ValueError, r"estimators=\{\} is empty"),
        (
            GaussianNB(),
            TypeError,
            r"estimators=GaussianNB\(\); expected a fitted cascade or ensemble",
        ),
        (
            [GaussianNB()],
            TypeError,
            r"expected a fitted cascade or ensemble, a list of \(name, classifier\)",
        ),
        ([("svm", LinearSVC())], TypeError, "'svm' is a LinearSVC without predict_proba"),
        ([("a", "drop")], TypeError, "'a' is a str without predict_proba"),
        (CascadeClassifier(members_w()), NotFittedError, "CascadeClassifier"),
        ([("nb", GaussianNB())], NotFittedError, "GaussianNB"),
    ],
)
def test_wrong_estimators_are_refused(estimators, error, message):
    """Check errors for nothing, other kinds, members without probabilities, and the unfitted."""
    with pytest.raises(error, match=message):
        latency_report(estimators, X, batch_sizes=[1], n_repeats=1)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"batch_sizes": []}, r"batch_sizes=\[\]; expected integers of at least 1"),
        ({"batch_sizes": (1, 0)}, r"batch_sizes=\(1, 0\); expected integers of at least 1"),
        ({"batch_sizes": 2.5}, r"batch_sizes=2\.5; expected integers of at least 1"),
        ({"n_repeats": 0}, "n_repeats=0; expected an integer of at least 1"),
        ({"n_threads": 0.5}, "n_threads=0.5; expected an integer of at least 1"),
    ],
)
def test_wrong_numbers_are_refused_before_any_call(params, message):
    """Check the errors for numbers, and that no classifier was asked."""
    member = scripted(6)
    with pytest.raises(ValueError, match=message):
        latency_report([("m", member)], X, **params)
    assert member.asked == []


def test_no_rows_are_refused():
    """Check the error for an empty X."""
    with pytest.raises(ValueError, match="X has 0 rows; at least one is needed"):
        latency_report([("m", scripted(6))], X[:0])
