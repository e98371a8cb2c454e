"""Tests of the comparison that a file passes before it is returned."""

from __future__ import annotations

import json
import pickle
import warnings

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cascade import AveragingEnsemble, CascadeClassifier, ExportReport, to_onnx
from sklearn_cascade.core._thresholds import threshold_at
from sklearn_cascade.exceptions import FewSamplesWarning, NoGainWarning, OnnxMismatchError
from tests.export.sessions import run

pytest.importorskip("onnxruntime", reason="the export needs onnxruntime")
skl2onnx = pytest.importorskip("skl2onnx", reason="the export needs skl2onnx")

quiet = pytest.mark.filterwarnings(
    "ignore::sklearn_cascade.exceptions.NoGainWarning",
    "ignore::sklearn_cascade.exceptions.FewSamplesWarning",
)
# What a row may fall short of a threshold by and exit all the same.
ALLOWANCE = 1e-5
# Options that skl2onnx requires of the converter of a linear model.
_OPTIONS = {"output_class_labels": [False, True], "raw_scores": [True, False]}


@pytest.fixture(scope="module")
def rows():
    """Return rows to fit on, their labels, and 600 more rows in float32."""
    X, y = make_classification(900, 10, n_informative=6, n_classes=3, class_sep=1.3, random_state=0)
    return X[:300], y[:300], X[300:].astype("f4")


@pytest.fixture(scope="module")
def members(rows):
    """Return fitted members by name, frozen so that a cascade keeps them."""
    X, y, _ = rows
    made = {
        "nb": GaussianNB(),
        "linear": make_pipeline(StandardScaler(), LogisticRegression()),
        "forest": RandomForestClassifier(20, random_state=0),
        "near": KNeighborsClassifier(),
        # Some million multiplications, far beyond what the routing takes.
        "large": MLPClassifier((1500, 1500), max_iter=1, batch_size=300, random_state=0),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: FrozenEstimator(member.fit(X, y)) for name, member in made.items()}


def cascade_of(members, names, rows, **parameters):
    """Return a cascade of some of the members."""
    named = [(name, members[name]) for name in names.split()]
    return CascadeClassifier(named, **{"thresholds": 0.8, **parameters}).fit(*rows[:2])


def metadata_of(model):
    """Return the metadata of a file."""
    return {entry.key: entry.value for entry in model.metadata_props}


def figures(model):
    """Return the figures of a file's comparison."""
    return json.loads(metadata_of(model)["verification_figures"])


def graph_proba(member, rows):
    """Return the probabilities of the graph of a member alone."""
    ensemble = AveragingEnsemble([("member", member)]).fit(*rows[:2])
    return run(to_onnx(ensemble, rows[2], verify=False), rows[2])["probabilities"]


def row_maxima(left, right):
    """Return the largest difference in each row."""
    return np.abs(left.astype(float) - right).max(axis=1)


