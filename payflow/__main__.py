"""`python -m payflow`: the command line, where the script `payflow` is not on PATH."""

from __future__ import annotations

import sys

from payflow.cli import main

if __name__ == "__main__":
    sys.exit(main())
