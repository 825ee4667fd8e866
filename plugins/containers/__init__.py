"""Containers: duoview streams in NUT, MOV, AVI, MP4, MPEG-TS and raw `.dv`, through PyAV, shaped like PyAV.

>>> with open("in.nut") as source, open("out.ts", "w") as sink:           # doctest: +SKIP
...     sink.add_stream(rate=source.stream.average_rate, width=source.stream.width, height=source.stream.height,
...                     time_base=source.stream.time_base)
...     sink.mux(source.demux())
"""

from __future__ import annotations

from typing import Any, Literal, overload

from duoview.plugins.containers.formats import FORMATS, Carriage, Format
from duoview.plugins.containers.reader import InputContainer
from duoview.plugins.containers.streams import InputStream, OutputStream
from duoview.plugins.containers.writer import OutputContainer

__all__ = [
    "FORMATS",
    "Carriage",
    "Format",
    "InputContainer",
    "InputStream",
    "OutputContainer",
    "OutputStream",
    "open",
]


@overload
def open(
    file: Any, mode: Literal["r"] = "r", format: str | None = None, options: dict[str, str] | None = None
) -> InputContainer: ...
@overload
def open(
    file: Any, mode: Literal["w"], format: str | None = None, options: dict[str, str] | None = None
) -> OutputContainer: ...
def open(
    file: Any, mode: str = "r", format: str | None = None, options: dict[str, str] | None = None
) -> InputContainer | OutputContainer:
    """Open a container that holds a duoview stream.

    Args:
        file: a path, a URL of libavformat, `-` or `pipe:` or `pipe:N`, or a binary file object.
        mode: "r" or "w".
        format: `nut`, `mov`, `avi`, `mp4`, `mpegts` or `dv`. For reading it is found from the content when None; for
            writing from the file name's extension, and it is NUT for pipes, URLs and file objects.
        options: passed to libavformat. For MPEG-TS also `bundle_seconds` and `bundle_units`.

    Raises:
        ContainerNotFoundError: there is no such file, or no such folder to write into.
        ContainerFormatError: the input is empty or foreign, or the format cannot hold a duoview stream.
        ContainerError: anything else the system refuses.
    """
    if mode == "r":
        return InputContainer(file, format, options)
    if mode == "w":
        return OutputContainer(file, format, options)
    raise ValueError(f"mode is {mode!r}, expected 'r' or 'w'")
