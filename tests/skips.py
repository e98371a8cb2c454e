"""The end of a test run: what was skipped, why, and which command runs it."""

from __future__ import annotations

import re
from collections import Counter

# What a reason says, what is missing in plain words, and the command that runs these tests. The
# first that matches counts.
GROUPS = (
    (
        r"extra 'scale'|needs (fastapi|starlette|uvicorn|httpx|prometheus)|Spark needs Java",
        "Dask, Ray, Spark and the server, the extra 'scale'",
        "make test-scale (and Java 17 for Spark)",
    ),
    (
        r"need(s)? (torch|skorch|keras)",
        "PyTorch, skorch and Keras, the extra 'deep'",
        "make test-deep",
    ),
    (
        r"SKLEARN_CASCADE_DATA",
        "recorded predictions of real models, which the project does not hold",
        "SKLEARN_CASCADE_DATA=FOLDER make test",
    ),
    (
        r"SCIPY_ARRAY_API",
        "scikit-learn's checks of array API input",
        "SCIPY_ARRAY_API=1 make test",
    ),
    (
        r"Node is not installed|onnxruntime-node",
        "Node and its package onnxruntime-node",
        "npm install -g onnxruntime-node, then make test",
    ),
    (
        r"onnxmltools is installed",
        "what users see without onnxmltools",
        "make test-min, which leaves it out",
    ),
    (
        r"scikit-learn",
        "another version of scikit-learn",
        "make test-min (the oldest) or make test (the newest)",
    ),
    (
        r"opset|onnx 1\.\d+ brings",
        "another version of onnx or onnxruntime",
        "make test-min (the oldest) or make test (the newest)",
    ),
    (
        r"is not installed|needs? \w+$|could not import|setuptools",
        "a package of the extra 'test', 'boosters' or 'bench'",
        "make test, which installs them",
    ),
)


def lines_about_skips(reasons):
    """Return one line per kind of reason: how many tests, what is missing, which command helps."""
    counts = Counter(_group_of(reason.removeprefix("Skipped: ")) for reason in reasons)
    return [
        f"{count} skipped: {missing}" + (f" -> {command}" if command else "")
        for (missing, command), count in counts.most_common()
    ]


def _group_of(reason):
    """Return what is missing and the command of a reason; the reason itself where none matches."""
    for words, missing, command in GROUPS:
        if re.search(words, reason):
            return missing, command
    return reason, ""
