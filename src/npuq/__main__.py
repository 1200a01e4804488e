"""`python -m npuq` is the command line."""

from __future__ import annotations

from npuq.cli import main

if __name__ == "__main__":
    main()
