"""Command line of the benchmarks: ``python -m benchmarks predict``, ``search``, ``published``."""

from __future__ import annotations

import argparse

from benchmarks import predict, published, search

COMMANDS = {"predict": predict, "search": search, "published": published}


def main(arguments=None):
    """Run one benchmark and print its table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=module.__doc__.splitlines()[0])
        command.add_argument("--quick", action="store_true", help="toy size, for the tests")
        if module is published:
            command.add_argument("--data", required=True, help="folder of the recorded data")
    chosen = parser.parse_args(arguments)
    options = vars(chosen)
    COMMANDS[options.pop("command")].run(**options)


if __name__ == "__main__":
    main()
