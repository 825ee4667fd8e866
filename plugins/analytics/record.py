"""What is known of one frame, apart from its picture: times, objects and events. The unit of all analytics output."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any, Self

import av

from duoview.detections import Detection
from duoview.errors import LimitError
from duoview.events import Event
from duoview.findings import FrameFindings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: How bytes are made of JSON: half a surrogate pair in a name, which UTF-8 has no way to write, becomes JSON's escape.
AS_ESCAPE = "backslashreplace"


@dataclass(frozen=True)
class Record:
    """One frame's analytics.

    source: the camera. pts in units of time_base (seconds); both None for a frame without times. duration in the same
    units, 0 where unknown. utc_us: microseconds since 1970, None where unknown. objects: the last detector's, in pixels
    of the frame. events: those that last or end at it.
    """

    source: str
    pts: int | None
    time_base: Fraction | None
    duration: int
    utc_us: int | None
    width: int
    height: int
    concealed: bool = False
    model: str = ""
    objects: tuple[Detection, ...] = ()
    events: tuple[Event, ...] = ()

    @classmethod
    def of(cls, frame: av.VideoFrame, source: str = "", start_utc_us: int | None = None) -> Self:
        """The record of a frame.

        source: the camera's name. start_utc_us: when the stream's time 0 was, for frames that do not tell their UTC.
        """
        findings = FrameFindings.of(frame.opaque)
        time_base = Fraction(frame.time_base) if frame.time_base else None
        timed = frame.pts is not None and time_base is not None
        index = findings.index_of()
        found = None if index is None else findings.detections[index]
        if found is not None and (found.width, found.height) != (frame.width, frame.height):
            found = found.scaled(frame.width, frame.height)
        record = cls(source, frame.pts if timed else None, time_base if timed else None, frame.duration or 0,
                     findings.utc_us, frame.width, frame.height, findings.concealed,
                     "" if found is None else found.model, () if found is None else tuple(found), findings.events)
        return record if start_utc_us is None else record._with_utc(start_utc_us)

    @property
    def time(self) -> Fraction | None:
        """When the frame is shown, in seconds of the stream; None for a frame without times."""
        return None if self.pts is None or self.time_base is None else self.pts * self.time_base

    @property
    def utc(self) -> str | None:
        """When it was captured, as ISO 8601 with microseconds; None where unknown."""
        return None if self.utc_us is None else utc_text(self.utc_us)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; what is empty or unknown is left out, but for objects.

        time is in seconds; boxes are x0 y0 x1 y1 in pixels of a picture of width x height.
        """
        time, time_base = self.time, self.time_base
        content: dict[str, Any] = {
            "source": self.source, "pts": self.pts, "time_base": None if time_base is None else str(time_base),
            "time": None if time is None else round(float(time), 6), "utc": self.utc, "width": self.width,
            "height": self.height, "concealed": self.concealed or None, "model": self.model,
            "events": [event.to_dict() for event in self.events]}
        content = {key: value for key, value in content.items() if value not in ("", [], None)}
        content["objects"] = [
            {**({} if item.track_id is None else {"track": item.track_id}), "label": item.name,
             "score": round(item.score, 4), "box": [round(side, 2) for side in item.box]} for item in self.objects]
        return content

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, separators=(",", ":"), allow_nan=False)

    def _with_utc(self, start_utc_us: int) -> Self:
        """With UTC by the stream's time, where nobody told it."""
        record, time = self, self.time
        if self.utc_us is None and time is not None:
            record = replace(record, utc_us=start_utc_us + round(time * 1_000_000))
        events = []
        for event in self.events:
            start, end = (start_utc_us + round(at * 1_000_000) for at in (event.start, event.end))
            events.append(replace(event, start_utc_us=start if event.start_utc_us is None else event.start_utc_us,
                                  end_utc_us=end if event.end_utc_us is None else event.end_utc_us))
        return replace(record, events=tuple(events))


def utc_text(utc_us: int) -> str:
    """Microseconds since 1970 as ISO 8601, which is XML's dateTime. Raises LimitError outside of years 1 to 9999."""
    try:
        moment = _EPOCH + timedelta(microseconds=utc_us)
    except OverflowError:
        raise LimitError(f"utc_us is {utc_us}: expected microseconds since 1970, within years 1 to 9999") from None
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ").zfill(27)