@quiet
def test_figures_are_those_of_the_file(rows, members):
    """Check every figure of a report against runs of the file and of its members alone."""
    X = rows[2]
    cascade = cascade_of(members, "nb linear forest", rows, thresholds=[0.8313, 0.7717])
    model = to_onnx(cascade, X)
    found, outputs, expected = figures(model), run(model, X), cascade.predict_details(X)
    assert (found["n_samples"], found["tolerance"], found["problems"]) == (600, 1e-4, [])
    for k, check in enumerate(found["members"]):
        name = ["nb", "linear", "forest"][k]
        apart = row_maxima(graph_proba(members[name], rows), members[name].predict_proba(X))
        assert (check["stage"], check["name"]) == (k, name)
        assert check["n_reached"] == (expected.exit_stage >= k).sum()
        assert check["difference"] == pytest.approx(apart.max(), rel=1e-6)
        assert apart[check["row"]] == apart.max()
        assert 0 < check["seconds"] < 1
    kinds = [check["kind"] for check in found["members"]]
    assert kinds == ["GaussianNB", "Pipeline", "RandomForestClassifier"]
    same = outputs["exit_stage"] == expected.exit_stage
    assert found["n_ties"] + found["n_stage_differences"] == (~same).sum() == 0
    apart = row_maxima(outputs["probabilities"], expected.proba)
    assert found["difference"] == pytest.approx(apart.max(), rel=1e-6)
    assert apart[found["row"]] == apart.max()
    assert found["n_label_differences"] == (outputs["label"] != expected.label).sum() == 0
    sums = np.abs(outputs["probabilities"].sum(axis=1) - 1).max()
    assert found["row_sum_error"] == pytest.approx(sums, rel=1e-6)
    first = members["nb"].predict_proba(X)
    second = (first + members["linear"].predict_proba(X)) / 2
    gaps = [np.abs(first.max(axis=1) - (0.8313 - ALLOWANCE))]
    reached = expected.exit_stage >= 1
    gaps.append(np.abs(second.max(axis=1) - (0.7717 - ALLOWANCE))[reached])
    assert found["smallest_gap"] == pytest.approx(min(gap.min() for gap in gaps), rel=1e-6)


@quiet
def test_rows_at_a_boundary_are_ties(rows, members):
    """Check that rows between float32 and float64 of a boundary are counted, and no error."""
    X, nb = rows[2], members["nb"]
    narrow, wide = graph_proba(nb, rows).max(axis=1).astype(float), nb.predict_proba(X).max(axis=1)
    row = int(np.abs(narrow - wide).argmax())
    boundary = (narrow[row] + wide[row]) / 2
    cascade = cascade_of(members, "nb forest", rows, thresholds=boundary + ALLOWANCE)
    model = to_onnx(cascade, X)
    found, stage = figures(model), run(model, X)["exit_stage"]
    apart = np.flatnonzero(stage != cascade.predict_details(X).exit_stage)
    assert row in apart
    assert found["n_ties"] == len(apart)
    assert found["n_stage_differences"] == 0
    assert found["smallest_gap"] < 1e-5
    assert f"{len(apart)} ties" in metadata_of(model)["verification"]


@quiet
@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.75, 0.9])
def test_typed_threshold_on_a_forests_lattice_makes_no_difference(rows, members, threshold):
    """Check that rows whose votes equal the threshold leave the file as they leave Python."""
    X = rows[2]
    cascade = cascade_of(members, "forest nb", rows, thresholds=threshold)
    on_it = np.isclose(members["forest"].predict_proba(X).max(axis=1), threshold, atol=1e-9)
    assert on_it.sum() > 3
    model = to_onnx(cascade, X)
    found, expected = figures(model), cascade.predict_details(X)
    np.testing.assert_array_equal(run(model, X)["exit_stage"], expected.exit_stage)
    assert (found["n_ties"], found["n_stage_differences"]) == (0, 0)
    assert found["smallest_gap"] == pytest.approx(ALLOWANCE, rel=1e-6)
    assert set(expected.exit_stage[on_it]) == {0}


class ByTheBatch(LogisticRegression):
    """A model that predicts all rows like its converter, and batches of other sizes differently."""

    def predict_proba(self, X):
        """Return the shares, moved to the first class for any but 600 rows."""
        shares = super().predict_proba(X)
        if len(X) != 600:
            shares = shares * 0.2 + np.eye(shares.shape[1])[0] * 0.8
        return shares


