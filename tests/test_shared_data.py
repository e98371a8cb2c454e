"""Tests on recorded predictions of real networks, where these are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from sklearn_cascade import AveragingEnsemble, CascadeClassifier, PrefitClassifier

# Folders, best first, that may hold `predictions/` and `cifar10_family/`.
PLACES = [
    os.environ.get("SKLEARN_CASCADE_DATA", ""),
    Path(__file__).parents[2] / "shared" / "data",
]
# Each ladder in order of cost, with the points of test accuracy its README or a trial shows
# that a cascade may lose: less than 0.5.
LADDER = ["resnet_3m", "resnet_10m_seed1", "resnet_21m", "resnet_40m"]
POOL_LADDER = 4


class Lookup:
    """A network that repeats its recorded probabilities for row numbers, and counts calls."""

    def __init__(self, table):
        self.table = table
        self.asked = []

    def __call__(self, rows):
        self.asked.append(len(rows))
        return self.table[rows]


def load(name):
    """Return a recorded file, or skip where no folder holds it."""
    for place in filter(None, PLACES):
        if (Path(place) / name).is_file():
            return np.load(Path(place) / name, allow_pickle=False)
    pytest.skip(f"{name} is neither in the folder SKLEARN_CASCADE_DATA names nor in shared/data")


def frozen_members(names, tables, costs):
    """Return one frozen member per recorded table, with the cost it declares."""
    return [
        (name, PrefitClassifier(Lookup(table), np.arange(10), name=name, cost=float(cost)))
        for name, table, cost in zip(names, tables, costs, strict=True)
    ]
