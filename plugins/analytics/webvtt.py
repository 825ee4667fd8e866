"""WebVTT with JSON cues, for ``<track kind="metadata">`` in browsers (W3C WebVTT, section 1.3)."""

from __future__ import annotations

import os
from fractions import Fraction
from typing import Any, BinaryIO

from duoview.plugins.errors import FrameError

from .record import Record
from .sink import Sink, TextFile

#: Seconds that a frame lasts where nobody says it and no other comes.
_LAST = Fraction(1, 25)


class WebVttSink(Sink):
    """Writes a cue for every frame: its time in the stream, and its record as JSON.

    A cue lasts as long as its frame, or to the next one where the frame does not say how long it is; so a cue is in the
    file when the next frame comes, the last one when the sink is closed.
    """

    def __init__(self, target: str | os.PathLike[str] | BinaryIO, **options: Any) -> None:
        super().__init__(**options)
        self._file = TextFile(target)
        self._file.write("WEBVTT\n\n")
        self._held: Record | None = None

    def write_record(self, record: Record) -> None:
        time = record.time
        if time is None or time < 0:
            shown = "no time" if time is None else f"the time {float(time):.3f} s"
            raise FrameError(f"WebVTT: a frame has {shown}: expected 0 or later")
        self._finish(time)
        self._held = record

    def close(self) -> None:
        try:
            self._finish(None)
        finally:
            self._file.close()

    def _finish(self, following: Fraction | None) -> None:
        record, self._held = self._held, None
        if record is None:
            return
        start = record.time
        assert start is not None and record.time_base is not None  # write_record let no other in
        end = start + record.duration * record.time_base
        if end <= start:
            end = following if following is not None and following > start else start + _LAST
        end = max(end, start + Fraction(1, 1000))  # stamps are in thousandths, and a cue must not end where it starts
        # A cue must not hold an arrow; in JSON, > stands in texts only, where its escape is the same.
        self._file.write(f"{_stamp(start)} --> {_stamp(end)}\n{record.to_json().replace('>', _ESCAPED)}\n\n")


_ESCAPED = "\\u003e"


def _stamp(seconds: Fraction) -> str:
    thousandths = round(seconds * 1000)
    minutes, rest = divmod(thousandths, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"
