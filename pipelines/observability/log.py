"""The log of a running pipeline, for people as lines of text, for programs as lines of JSON."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from duoview.pipelines.console import Console

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


class _ConsoleHandler(logging.Handler):
    """Lines beside a status line, which is left whole."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.line(self.format(record))


def open_log(form: str, level: int = logging.INFO, console: Console | None = None) -> logging.Logger:
    """A logger of its own, which no other part of the process sees or changes; it writes to stderr."""
    log = logging.Logger("duoview.run", level)
    handler = _ConsoleHandler(console or Console())
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    log.addHandler(handler)
    return log
