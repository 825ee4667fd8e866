"""Events that filters tell of: what happened, from when to when, and to whom. A value, like detections."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

#: What dv_trigger tells of: objects that are there, that cross a line, that stay in a zone; or motion.
KINDS = ("present", "cross", "dwell", "motion")
_KIND = re.compile("[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Event:
    """One event as far as it is known at the frame that carries it.

    trigger: the filter that tells of it. number: from 1 on, in the order in which the events of that trigger began;
    both together name an event, and what a later frame says of it takes the place of what an earlier one said.
    start_pts, end_pts: of the first and the last frame so far that met the condition, in units of time_base, seconds.
    kind: one of KINDS, or a word of another filter's own, in small letters.
    ongoing: False at the one frame that ends it. zone: the zone or line it is about, empty for all of the picture.
    direction: of a crossing, ``left`` or ``right``, else empty. track_ids, labels: of the objects that met the
    condition up to now, sorted; of tracks the last ones, where they are many. start_utc_us, end_utc_us: microseconds
    since 1970 at start_pts and end_pts, None where unknown.

    Raises ValueError for a kind that is no such word, an end before the start, or a time base that is not positive.
    """

    trigger: str
    number: int
    kind: str
    start_pts: int
    end_pts: int
    time_base: Fraction
    ongoing: bool = True
    zone: str = ""
    direction: str = ""
    track_ids: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()
    start_utc_us: int | None = None
    end_utc_us: int | None = None

    def __post_init__(self) -> None:
        if not _KIND.fullmatch(self.kind):
            raise ValueError(f"event kind {self.kind!r}: expected {', '.join(KINDS)} or another word in small letters")
        if self.time_base <= 0:
            raise ValueError(f"event time base {self.time_base}: expected seconds above 0")
        if self.end_pts < self.start_pts:
            raise ValueError(f"event from pts {self.start_pts} to {self.end_pts}: expected no end before its start")
        object.__setattr__(self, "track_ids", tuple(self.track_ids))
        object.__setattr__(self, "labels", tuple(self.labels))

    @property
    def start(self) -> Fraction:
        """When it began, in seconds of the stream."""
        return self.start_pts * self.time_base

    @property
    def end(self) -> Fraction:
        """When its condition was last met, in seconds of the stream."""
        return self.end_pts * self.time_base

    def to_json(self) -> str:
        """One line of JSON; `from_json` gives the same value again. What is empty or unknown is left out."""
        return json.dumps(self.to_dict(), ensure_ascii=False, separators=(",", ":"))

    def to_dict(self) -> dict[str, Any]:
        """What `to_json` writes, as plain values."""
        content: dict[str, Any] = {
            "trigger": self.trigger, "number": self.number, "kind": self.kind, "start_pts": self.start_pts,
            "end_pts": self.end_pts, "time_base": str(self.time_base), "ongoing": self.ongoing, "zone": self.zone,
            "direction": self.direction, "track_ids": list(self.track_ids), "labels": list(self.labels),
            "start_utc_us": self.start_utc_us, "end_utc_us": self.end_utc_us}
        return {key: value for key, value in content.items() if _FIELDS[key][1] or value not in ("", [], None)}

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what `to_json` wrote. Raises ValueError that says what is wrong or missing."""
        content = json.loads(text)
        if not isinstance(content, dict):
            raise ValueError(f"event in JSON: expected an object, found {type(content).__name__}")
        values: dict[str, Any] = {}
        for key, (kinds, needed) in _FIELDS.items():
            value = content.get(key)
            if key not in content and not needed:
                continue
            if not isinstance(value, kinds) or isinstance(value, bool) != (key == "ongoing"):
                raise ValueError(f"event in JSON: {key!r} {'is missing' if key not in content else f'is {value!r}'}")
            values[key] = value
        try:
            values["time_base"] = Fraction(values["time_base"])
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"event in JSON: 'time_base' is {values['time_base']!r}, expected n/d seconds") from None
        for key, kind in (("track_ids", int), ("labels", str)):
            wrong = [item for item in values.get(key, ()) if not isinstance(item, kind) or isinstance(item, bool)]
            if wrong:
                raise ValueError(f"event in JSON: {key!r} holds {wrong[0]!r}")
        return cls(**values)


#: Name in JSON, the types it may have, and whether it must be there.
_FIELDS: dict[str, tuple[Any, bool]] = {
    "trigger": (str, True), "number": (int, True), "kind": (str, True), "start_pts": (int, True),
    "end_pts": (int, True), "time_base": (str, True), "ongoing": (bool, True), "zone": (str, False),
    "direction": (str, False), "track_ids": (list, False), "labels": (list, False), "start_utc_us": (int, False),
    "end_utc_us": (int, False)}
