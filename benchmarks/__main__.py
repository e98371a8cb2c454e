"""Command line of the benchmarks: ``python -m benchmarks predict``, ``search``, ``members``, ..."""

from __future__ import annotations

import argparse

from benchmarks import (
    certify,
    learned_confidence,
    members,
    onnx,
    onnx_members,
    peers,
    predict,
    published,
    scale,
    search,
    shape,
)

COMMANDS = {
    "predict": predict,
    "search": search,
    "members": members,
    "onnx": onnx,
    "onnx-members": onnx_members,
    "certify": certify,
    "learned-confidence": learned_confidence,
    "peers": peers,
    "published": published,
    "scale": scale,
    "shape": shape,
}
# Those that read recorded data, and whether they need it.
READ_DATA = {
    "members": False,
    "onnx": False,
    "certify": False,
    "learned-confidence": True,
    "published": True,
}


def main(arguments=None):
    """Run one benchmark and print its table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=module.__doc__.splitlines()[0])
        command.add_argument("--quick", action="store_true", help="toy size, for the tests")
        if hasattr(module, "add_arguments"):
            module.add_arguments(command)
        if name in READ_DATA:
            required = READ_DATA[name]
            command.add_argument("--data", required=required, help="folder of the recorded data")
    chosen = parser.parse_args(arguments)
    options = vars(chosen)
    COMMANDS[options.pop("command")].run(**options)


if __name__ == "__main__":
    main()
