"""The benchmark of certificates against known truth runs, at toy size."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from io import StringIO

import numpy as np
import pytest
from scipy.stats import multinomial

from benchmarks import learned_confidence_validity
from benchmarks.certify import best_saving, made_up
from benchmarks.learned_confidence_power import paired_power, print_mapie
from sklearn_cascade import noninferiority_pvalue
from tests.tables import tables_of


@pytest.fixture(scope="module")
def printed():
    """Return what a run at toy size prints."""
    text = StringIO()
    with redirect_stdout(text):
        learned_confidence_validity.run(quick=True)
    return text.getvalue()


def tables(text):
    """Return the printed tables, each as one dictionary per line."""
    return [
        [dict(zip(header, row, strict=True)) for row in rows] for header, *rows in tables_of(text)
    ]


def test_validity_prints_a_line_for_each_guarantee(printed):
    """Check that each population is held to each guarantee, with the slack of as many draws."""
    lines = tables(printed)[0]
    names = {line["population"] for line in lines}
    guarantees = {(line["epsilon"], line["delta"]) for line in lines}
    assert len(names) == 6
    assert guarantees == {("0.01", "0.1"), ("0.01", "0.05"), ("0.02", "0.1"), ("0.02", "0.05")}
    assert len(lines) == len(names) * len(guarantees)
    for line in lines:
        delta, violated = float(line["delta"]), float(line["violated"])
        # Toy size is five draws.
        most = delta + 2 * np.sqrt(delta * (1 - delta) / 5)
        assert float(line["delta + 2 sd"]) == pytest.approx(most, abs=1e-4)
        assert line["holds"] == ("yes" if violated <= most else "NO")
    kept = sum(line["holds"] == "yes" for line in lines)
    assert f"the guarantee holds in {kept} of {len(lines)} lines" in printed


def test_validity_prints_shares(printed):
    """Check that what is a share is one, and that the power is the ratio of two savings."""
    for line in tables(printed)[0]:
        for column in ("violated", "refused", "saving", "best possible", "early exits"):
            assert 0 <= float(line[column]) <= 1
        # No more certificates fail than are given.
        assert float(line["violated"]) <= 1 - float(line["refused"]) + 1e-9
        ratio = float(line["saving"]) / float(line["best possible"])
        # Savings are printed to a thousandth, and no best one is below 0.19.
        assert float(line["share of it"]) == pytest.approx(ratio, abs=0.015)


def test_validity_finds_broken_guarantees(capsys, monkeypatch):
    """Check that untested thresholds do not hold, as otherwise the table would prove nothing."""
    validity = learned_confidence_validity
    monkeypatch.setattr(validity, "certified", lambda rows, path, epsilon, delta: path[-1])
    learned_confidence_validity.run(quick=True)
    text = capsys.readouterr().out
    assert {line["holds"] for line in tables(text)[0]} == {"NO"}
    assert "the guarantee holds in 0 of 24 lines" in text


def test_power_agrees_with_the_published_figures(printed):
    """Check both tests against figures rounded to the digits they were published with."""
    lines = tables(printed)[1]
    # One of the ten takes longer than the other nine.
    assert len(lines) == 9
    columns = {
        "exact paired": "paired, published",
        "binomial on regressions": "binomial, published",
    }
    for line in lines:
        for ours, published in columns.items():
            rounding = 0.0011 if len(line[published]) > 4 else 0.0056
            assert float(line[ours]) == pytest.approx(float(line[published]), abs=rounding)
        if line["loss / epsilon"] == "1.0":
            assert float(line["exact paired"]) <= 0.1


def test_paired_power_equals_plain_enumeration():
    """Check the power against the sum over all pairs of counts, tested one by one."""
    n, epsilon, regression_rate, correction_rate = 24, 0.25, 0.1, 0.06
    shares = [regression_rate, correction_rate, 1 - regression_rate - correction_rate]
    power = 0.0
    for regressions in range(n + 1):
        for corrections in range(n + 1 - regressions):
            if noninferiority_pvalue(regressions, corrections, n, epsilon) <= 0.1:
                counts = [regressions, corrections, n - regressions - corrections]
                power += multinomial.pmf(counts, n, shares)
    assert 0.1 < power < 0.9
    # Counts of corrections with a probability of 1e-12 together are left out.
    assert paired_power(n, epsilon, regression_rate, correction_rate) == pytest.approx(
        power, abs=1e-9
    )


def test_best_saving_is_that_of_the_best_threshold():
    """Check the best possible saving against every cut of a small population."""
    truth = made_up("small", 300, (1.5, 3.0)).outcomes
    confidence = truth.confidence[0]
    saved = [0.0]
    for threshold in confidence:
        regressions, corrections, cost = truth.evaluate((threshold,))
        if regressions[0] - corrections[0] <= 0.02 * len(confidence):
            saved.append(1 - cost / truth.costs.sum())
    # Confidences closer than the safe width of a gap are not separated: one row, at times.
    assert best_saving(truth, 0.02) == pytest.approx(max(saved), abs=2 / len(confidence))
    assert best_saving(truth, 0.02) <= max(saved) + 1e-12
    assert max(saved) > 0.1


def test_mapie_is_skipped_if_absent(capsys, monkeypatch):
    """Check that the line names what is missing and how to install it."""
    monkeypatch.setitem(sys.modules, "mapie.risk_control", None)
    print_mapie(3, quick=True)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("MAPIE skipped: ")
    assert "pip install 'sklearn-cascade[bench]'" in line


def test_mapie_is_compared_with_the_paired_certificate(capsys):
    """Check that each method gets the same rows, and is scored against the same truth."""
    pytest.importorskip("mapie.risk_control", reason="MAPIE is not installed")
    print_mapie(6, quick=True)
    (lines,) = tables(capsys.readouterr().out)
    assert len(lines) == 4
    assert len({line["best possible"] for line in lines}) == 1
    for line in lines:
        for column in ("violated", "refused", "saving"):
            assert 0 <= float(line[column]) <= 1
        if line["refused"] == "1.000":
            assert float(line["saving"]) == 0
    ours, holm = lines[:2]
    # An accuracy of 500 rows has a standard deviation of 1.2 points, so that one is lost in it.
    assert float(ours["refused"]) < float(holm["refused"])
    assert float(ours["saving"]) > float(holm["saving"])
