"""What a file tells about itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from sklearn_cascade.exceptions import ConversionError
from sklearn_cascade.export._models import Built
from sklearn_cascade.export._report import ExportReport

UNVERIFIED = "unverified"
_VERSION = "version_"
_OWN = {
    *("classes", "stages", "weights", "costs", "cost_unit", "thresholds", "combine", "confidence"),
    *("verification", "verification_figures"),
}
_PACKAGES = ("sklearn-cascade", "scikit-learn", "skl2onnx", "onnx", "onnxruntime")


def check_metadata(given) -> dict[str, str]:
    """Return the user's entries, text for text, none of them named like one of the file's own."""
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        raise ConversionError(f"metadata={given!r}; expected a dict from text to text")
    for key, value in given.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise ConversionError(f"metadata has {key!r}: {value!r}; expected text for text")
        if key in _OWN or key.startswith(_VERSION):
            raise ConversionError(
                f"metadata has {key!r}, which the file tells itself; expected another name than "
                f"{sorted(_OWN)}"
            )
    return dict(given)


def metadata_of(
    builts: list[Built], classes: np.ndarray, report: ExportReport | None, given
) -> dict[str, str]:
    """Return the entries of a file's metadata.

    Parameters
    ----------
    builts : list of Built
        The committees in the file; what is told of routing is the only one's.
    classes : ndarray of shape (n_classes,)
        Labels of the file's columns.
    report : ExportReport or None
        The comparison; None where there was none.
    given : dict from str to str
        The user's own entries.
    """
    entries = {} if len(builts) != 1 else _of_committee(builts[0])
    entries["classes"] = json.dumps(np.asarray(classes).tolist())
    entries.update({_VERSION + name: v for name, v in _versions().items()})
    entries["verification"] = UNVERIFIED if report is None else str(report)
    if report is not None:
        entries["verification_figures"] = json.dumps(report.to_dict())
    return {**entries, **given}


def write_metadata(model, entries: dict[str, str]) -> None:
    """Put entries into a model."""
    for key, value in entries.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value


def _of_committee(built: Built) -> dict[str, str]:
    """Return what is told of one committee."""
    plan = built.blueprint
    listed = {
        "stages": [stage.name for stage in plan.stages],
        "weights": plan.weights,
        "costs": np.diff(plan.costs, prepend=0.0).tolist(),
    }
    if plan.exits_early:
        # JSON has no infinity; Python's own writing of it is widely read all the same.
        listed["thresholds"] = [t if np.isfinite(t) else str(t) for t in plan.thresholds]
    entries = {key: json.dumps(value) for key, value in listed.items()}
    entries.update(cost_unit=plan.cost_unit, combine=plan.combine)
    if plan.confidence is not None:
        entries["confidence"] = plan.confidence
    return entries


def _versions() -> dict[str, str]:
    """Return the versions of the packages at work, those that are installed as packages."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
