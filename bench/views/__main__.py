"""``python -m bench.views``."""

import sys

from bench.views.command import main

sys.exit(main())
