"""What the bytes of an input come from: a path, a URL of libavformat, a pipe or a file object."""

from __future__ import annotations

import os
import select
from pathlib import Path
from typing import Any, BinaryIO

from duoview.errors import ContainerError, ContainerFormatError
from duoview.plugins.containers.failure import translate

HEAD_BYTES = 8


class ForwardSource:
    """A file object that cannot seek, with its first bytes already looked at.

    `read` returns what there is instead of waiting until all that was asked for has come: a live stream has low delay.
    """

    def __init__(self, file: Any, name: str) -> None:
        self.name = name
        self._file = file
        # A buffered reader's read() waits for the full count; read1() does not.
        self._read = getattr(file, "read1", None) or file.read
        self._head = b""
        while len(self._head) < HEAD_BYTES:
            data = self._some(HEAD_BYTES - len(self._head))
            if not data:
                break
            self._head += data
        self.head = self._head

    def read(self, count: int) -> bytes:
        """At most `count` bytes, `count` not negative; empty at the end."""
        if self._head:
            data, self._head = self._head[:count], self._head[count:]
            return data
        return self._some(count)

    def _some(self, count: int) -> bytes:
        while (data := self._read(count)) is None:  # a descriptor that is set not to wait, and has nothing yet
            select.select([self._file], [], [])
        return _bytes(data, self.name)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        """Closes nothing: whoever opened the file object closes it."""


class Source:
    """An input, its first bytes and whether it can be sought in.

    `target` is what PyAV opens (a name or a file object); `head` is empty where only libavformat can read (URLs).
    """

    def __init__(self, file: Any) -> None:
        self.name = name_of(file)
        self._own: BinaryIO | None = None
        self.head = b""
        self.seekable = True
        try:
            if isinstance(file, (str, os.PathLike)):
                self._open_name(self.name)
            else:
                self._adopt(file)
        except ContainerError:
            raise
        except (OSError, ValueError) as error:
            raise translate(error, self.name, "read") from error
        if not self.is_url and not self.head:
            self.close()
            raise ContainerFormatError(f"{self.name}: the input is empty, expected a duoview stream", name=self.name)

    def _open_name(self, name: str) -> None:
        self.is_url = is_url(name)
        self.target: Any = name
        if is_pipe(name):
            self.is_url = False
            descriptor = pipe_descriptor(name, default=0)
            self._own = os.fdopen(os.dup(descriptor), "rb", buffering=0)
            self._adopt(self._own)
        elif not self.is_url:
            path = Path(name.removeprefix("file:"))
            if path.is_dir():
                raise ContainerError(f"{name}: is a folder, expected a file", name=name)
            self._own = path.open("rb", buffering=0)
            if self._own.seekable():
                self.head = self._own.read(HEAD_BYTES)
                self._own.seek(0)
            else:  # a named pipe or a device
                self._adopt(self._own)

    def _adopt(self, file: Any) -> None:
        self.is_url = False
        if not callable(getattr(file, "read", None)):
            raise ContainerError(
                f"{self.name}: cannot read from a {type(file).__name__}: expected a path or a file object"
            )
        seekable = getattr(file, "seekable", None)
        self.seekable = bool(seekable()) if callable(seekable) else hasattr(file, "seek") and hasattr(file, "tell")
        if self.seekable:
            start = file.tell()
            self.head = _bytes(file.read(HEAD_BYTES), self.name)
            file.seek(start)
            self.target = file
        else:
            self.target = ForwardSource(file, self.name)
            self.head = self.target.head

    def binary(self) -> BinaryIO:
        """A file object to read from here, for a reader that does without libavformat."""
        if isinstance(self.target, str):
            if self._own is None:
                raise ContainerFormatError(
                    f"{self.name}: a raw duoview stream cannot be read from a URL", name=self.name
                )
            return self._own
        return self.target

    def close(self) -> None:
        """Close what was opened here; a caller's file object stays open."""
        if self._own is not None:
            self._own.close()


def _bytes(data: Any, name: str) -> bytes:
    """What a file object's read() gave, as bytes. ContainerError when it is text."""
    if isinstance(data, str):
        raise ContainerError(f"{name}: read() gives text, expected bytes: open the file in binary mode", name=name)
    return bytes(data)


def name_of(file: Any) -> str:
    """How messages call a file: its path, or what a file object says it is."""
    if isinstance(file, (str, os.PathLike)):
        return os.fsdecode(file)
    name = getattr(file, "name", None)
    return name if isinstance(name, str) else f"<{type(file).__name__}>"


def is_pipe(name: str) -> bool:
    """Whether a name means standard input or output, or another open descriptor: `-`, `pipe:`, `pipe:3`."""
    return name == "-" or name.startswith("pipe:")


def pipe_descriptor(name: str, *, default: int) -> int:
    """The descriptor that `-`, `pipe:` or `pipe:N` names. ContainerError when N is no number."""
    number = name.removeprefix("pipe:") if name != "-" else ""
    if number and not number.isdecimal():
        raise ContainerError(f"{name}: expected pipe:, or pipe: and the number of an open descriptor", name=name)
    return int(number) if number else default


def is_url(name: str) -> bool:
    """Whether libavformat shall open the name by one of its protocols (rtsp://, udp://, tcp://, http://, ...)."""
    return "://" in name
