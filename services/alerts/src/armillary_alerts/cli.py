"""The command `armillary-alerts`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one stage until it is told to end; returns the exit code."""
    parser = argparse.ArgumentParser(prog="armillary-alerts", description=__doc__)
    parser.parse_args(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
