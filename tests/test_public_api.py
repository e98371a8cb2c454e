"""Tests of the public names: exactly the intended ones, with complete documentation."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest
from numpydoc.docscrape import ClassDoc, FunctionDoc
from numpydoc.validate import validate
from sklearn.datasets import load_iris
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

import sklearn_cascade
from sklearn_cascade import exceptions

PUBLIC = [
    "AveragingEnsemble",
    "CascadeClassifier",
    "CascadePrediction",
    "CascadeSearchCV",
    "CertificationReport",
    "CostReport",
    "EnsembleComparison",
    "ExitDisplay",
    "ExitMonitor",
    "ExportReport",
    "LatencyReport",
    "LearnedConfidence",
    "MeasuredCosts",
    "OnnxClassifier",
    "ParetoFront",
    "PrefitClassifier",
    "TradeoffDisplay",
    "latency_report",
    "make_cost_scorer",
    "measure_costs",
    "min_certification_samples",
    "noninferiority_pvalue",
    "noninferiority_upper_bound",
    "register_onnx_converter",
    "search_cascades",
    "split_ensemble",
    "to_onnx",
]
# Results that users do not build; the function or method that returns one has the example.
VALUE_OBJECTS = [
    "CascadePrediction",
    "CertificationReport",
    "CostReport",
    "EnsembleComparison",
    "ExportReport",
    "LatencyReport",
    "MeasuredCosts",
]
# As in scikit-learn's own test of docstrings, and for the same reasons.
IGNORED = {
    "GL01",  # the summary starts on the line of the quotes
    "GL02",  # short docstrings close on that line
    "RT02",  # return values are named
    "ES01",  # one sentence may be enough
    "SA01",  # not for methods and exceptions; checked below for the others
    "EX01",  # the same
}
# Each has to occur, so that none outlives its reason.
EXCEPTIONS = {
    # The fields are under Attributes, where readers of a result look for them.
    "sklearn_cascade.CascadePrediction": {"PR01"},
    "sklearn_cascade.CostReport": {"PR01"},
    "sklearn_cascade.CertificationReport": {"PR01"},
    # Their one line describes the returned value.
    "sklearn_cascade.CostReport.rows": {"RT01"},
    "sklearn_cascade.CostReport.to_dict": {"RT01"},
    "sklearn_cascade.CostReport.to_frame": {"RT01"},
    "sklearn_cascade.CertificationReport.rows": {"RT01"},
    "sklearn_cascade.CertificationReport.to_dict": {"RT01"},
    "sklearn_cascade.CertificationReport.to_frame": {"RT01"},
    "sklearn_cascade.ExportReport": {"PR01"},
    "sklearn_cascade.ExportReport.to_dict": {"RT01"},
    "sklearn_cascade.LatencyReport": {"PR01"},
    "sklearn_cascade.EnsembleComparison": {"PR01"},
    "sklearn_cascade.LatencyReport.rows": {"RT01"},
    "sklearn_cascade.LatencyReport.to_dict": {"RT01"},
    "sklearn_cascade.LatencyReport.to_frame": {"RT01"},
}


def public_objects():
    """Return every public class and function by its dotted name."""
    names = [("sklearn_cascade", name) for name in PUBLIC]
    names += [("sklearn_cascade.exceptions", name) for name in exceptions.__all__]
    return {
        f"{module}.{name}": getattr(importlib.import_module(module), name) for module, name in names
    }


def own_methods(cls):
    """Return the names of the public methods and properties that this package defines."""
    names = []
    for name, member in inspect.getmembers(cls):
        function = member.fget if isinstance(member, property) else member
        if not name.startswith("_") and getattr(function, "__module__", "").startswith(
            "sklearn_cascade"
        ):
            names.append(name)
    return names


OBJECTS = public_objects()
METHODS = [
    f"{dotted}.{method}"
    for dotted, cls in OBJECTS.items()
    if inspect.isclass(cls)
    for method in own_methods(cls)
]


def test_public_names_are_exactly_the_intended_ones():
    """Check that the top level exports the intended names, sorted, and each one resolves."""
    assert sklearn_cascade.__all__ == PUBLIC
    assert sorted(PUBLIC) == PUBLIC
    for name in PUBLIC:
        assert callable(getattr(sklearn_cascade, name))


def test_top_level_has_no_other_visible_name():
    """Check that all other visible names are subpackages and modules, and none is an import."""
    visible = {name for name in dir(sklearn_cascade) if not name.startswith("_")}
    modules = {module.name for module in pkgutil.iter_modules(sklearn_cascade.__path__)}
    assert visible - modules == set(PUBLIC)


def test_every_exception_can_be_caught_and_is_listed():
    """Check that the module of exceptions lists, sorted, each class it defines."""
    defined = [
        name
        for name, cls in vars(exceptions).items()
        if inspect.isclass(cls) and issubclass(cls, Exception)
    ]
    assert exceptions.__all__ == sorted(defined)


@pytest.mark.parametrize("dotted", [*OBJECTS, *METHODS])
def test_docstring_is_valid_numpydoc(dotted):
    """Check that numpydoc finds only the listed errors in a public docstring."""
    found = {code: text for code, text in validate(dotted)["errors"] if code not in IGNORED}
    assert set(found) == EXCEPTIONS.get(dotted, set()), found


@pytest.mark.parametrize("name", PUBLIC)
def test_documented_parameters_are_those_of_the_signature(name):
    """Check names, order and defaults of the documented parameters against the signature."""
    target = getattr(sklearn_cascade, name)
    # Private fields of a result are no parameters.
    signature = [
        parameter
        for parameter in inspect.signature(target).parameters.values()
        if not parameter.name.startswith("_")
    ]
    documented = documentation(target)["Attributes" if is_record(target) else "Parameters"]
    assert [entry.name for entry in documented] == [parameter.name for parameter in signature]
    for entry, parameter in zip(documented, signature, strict=True):
        if parameter.default is not parameter.empty:
            default = repr(parameter.default).replace("'", '"')
            assert entry.type.endswith(f", default={default}"), entry


@pytest.mark.parametrize("name", sorted(set(PUBLIC) - set(VALUE_OBJECTS)))
def test_public_name_has_examples_and_see_also(name):
    """Check that each class and function but the value objects has Examples and See Also."""
    sections = documentation(getattr(sklearn_cascade, name))
    assert any(">>>" in line for line in sections["Examples"])
    assert sections["See Also"]


@pytest.mark.parametrize("name", ["AveragingEnsemble", "CascadeClassifier"])
def test_documented_attributes_are_those_of_a_fitted_estimator(name):
    """Check that a fitted estimator has every documented attribute, and no other."""
    pandas = pytest.importorskip("pandas")
    cls = getattr(sklearn_cascade, name)
    X, y = load_iris(return_X_y=True)
    members = [("nb", GaussianNB()), ("tree", DecisionTreeClassifier(max_depth=2, random_state=0))]
    fitted = cls(members).fit(pandas.DataFrame(X, columns=list("abcd")), y)
    # Before 1.8 scikit-learn lists attributes that are absent, too.
    names = [name for name in dir(fitted) if name.endswith("_") and not name.startswith("_")]
    public = {name for name in names if hasattr(fitted, name)}
    documented = {
        each for entry in documentation(cls)["Attributes"] for each in entry.name.split(", ")
    }
    assert public == documented


def documentation(target):
    """Return the sections of a docstring."""
    return ClassDoc(target) if inspect.isclass(target) else FunctionDoc(target)


def is_record(target):
    """Return whether a class lists its fields as attributes instead of parameters."""
    return "PR01" in EXCEPTIONS.get(f"sklearn_cascade.{target.__name__}", ())
