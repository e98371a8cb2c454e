"""The blocks of code of the guide's page about scale, as the tests run them."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import sklearn_cascade

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "scale.rst"
_BLOCK = re.compile(
    r"^\.\. code-block:: python\n    :name: (\S+)\n\n((?:(?: {4}.*)?\n)+)", re.MULTILINE
)
BLOCKS = {
    name: textwrap.dedent(code) for name, code in _BLOCK.findall(PAGE.read_text(encoding="utf-8"))
}


def run_blocks(*names, **given):
    """Run blocks one after the other with the given names; return all names they define."""
    # As in a script, so that its functions are pickled by value.
    found = {"__name__": "__main__", **vars(sklearn_cascade), **given}
    for name in names:
        exec(compile(BLOCKS[name], f"{PAGE.name}:{name}", "exec"), found)
    return found
