"""What happened at a camera, one line an event, for retention and for people: ``NAME.events.jsonl``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from duoview.events import Event
from duoview.pipelines.retention.journal import JournalWriter

_EVERY = 10.0  # seconds between two lines about an event that goes on


def events_path(folder: Path, name: str) -> Path:
    """Where a camera's events are written down."""
    return folder / f"{name}.events.jsonl"


class EventJournal:
    """Writes an event when it begins, every ten seconds, and when it ends; the last line about it holds.

    Attributes: begun: events so far.
    """

    def __init__(self, folder: Path, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Open the journal of a camera. Raises OSError."""
        self._writer = JournalWriter(events_path(folder, name))
        self._clock = clock
        self._lock = threading.Lock()
        self._told: dict[tuple[str, int, int | None], float] = {}
        self.begun = 0

    def note(self, event: Event) -> bool:
        """Write down what is new of an event; whether it begins here. Raises OSError."""
        if event.start_utc_us is None or event.end_utc_us is None:
            return False  # without a time of day it is about no segment
        key = event.trigger, event.number, event.start_utc_us
        with self._lock:
            begins = key not in self._told and event.ongoing
            if begins:
                self.begun += 1
            if event.ongoing and not begins and self._clock() - self._told[key] < _EVERY:
                return False
            if event.ongoing:
                self._told[key] = self._clock()
            else:
                self._told.pop(key, None)
            self._writer.add([event.to_dict()])
            return begins

    def close(self) -> None:
        """Close the file. May be called more than once."""
        self._writer.close()
