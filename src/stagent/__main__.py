"""`python -m stagent`, and the console script."""

from __future__ import annotations

import sys

from stagent.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