@quiet
def test_other_exits_that_are_no_ties_are_an_error(rows, members):
    """Check that rows which exit elsewhere are distinguished from ties, and the first is named."""
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes
    from skl2onnx.operator_converters.linear_classifier import convert_sklearn_linear_classifier

    skl2onnx.update_registered_converter(
        ByTheBatch,
        "TestByTheBatch",
        calculate_linear_classifier_output_shapes,
        convert_sklearn_linear_classifier,
        options={"zipmap": [True, False, "columns"], "nocl": [True, False], **_OPTIONS},
    )
    X, y, more = rows
    odd = {"odd": ByTheBatch().fit(X, y), "even": LogisticRegression().fit(X, y)}
    odd = {**members, **{name: FrozenEstimator(member) for name, member in odd.items()}}
    cascade = cascade_of(odd, "nb odd forest", rows, combine="last")
    with pytest.raises(OnnxMismatchError, match="rows exit at another stage") as caught:
        to_onnx(cascade, more)
    report = caught.value.report
    right = cascade_of(odd, "nb even forest", rows, combine="last")
    apart = right.predict_details(more).exit_stage != cascade.predict_details(more).exit_stage
    assert report.n_stage_differences + report.n_ties == apart.sum()
    assert report.n_stage_differences > 10 >= report.n_ties
    assert f"the first of them row {apart.argmax()}" in str(caught.value)
    assert max(check.difference for check in report.members) < 1e-4
    assert "differs on 600 rows" in str(report)


@quiet
def test_error_carries_a_report_that_pickles(rows, members):
    """Check the report of an error, as text, as figures, and after pickling."""
    cascade = cascade_of(members, "nb linear", rows)
    with pytest.raises(OnnxMismatchError, match=r"atol=1e-09") as caught:
        to_onnx(cascade, rows[2], atol=1e-9)
    report = caught.value.report
    assert isinstance(report, ExportReport)
    assert list(report.problems) == caught.value.problems
    assert all(problem in str(report) for problem in caught.value.problems)
    assert json.loads(json.dumps(report.to_dict()))["tolerance"] == 1e-9
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert str(again.report) == str(report)


@quiet
def test_float64_stands_a_narrow_tolerance(rows, members):
    """Check that the tolerance which float32 misses is kept in float64."""
    model = to_onnx(cascade_of(members, "nb linear", rows), rows[2].astype("f8"), atol=1e-9)
    assert figures(model)["difference"] < 1e-12


@pytest.mark.filterwarnings("ignore::sklearn_cascade.exceptions.NoGainWarning")
@pytest.mark.parametrize("n_reached", [0, 29, 30])
def test_few_rows_at_a_stage_are_warned_of(rows, members, n_reached):
    """Check that below 30 rows there is a warning that names the stage, and from 30 on none."""
    confidence = np.sort(members["linear"].predict_proba(rows[2]).max(axis=1))
    pair = confidence[max(n_reached - 1, 0)], confidence[n_reached]
    between = sum(pair) / 2 if n_reached else -np.inf
    cascade = cascade_of(members, "linear forest", rows, thresholds=between + ALLOWANCE)
    if n_reached < 30:
        with pytest.warns(FewSamplesWarning, match=rf"600 rows .*\('forest': {n_reached}\)"):
            model = to_onnx(cascade, rows[2])
    else:
        model = to_onnx(cascade, rows[2])
    assert figures(model)["members"][1]["n_reached"] == n_reached


@pytest.mark.filterwarnings("ignore::sklearn_cascade.exceptions.FewSamplesWarning")
def test_small_members_are_warned_not_to_pay(rows, members):
    """Check the warning for a cascade which always runs both members."""
    cascade = cascade_of(members, "nb linear", rows, thresholds=np.inf)
    with pytest.warns(NoGainWarning, match="does not pay for single rows"):
        model = to_onnx(cascade, rows[2])
    assert figures(model)["advice"] in metadata_of(model)["verification"]


@pytest.mark.filterwarnings("ignore::sklearn_cascade.exceptions.FewSamplesWarning")
def test_large_last_member_pays(rows, members):
    """Check that there is no warning where a large net is spared, and the times in the advice."""
    cascade = cascade_of(members, "linear large", rows, thresholds=0.6)
    model = to_onnx(cascade, rows[2])
    found = figures(model)
    small, large = found["members"]
    expected = small["seconds"] + large["n_reached"] / 600 * large["seconds"] + 8e-6
    assert f"takes about {expected * 1e6:.0f} us" in found["advice"]
    assert f"'large' alone {large['seconds'] * 1e6:.0f} us" in found["advice"]
    assert "the cascade pays" in found["advice"]
    limit = 1 - (small["seconds"] + 8e-6) / large["seconds"]
    assert f"fewer than {limit:.0%} of the rows reach 'large'" in found["advice"]


