"""Fetches the zoo, or the entries named, and prints where they are."""

import argparse
import sys

from . import ENTRIES, UnavailableError, ZooError, path


def main() -> int:
    """Return 0 when every entry is there or cannot exist on this kind of machine, else 2."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(ENTRIES)}; default: all")
    failures = 0
    for name in parser.parse_args().names or ENTRIES:
        try:
            print(f"{name}: {path(name)}", flush=True)
        except UnavailableError as error:
            print(f"{name}: skipped: {error}", flush=True)
        except ZooError as error:
            print(f"{name}: {error}", file=sys.stderr)
            failures += 1
    return 2 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
