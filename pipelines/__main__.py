"""``python -m duoview.pipelines``: the ``duoview`` command."""

import sys

from duoview.pipelines.command import main

if __name__ == "__main__":
    sys.exit(main())
