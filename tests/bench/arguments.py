"""What benchmarks that call themselves for each contestant are asked."""

import argparse


def asked(description: str, rows: int) -> argparse.Namespace:
    """The command, how many rows and rounds; `--one` is how a script calls itself, so that each run is a process of its own."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sensorium")
    parser.add_argument("--rows", type=int, default=rows)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()
