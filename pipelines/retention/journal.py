"""Files of one JSON object a line that are only ever added to, and may be cut off in their last line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from duoview.errors import ContainerFormatError

LineT = TypeVar("LineT")


class JournalReader:
    """Reads what was added since the last look; a line that is not complete yet is left for the next."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def new(self, read: Callable[[dict[str, Any]], LineT]) -> list[LineT]:
        """What `read` makes of the new lines; none where there is no file.

        A file that became shorter is read from its beginning. Raises OSError, and ContainerFormatError for a line that
        is none or that `read` makes nothing of; then none of the lines counts as seen.
        """
        try:
            with self.path.open("rb") as file:
                if file.seek(0, os.SEEK_END) < self._offset:
                    self._offset = 0  # somebody began it anew
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        found = []
        for line in whole.splitlines():
            try:
                content = json.loads(line)
                if not isinstance(content, dict):
                    raise ValueError("no object")
                found.append(read(content))
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                where = str(self.path)
                words = f"{where}: a damaged line: {line[:80]!r} ({type(error).__name__}: {error})"
                raise ContainerFormatError(words, name=where) from error
        self._offset += len(whole)
        return found


class JournalWriter:
    """Adds lines; a line that a crash cut off is taken away first. One process writes at a time."""

    def __init__(self, path: Path) -> None:
        """Open or create. Raises OSError."""
        self.path = path
        self._file = path.open("a+b", buffering=0)
        try:
            self._file.seek(0)
            data = self._file.readall()
            self._size = data.rfind(b"\n") + 1
            if self._size < len(data):
                self._file.truncate(self._size)
        except BaseException:
            self._file.close()
            raise

    def add(self, lines: Iterable[dict[str, Any]], *, sync: bool = False) -> None:
        """Add lines, all or none; `sync`: and see them onto the disk. Raises OSError."""
        rest = data = b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)
        try:
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
            if sync:
                os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(self._size)
            raise
        self._size += len(data)

    def close(self) -> None:
        """Close the file. May be called more than once."""
        self._file.close()
