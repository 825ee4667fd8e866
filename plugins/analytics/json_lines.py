"""JSON lines: one object a frame, one line each, as `Record.to_dict` says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

from .record import Record
from .sink import Sink, TextFile


class JsonLinesSink(Sink):
    """Appends a line of JSON for every frame; each line is in the file before `write` returns.

    A file that was cut off while a line was written is taken up at a new line, so that only that line is lost.
    """

    def __init__(self, target: str | os.PathLike[str] | BinaryIO, **options: Any) -> None:
        super().__init__(**options)
        self._file = TextFile(target, append=True)
        if isinstance(target, (str, os.PathLike)) and _is_cut_off(target):
            self._file.write("\n")

    def write_record(self, record: Record) -> None:
        self._file.write(record.to_json() + "\n")

    def close(self) -> None:
        self._file.close()


def _is_cut_off(path: str | os.PathLike[str]) -> bool:
    """True for a file whose last line does not end."""
    with Path(path).open("rb") as file:
        if not file.seekable() or file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"
