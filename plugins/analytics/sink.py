"""Where analytics go: a sink takes frames, one after the other, and writes what was found in them."""

from __future__ import annotations

import abc
import os
from pathlib import Path
from typing import BinaryIO, Self

import av

from duoview.errors import ContainerError
from duoview.plugins.containers.failure import translate

from .record import AS_ESCAPE, Record


class Sink(abc.ABC):
    """Writes the analytics of frames; the base of all outputs.

    Args:
        source: the camera's name, which goes into every record. start_utc_us: UTC of the stream's time 0 in
        microseconds since 1970, for frames that do not tell their own. empty: whether frames without objects and
        events are written too.
    """

    def __init__(self, *, source: str = "", start_utc_us: int | None = None, empty: bool = True) -> None:
        self._source, self._start_utc_us, self._empty = source, start_utc_us, empty

    def write(self, frame: av.VideoFrame) -> None:
        """Write a frame's analytics; the frame is not altered. Raises duoview.Error when it cannot be written."""
        record = Record.of(frame, self._source, self._start_utc_us)
        if self._empty or record.objects or record.events:
            self.write_record(record)

    @abc.abstractmethod
    def write_record(self, record: Record) -> None:
        """Write one record."""

    @abc.abstractmethod
    def close(self) -> None:
        """Finish what is written. May be called more than once."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def without_password(url: str) -> str:
    """A url as messages may show it: nothing up to the last @, as a password may hold what ends a host's name."""
    scheme, colon, _ = url.partition(":")
    return f"{scheme}://***@{url.rpartition('@')[2]}" if colon and "@" in url else url


class TextFile:
    """A file, or a binary file object of the caller's, that text is written to; what is written is there at once.

    A path is opened here, cut to nothing unless `append`, and closed here; an object stays the caller's.
    """

    def __init__(self, target: str | os.PathLike[str] | BinaryIO, *, append: bool = False) -> None:
        self._own = isinstance(target, (str, os.PathLike))
        self.name = str(target) if self._own else getattr(target, "name", "<file object>")
        self._file: BinaryIO | None = None
        if not isinstance(target, (str, os.PathLike)):
            self._file = target
            return
        try:
            self._file = Path(target).open("ab" if append else "wb", buffering=0)  # noqa: SIM115  closed by close()
        except OSError as error:
            raise translate(error, self.name, "open") from error

    def write(self, text: str) -> None:
        """Write all of a text. Raises ContainerError."""
        if self._file is None:
            raise ContainerError(f"{self.name}: written to after close()", name=self.name)
        rest = memoryview(text.encode(errors=AS_ESCAPE))
        try:
            while rest:
                count = self._file.write(rest)
                if count is None:
                    raise ContainerError(f"{self.name}: it takes nothing now: expected a file that blocks",
                                         name=self.name)
                rest = rest[count:]
            self._file.flush()
        except OSError as error:
            raise translate(error, self.name, "write") from error

    def close(self) -> None:
        """Close the file, where it was opened here."""
        if self._file is not None and self._own:
            self._file.close()
        self._file = None
