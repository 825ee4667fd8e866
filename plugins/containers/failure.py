"""One clear error for whatever libavformat or the system says went wrong with a file."""

from __future__ import annotations

import errno

import av

from duoview.errors import ContainerError, ContainerFormatError, ContainerNotFoundError, ContainerPipeError

#: What opening, reading and writing through PyAV may raise for reasons outside this program.
#: (ValueError and IndexError: av.open on names and damaged files it cannot make sense of. OverflowError: a time or a
#: rate that does not fit libavformat's integers.)
FAILURES = (av.FFmpegError, OSError, ValueError, IndexError, OverflowError)


def translate(error: BaseException, name: str, doing: str) -> ContainerError:
    """The ContainerError that says what happened to `name` while `doing` (an infinitive, such as "read")."""
    if isinstance(error, ContainerError):
        return error
    number = getattr(error, "errno", None)
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    detail = _last_log_line(error)
    text = f"{name}: cannot {doing}: {reason}{f' ({detail})' if detail else ''}"
    if isinstance(error, BrokenPipeError):
        return ContainerPipeError(
            f"{name}: cannot {doing}: its reader went away (broken pipe)", name=name, errno=number
        )
    if isinstance(error, FileNotFoundError):
        return ContainerNotFoundError(f"{name}: cannot {doing}: no such file or folder", name=name, errno=number)
    if isinstance(error, av.InvalidDataError) and doing == "read":
        return ContainerFormatError(f"{text}: not a media container, or damaged at its start", name=name, errno=number)
    if number == errno.ENOSPC:
        text = f"{name}: cannot {doing}: no space left on the device; what was written so far stays"
    return ContainerError(text, name=name, errno=number)


def _last_log_line(error: BaseException) -> str:
    """What libavformat logged about an error, where PyAV caught it."""
    log = getattr(error, "log", None)
    return str(log[2]).strip() if isinstance(log, tuple) and len(log) == 3 else ""
