"""The folder of recorded predictions of real models, if there is one; the project has none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Folders that may hold `predictions/` and `cifar10_family/`, in order of preference.
PLACES = [
    os.environ.get("SKLEARN_CASCADE_DATA", ""),
    str(Path(__file__).parents[2] / "shared" / "data"),
]


def find_folder(part: str) -> Path | None:
    """Return the folder that holds a file or folder of recorded data; None if there is none."""
    found = (Path(place) for place in PLACES if place and (Path(place) / part).exists())
    return next(found, None)


def folder_with(part: str) -> Path:
    """Return the folder that holds a file or folder of recorded data, or skip."""
    folder = find_folder(part)
    if folder is None:
        pytest.skip(
            f"{part} is neither in the folder SKLEARN_CASCADE_DATA names nor in shared/data"
        )
    return folder
