"""Where recorded answers of real models lie, if they are at hand; the project holds none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Folders, best first, that may hold `predictions/` and `cifar10_family/`.
PLACES = [
    os.environ.get("SKLEARN_CASCADE_DATA", ""),
    str(Path(__file__).parents[2] / "shared" / "data"),
]


def find_folder(part: str) -> Path | None:
    """Return the folder that holds a file or folder of recorded data; None without."""
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
