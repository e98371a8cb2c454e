"""Command line of the benchmarks: ``python -m benchmarks predict``."""

from __future__ import annotations

import argparse

from benchmarks import predict

COMMANDS = {"predict": predict}


def main(arguments=None):
    """Run one benchmark and print its table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=module.__doc__.splitlines()[0])
        command.add_argument("--quick", action="store_true", help="toy size, for the tests")
    chosen = parser.parse_args(arguments)
    COMMANDS[chosen.command].run(quick=chosen.quick)


if __name__ == "__main__":
    main()
