"""``dv_metadata``: writes what was found in frames while they pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import av

from duoview.plugins.analytics.sink import Sink, without_password
from duoview.plugins.analytics.sinks import SINKS, format_of, open_sink
from duoview.plugins.errors import OptionError
from duoview.plugins.links import LinkType
from duoview.plugins.options import option
from duoview.plugins.references import References
from duoview.plugins.stage import Stage

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Metadata(Stage):
    """Write detections, tracks and events to a file or an MQTT broker.

    Frames pass as they are. The file is opened at the first frame and finished at the end of the stream; JSON lines are
    appended to a file that is there, the other formats begin it anew.
    """

    name = "dv_metadata"
    input = LinkType.VIDEO
    output = LinkType.VIDEO

    @dataclass(frozen=True)
    class Options:
        """Options of dv_metadata."""

        url: str = option(help="a file, or mqtt://[user:password@]host[:port], quoted for its colons")
        format: str = option("auto", choices=("auto", *SINKS), help="how it is written; auto: by the name")
        source: str = option("", help="the camera's name, for every record")
        start_utc: str = option("", help="UTC of the stream's time 0, for frames without their own; ISO 8601")
        empty: bool = option(True, help="write frames without objects and events too")
        topic: str = option("", help="mqtt: first part of every topic; duoview where empty")

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        options = self.options
        self._format = format_of(options.url, "" if options.format == "auto" else options.format)
        self._settings: dict[str, Any] = {"source": options.source, "empty": options.empty}
        if options.start_utc:
            self._settings["start_utc_us"] = _parse_utc(options.start_utc)
        if self._format == "mqtt":
            self._settings["topic"] = options.topic or "duoview"
        elif options.topic:
            raise OptionError(f"dv_metadata: topic={options.topic!r} belongs to mqtt, not to {self._format}")
        self._references = References()
        self._sink: Sink | None = None

    def filter(self, frame: av.VideoFrame) -> Iterable[av.VideoFrame]:
        """The frame, once its record is written. Raises what the sink raises."""
        if self._sink is None:
            self._sink = open_sink(self.options.url, self._format, **self._settings)
        self._sink.write(frame)
        yield self._references.reference(frame)

    def drain(self) -> Iterable[av.VideoFrame]:
        """Nothing; the file is finished."""
        self._finish()
        return ()

    def reset(self) -> None:
        """Forget the last frame; the file is gone on with."""
        super().reset()
        self._references.reset()

    def close(self) -> None:
        """Finish the file, or leave the broker."""
        self._finish()
        self._references.close()

    def __repr__(self) -> str:
        url = self.options.url
        return super().__repr__().replace(repr(url), repr(without_password(url)))

    def _finish(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.close()


def _parse_utc(text: str) -> int:
    """Microseconds since 1970 of a time in ISO 8601 that says its offset. Raises OptionError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise OptionError(f"dv_metadata: start_utc={text!r}: expected a time as 2026-05-04T13:00:00Z")
    return (moment - _EPOCH) // timedelta(microseconds=1)
