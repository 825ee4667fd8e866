"""Which name means which sink."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from duoview.plugins.errors import OptionError, suggestion

from .json_lines import JsonLinesSink
from .mqtt import MqttSink
from .onvif import OnvifSink
from .sink import Sink, without_password
from .timed_data import KlvSink, TimedDataSink
from .webvtt import WebVttSink

SINKS: dict[str, type[Sink]] = {"jsonl": JsonLinesSink, "mqtt": MqttSink, "onvif": OnvifSink, "webvtt": WebVttSink,
                                "data": TimedDataSink, "klv": KlvSink}
_EXTENSIONS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".xml": "onvif", ".vtt": "webvtt", ".ts": "data", ".mp4": "data"}


def format_of(url: str, form: str = "") -> str:
    """The name of the sink for a file or url, unless `form` names it. Raises OptionError for one that is not known."""
    if form:
        if form not in SINKS:
            raise OptionError(f"analytics format {form!r}: expected one of {', '.join(SINKS)}{suggestion(form, SINKS)}")
        return form
    if url.startswith(("mqtt://", "mqtts://")):
        return "mqtt"
    extension = Path(url).suffix.lower()
    if extension not in _EXTENSIONS:
        raise OptionError(f"analytics output {without_password(url)!r}: expected mqtt://, a name that ends in "
                          f"{', '.join(_EXTENSIONS)}, or a format, one of {', '.join(SINKS)}")
    return _EXTENSIONS[extension]


def open_sink(url: str | os.PathLike[str], form: str = "", **options: Any) -> Sink:
    """Open a sink by its name or by the file's. options: of the sink. Raises OptionError, and what the sink raises."""
    make: Any = SINKS[format_of(os.fspath(url), form)]
    return make(url, **options)
