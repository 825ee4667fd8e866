"""Finishing an output whatever happens: what was written before a failure is kept, and the failure is what is told."""

from __future__ import annotations

from collections.abc import Callable


def run_and_finish(run: Callable[[], object], finish: Callable[[], object]) -> None:
    """Call `run`, then `finish`, which closes the output, also when `run` fails.

    The failure of `run` is raised; a second one of `finish`, mostly for the same reason, is noted on it.
    """
    try:
        run()
    except BaseException as failure:
        try:
            finish()
        except Exception as second:  # noqa: BLE001  the first failure is the one to raise
            failure.add_note(f"and then: {second}")
        raise
    finish()
