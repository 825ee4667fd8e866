"""What tests of threads share: several things done at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

#: Longer than any test may take on a busy machine, in seconds.
_LONG = 120


def together(*works: Callable[[], Any]) -> list[Any]:
    """What each gives or raises, all of them at once, each in a thread."""
    results: list[Any] = [None] * len(works)

    def run(number: int) -> None:
        try:
            results[number] = works[number]()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_LONG)
        assert not thread.is_alive()
    return results
