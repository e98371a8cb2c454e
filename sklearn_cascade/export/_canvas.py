"""Writing the nodes of one graph, or of one branch of an `If`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sklearn_cascade.export._packages import package


class Canvas:
    """A graph being written.

    Parameters
    ----------
    prefix : str
        Put before all names.
    taken : set of str, default=None
        Names given so far, shared with the canvases within.

    Attributes
    ----------
    nodes, initializers : list
        What was written.
    prefix : str
        Put before all names.
    """

    def __init__(self, prefix: str, taken: set[str] | None = None) -> None:
        self.prefix = prefix
        self.nodes: list = []
        self.initializers: list = []
        self._taken = set() if taken is None else taken

    def within(self, prefix: str) -> Canvas:
        """Return a canvas for a branch."""
        return Canvas(prefix, self._taken)

    def add(self, kind: str, *inputs: str, name: str | None = None, domain: str = "", **attributes):
        """Add a node with one output; return the output's name."""
        output = self._fresh(name or kind.lower())
        self.place(kind, inputs, [output], domain=domain, **attributes)
        return output

    def place(
        self, kind: str, inputs: Sequence[str], outputs: Sequence[str], domain="", **attributes
    ) -> None:
        """Add a node with outputs of given names."""
        self.nodes.append(
            package("onnx").helper.make_node(
                kind, list(inputs), list(outputs), name=outputs[0], domain=domain, **attributes
            )
        )

    def hold(self, values, dtype, name: str) -> str:
        """Add a constant; return its name."""
        name = self._fresh(name)
        array = np.asarray(values, dtype=dtype)
        self.initializers.append(package("onnx").numpy_helper.from_array(array, name))
        return name

    def adopt(self, nodes: Sequence, initializers: Sequence) -> None:
        """Add nodes and constants that were named elsewhere."""
        self.nodes.extend(nodes)
        self.initializers.extend(initializers)

    def branch(self, name: str, outputs: Sequence):
        """Return what was written as the graph of a branch, given what it hands out."""
        return package("onnx").helper.make_graph(
            self.nodes, name, [], list(outputs), self.initializers
        )

    def fresh_names(self, *names: str) -> list[str]:
        """Return names that nobody has."""
        return [self._fresh(name) for name in names]

    def _fresh(self, name: str) -> str:
        """Return a name that nobody has, with the prefix."""
        wanted, count = self.prefix + name, 1
        while wanted in self._taken:
            count += 1
            wanted = f"{self.prefix}{name}_{count}"
        self._taken.add(wanted)
        return wanted