@quiet
def test_advice_is_for_cascades_alone(rows, members):
    """Check that an ensemble has none, and that a split forest is compared with the full one."""
    X, y, more = rows
    ensemble = AveragingEnsemble([("nb", members["nb"]), ("linear", members["linear"])]).fit(X, y)
    assert figures(to_onnx(ensemble, more))["advice"] == ""
    forest = members["forest"].estimator
    split = CascadeClassifier.from_ensemble(forest, max_disagreement=0.05, X_tune=X)
    assert "the full ensemble" in figures(to_onnx(split, more))["advice"]


@pytest.mark.parametrize("atol", [1e-4, 1e-9])
def test_unverified_file_is_marked(rows, members, atol):
    """Check that without verification there is no warning, no error, no figures, but a mark."""
    cascade = cascade_of(members, "nb linear", rows, thresholds=-np.inf)
    entries = metadata_of(to_onnx(cascade, rows[2], verify=False, atol=atol))
    assert entries["verification"] == "unverified"
    assert "verification_figures" not in entries


@quiet
def test_verbose_prints_the_report(rows, members, capsys):
    """Check that the report is printed with verbose=1, and is the one in the file."""
    cascade = cascade_of(members, "nb linear", rows)
    to_onnx(cascade, rows[2])
    assert capsys.readouterr().out == ""
    model = to_onnx(cascade, rows[2], verbose=1)
    assert capsys.readouterr().out == metadata_of(model)["verification"] + "\n"


@quiet
def test_neighbours_are_not_tried_without_rows(rows, members):
    """Check that the report notes where a run without rows is not safe to try."""
    model = to_onnx(cascade_of(members, "near nb", rows), rows[2])
    (note,) = figures(model)["notes"]
    assert "not tried without rows" in note
    assert note in metadata_of(model)["verification"]
    assert figures(to_onnx(cascade_of(members, "nb linear", rows), rows[2]))["notes"] == []


@quiet
def test_cascade_within_a_pipeline_is_compared_stage_by_stage(rows, members):
    """Check that behind a scaler the members see scaled rows, and all of them."""
    X, y, more = rows
    pipeline = make_pipeline(
        StandardScaler(),
        CascadeClassifier([("nb", GaussianNB()), ("linear", LogisticRegression())], thresholds=0.8),
    ).fit(X, y)
    found = figures(to_onnx(pipeline, more))
    stage = pipeline[-1].predict_details(pipeline[:-1].transform(more)).exit_stage
    assert [check["n_reached"] for check in found["members"]] == [600, (stage >= 1).sum()]
    assert all(0 < check["difference"] < 1e-5 for check in found["members"])


@quiet
def test_many_rows_on_a_boundary_are_no_accident(rows, members):
    """Check that no file is returned whose threshold is a confidence that many rows share."""
    X, y, more = rows
    linear = members["linear"]
    for row in more:
        # The same row over and over, short of its boundary by less than float32 can tell.
        same = np.repeat(row[None], 200, axis=0)
        boundary = linear.predict_proba(same).max() + 1e-9
        cascade = CascadeClassifier(
            [("linear", linear), ("nb", members["nb"])], thresholds=float(threshold_at(boundary))
        ).fit(X, y)
        exits = run(to_onnx(cascade, same, verify=False), same)["exit_stage"]
        # float32 rounds the others away from their boundary.
        if (exits != cascade.predict_details(same).exit_stage).all():
            break
    with pytest.raises(
        OnnxMismatchError, match="200 rows exit at another stage because their conf"
    ):
        to_onnx(cascade, same)
