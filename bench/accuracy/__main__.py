"""``python -m bench.accuracy``."""

from __future__ import annotations

import sys

from bench.accuracy.command import main

if __name__ == "__main__":
    sys.exit(main())
