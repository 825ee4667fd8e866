"""Every error that duoview raises on purpose.

One small hierarchy: all of it is `Error`, and each class is also the Python builtin that plain code would catch
(`ValueError`, `OSError`, `FileNotFoundError`, ...), as PyAV does. A message names what was wrong, where (byte offset,
file, option) and what would be right.
"""

from __future__ import annotations

from duoview.kernels.errors import BitstreamError, Error

__all__ = [
    "BackendUnavailableError",
    "BitstreamError",
    "ContainerError",
    "ContainerFormatError",
    "ContainerNotFoundError",
    "ContainerPipeError",
    "DetectorError",
    "DetectorNotFoundError",
    "EngineError",
    "EngineFileError",
    "EngineMismatchError",
    "Error",
    "LimitError",
    "ProfileError",
]


class LimitError(Error, ValueError):
    """A value given by the caller lies outside what the stream syntax can hold (a size, a length, a count)."""


class ProfileError(Error, ValueError):
    """A profile cannot be used: not found, damaged, of another version, or not the one the stream names."""


class DetectorError(Error, ValueError):
    """A detector cannot be used: its file is damaged, its family unknown, or its outputs are not its family's."""


class DetectorNotFoundError(DetectorError, FileNotFoundError):
    """The file of a detector or of its description does not exist."""


class BackendUnavailableError(Error, RuntimeError):
    """A named device or inference backend cannot be had here; the message says what is missing."""


class EngineError(BackendUnavailableError):
    """A network has no TensorRT engine that could be used here: none was built, or building or checking one failed."""


class EngineMismatchError(EngineError):
    """There is an engine, built with another TensorRT or driver or for another GPU; the message names both."""


class EngineFileError(EngineError, ValueError):
    """A file is not an engine of ours, or is damaged."""


class ContainerError(Error, OSError):
    """Reading or writing a file, pipe or file object failed.

    `name` is the file as the caller gave it; `errno` is the system's number where there is one, else None.
    """

    name: str | None

    def __init__(self, message: str, *, name: str | None = None, errno: int | None = None) -> None:
        super().__init__(message)
        self.name = name
        self.errno = errno


class ContainerNotFoundError(ContainerError, FileNotFoundError):
    """The input file, or the folder of the output file, does not exist."""


class ContainerFormatError(ContainerError, ValueError):
    """Not a container that holds a duoview stream (foreign, empty, cut off in its header), or a format that cannot."""


class ContainerPipeError(ContainerError, BrokenPipeError):
    """The reader of our output went away."""
