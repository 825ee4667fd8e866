"""``duoview bench``: the benchmarks of the checkout, which are no part of the package."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from duoview.plugins.errors import suggestion

from .errors import MediaError, UsageError

#: Its modules have ``main(arguments) -> exit code``.
BENCHMARKS = {"accuracy": "bench.accuracy.command", "views": "bench.views.command"}


def usage() -> str:
    """Which benchmarks there are."""
    return "\n".join((
        "duoview bench NAME [OPTIONS]    (in the folder of duoview's checkout)",
        "",
        "  accuracy  how well detectors see through codecs, by real bytes",
        "  views     how natural, near and steady views for people look, by real bytes",
        "",
        "duoview bench NAME --help lists its options; docs/accuracy.md and docs/views.md explain them.",
    ))


def main(arguments: Sequence[str]) -> int:
    """Run a benchmark. Raises UsageError for a name that is none, MediaError outside of the checkout."""
    if not arguments:
        raise UsageError(f"bench: expected one of {', '.join(BENCHMARKS)}")
    name, *rest = arguments
    if name not in BENCHMARKS:
        raise UsageError(f"bench {name}: expected one of {', '.join(BENCHMARKS)}{suggestion(name, BENCHMARKS)}")
    module = BENCHMARKS[name]
    if not _importable(module):
        here = Path.cwd()
        if sys.flags.safe_path or not (here / Path(*module.split("."))).with_suffix(".py").is_file():
            raise MediaError(f"bench {name}: it needs the checkout, whose folder bench/ is no part of the package; "
                             "run it there, or put that folder on PYTHONPATH")
        # As `python -m` does, which a console script does not.
        sys.path.insert(0, str(here))
    try:
        run: Callable[[Sequence[str]], int] = importlib.import_module(module).main
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in ("bench", "duoview"):
            raise
        raise MediaError(f"bench {name}: {error.name} is not installed; it comes with the extra bench: "
                         'pip install "duoview[bench]"') from error
    return run(rest)


def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # no such package, or another one of that name
        return False
