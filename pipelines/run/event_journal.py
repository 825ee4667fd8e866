"""What happened at a camera, one line an event, for retention and for people: ``NAME.events.jsonl``.

The journal does not grow for ever: see `EventJournal.compact`.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from duoview.events import Event
from duoview.pipelines.retention.archive import MARGIN
from duoview.pipelines.retention.journal import JournalReader, JournalWriter
from duoview.pipelines.segment_file import sync_path

_EVERY = 10.0  # seconds between two lines about an event that goes on
_LARGE = 8 << 20  # bytes from which on a journal is looked through for what is old; half of it is kept in any case
_MOST_LEFT = 0.75  # of a journal's bytes, for which writing it anew is worth it
_ONGOING = 1024  # events that are remembered until they end; those that a graph forgets as it begins anew never do


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
        self._told: dict[tuple[str, int, int | None], float] = {}  # of events that go on, the latest last
        self._large = _LARGE
        self._closed = False
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
            told, now = self._told.pop(key, None), self._clock()
            due = told is None or now - told >= _EVERY
            if event.ongoing:
                self._told[key] = now if due or told is None else told  # as the latest
                if not due:
                    return False
            if len(self._told) > _ONGOING:
                del self._told[next(iter(self._told))]
            self._writer.add([event.to_dict()])
            return begins

    @property
    def large(self) -> bool:
        """Whether `compact` has anything to look through."""
        with self._lock:
            return not self._closed and self._writer.size >= self._large

    def compact(self, oldest: int | None) -> bool:
        """Where the journal has grown large, write it anew without what is old; whether it was.

        Of each event the last line is kept. What is beyond the newest half of a large one's bytes goes, but nothing
        that may belong to a segment: events that ended after `oldest`, when the oldest segment of the camera begins, in
        microseconds since 1970, None where there is none. Where little would go, the journal stays until it is twice
        as large. One thread calls it, while others note events. A crash at any moment leaves the old file or the new
        one, both whole. Raises OSError, ContainerFormatError.
        """
        if not self.large:
            return False
        with self._lock:
            self._large = self._writer.size + _LARGE // 8  # when to try again, should this fail
        # An event is noted while all of this is done: whoever notes it has frames waiting.
        reader = JournalReader(self._writer.path)
        last: dict[tuple[Any, ...], tuple[int, dict[str, Any]]] = {}
        for key, end, line in reader.new(_ended):
            last.pop(key, None)
            last[key] = end, line
        kept, size, left = [], 0, 0
        for end, line in reversed(last.values()):
            length = len(json.dumps(line, ensure_ascii=False).encode()) + 1
            size += length
            needed = oldest is not None and end + MARGIN >= oldest
            if needed or size <= _LARGE // 2:
                kept.append(line)
                left += length
        if left > _MOST_LEFT * reader.seen:
            self._large = max(_LARGE, 2 * reader.seen)
            return False
        new = self._writer.prepared(reversed(kept))
        with self._lock:
            if self._closed:
                new.discard()
                return False
            if not self._writer.put(new, seen=reader.seen):
                return False
            self._large = max(_LARGE, 2 * self._writer.size)
        sync_path(self._writer.path.parent)
        return True

    def close(self) -> None:
        """Close the file. May be called more than once."""
        with self._lock:
            self._closed = True
            self._writer.close()


def _ended(line: dict[str, Any]) -> tuple[tuple[Any, ...], int, dict[str, Any]]:
    """Of an event: what tells it from others, when it ended, and all of it."""
    return (line["trigger"], line["number"], line["start_utc_us"]), int(line["end_utc_us"]), line
