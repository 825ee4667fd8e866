"""What the command line tells people: lines on stderr, filtered by ``-loglevel``."""

from __future__ import annotations

import sys
from typing import TextIO

LEVELS = {
    "quiet": -8,
    "panic": 0,
    "fatal": 8,
    "error": 16,
    "warning": 24,
    "info": 32,
    "verbose": 40,
    "debug": 48,
    "trace": 56,
}


class Console:
    """Writes lines to stderr when their level is wanted; remembers whether a status line is open."""

    def __init__(self, level: int = LEVELS["info"], stream: TextIO | None = None) -> None:
        self.level = level
        self.stream = stream if stream is not None else sys.stderr
        self._status = 0

    @property
    def is_terminal(self) -> bool:
        """True when people watch, so that a line may be rewritten in place."""
        return self.stream.isatty()

    def shows(self, level: str) -> bool:
        """True when lines of this level are wanted."""
        return self.level >= LEVELS[level]

    def say(self, level: str, text: str) -> None:
        """Write one line of a level."""
        if self.shows(level):
            self.line(text)

    def line(self, text: str) -> None:
        """Write a line of somebody who has looked at the level already, such as a log."""
        self._write("\n" * bool(self._status) + text + "\n")
        self._status = 0

    def error(self, text: str) -> None:
        """Write ``duoview: what: where: what would be right``."""
        self.say("error", f"duoview: {text}")

    def warning(self, text: str) -> None:
        """Write a line about something that went on regardless."""
        self.say("warning", f"duoview: warning: {text}")

    def info(self, text: str) -> None:
        """Write a line people usually want."""
        self.say("info", text)

    def status(self, text: str, *, last: bool = False) -> None:
        """Rewrite the status line in place; the last one stays."""
        self._write("\r" + text.ljust(self._status) + "\n" * last)
        self._status = 0 if last else len(text)

    def _write(self, text: str) -> None:
        try:
            self.stream.write(text)
            self.stream.flush()
        except OSError:
            self.level = LEVELS["quiet"]  # nobody reads stderr any more; the work goes on
