"""The log of a running pipeline, for people as lines of text, for programs as lines of JSON."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

FORMS = ("text", "json")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, message, and the fields that came with it in ``extra["fields"]``."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        content = {"time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                   "level": record.levelname.lower(), "message": record.getMessage()}
        return json.dumps({**content, **getattr(record, "fields", {})}, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """``2026-01-02T03:04:05Z warning: message``."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        return f"{moment:%Y-%m-%dT%H:%M:%SZ} {record.levelname.lower()}: {record.getMessage()}"


def open_log(form: str, level: int = logging.INFO, stream: TextIO | None = None) -> logging.Logger:
    """A logger of its own, which no other part of the process sees or changes."""
    log = logging.Logger("duoview.run", level)
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    log.addHandler(handler)
    return log
