"""Progress of a job: ``-progress`` as key=value blocks for programs, ``-stats`` as one rewritten line for people.

Keys and their order are ffmpeg's, so that tools made for its ``-progress`` read ours.
"""

from __future__ import annotations

import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import TextIO

from .console import Console
from .errors import UsageError, media_error

INTERVAL = 0.5  # seconds, ffmpeg's default
_BAR = 20  # characters


class Progress:
    """Counts what was written and reports it, at most every half second.

    Args:
        url: where ``key=value`` blocks go: ``-`` or ``pipe:1`` (stdout), ``pipe:2`` (stderr), a file; None: nowhere.
        stats: True shows the status line, False does not, None shows it on a terminal.
        expected: seconds of output expected, for the bar; None where unknown.
    """

    def __init__(
        self, console: Console, *, url: str | None, stats: bool | None, expected: Fraction | None = None
    ) -> None:
        self.frames = 0
        self.size = 0
        self.dropped = 0
        self.time = Fraction(0)
        self.expected = expected
        self._console = console
        self._stats = (console.is_terminal if stats is None else stats) and console.shows("info")
        self._begun = time.monotonic()
        self._reported = self._begun
        self._owned: TextIO | None = None
        self._sink = self._open(url)

    def advance(self, frames: int, size: int, at: Fraction | None) -> None:
        """Count frames and bytes written; `at` is the output time in seconds up to which all is written."""
        self.frames += frames
        self.size += size
        if at is not None:
            self.time = max(self.time, at)
        now = time.monotonic()
        if now - self._reported >= INTERVAL:
            self._reported = now
            self._report(now, last=False)

    def finish(self) -> None:
        """Report for the last time and close the progress file."""
        self._report(time.monotonic(), last=True)
        if self._owned is not None:
            self._owned.close()
        self._sink = self._owned = None

    def _open(self, url: str | None) -> TextIO | None:
        if url is None:
            return None
        if url in ("-", "pipe:", "pipe:1"):
            return sys.stdout
        if url == "pipe:2":
            return sys.stderr
        if "://" in url and not url.startswith("file:"):
            raise UsageError(f"-progress {url}: expected -, pipe:1, pipe:2 or a file name")
        path = Path(url.removeprefix("file://").removeprefix("file:"))
        try:
            self._owned = path.open("w", encoding="ascii")
        except OSError as error:
            raise media_error(url, "cannot write progress", error) from error
        return self._owned

    def _report(self, now: float, *, last: bool) -> None:
        elapsed = max(now - self._begun, 1e-6)
        rate, seconds = self.frames / elapsed, float(self.time)
        bits = self.size * 8 / seconds if seconds else 0.0
        speed = seconds / elapsed
        if self._sink is not None:
            self._block(rate, bits, speed, last=last)
        if self._stats:
            self._line(rate, bits, speed, elapsed, last=last)

    def _block(self, rate: float, bits: float, speed: float, *, last: bool) -> None:
        assert self._sink is not None
        microseconds = int(self.time * 1_000_000)
        lines = [
            f"frame={self.frames}",
            f"fps={rate:.2f}",
            "stream_0_0_q=0.0",
            f"bitrate={bits / 1000:.1f}kbits/s" if bits else "bitrate=N/A",
            f"total_size={self.size}",
            f"out_time_us={microseconds}",
            f"out_time_ms={microseconds}",  # ffmpeg's own name for microseconds
            f"out_time={clock(self.time)}",
            "dup_frames=0",
            f"drop_frames={self.dropped}",
            f"speed={speed:.3g}x",
            f"progress={'end' if last else 'continue'}",
        ]
        try:
            self._sink.write("\n".join(lines) + "\n")
            self._sink.flush()
        except OSError as error:
            self._sink = None
            self._console.warning(f"-progress: {error.strerror or error}; no more progress is written")

    def _line(self, rate: float, bits: float, speed: float, elapsed: float, *, last: bool) -> None:
        text = (
            f"frame={self.frames:5d} fps={rate:4.1f} size={self.size / 1024:8.1f}KiB time={clock(self.time)[:-4]} "
            f"bitrate={bits / 1000:7.1f}kbits/s speed={speed:.3g}x"
        )
        if self.expected:
            share = min(float(self.time / self.expected), 1.0)
            left = "" if last or not share else f" {elapsed / share - elapsed:.0f}s left"
            bar = "#" * round(share * _BAR)
            text = f"[{bar:<{_BAR}}] {share:4.0%} {text}{left}"
        self._console.status(text, last=last)


def clock(seconds: Fraction) -> str:
    """``HH:MM:SS.ffffff``, with a minus sign where negative."""
    sign = "-" if seconds < 0 else ""
    whole, micro = divmod(round(abs(seconds) * 1_000_000), 1_000_000)
    return f"{sign}{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}.{micro:06d}"
