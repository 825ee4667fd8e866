"""Errors of the command line, and the one line each error becomes."""

from __future__ import annotations

import av

from duoview.errors import Error

from .credentials import Credentials, redact_url


class UsageError(Error, ValueError):
    """The command line is wrong: an unknown option, a bad value, a missing file name. Exit code 2."""


class MediaError(Error, OSError):
    """An input cannot be read or an output cannot be written. Exit code 1."""


class SourceLostError(Error, ConnectionError):
    """A source is gone for good: a file broke off, or a live source used up the attempts it was given."""


def reason(error: BaseException) -> str:
    """What an error says, without the numbers and repeated names that libav and the system put around it."""
    if isinstance(error, av.error.FFmpegError):
        said = str(error.log[-1]).strip() if error.log else ""
        text = error.strerror or str(error)
        return f"{text} ({said})" if said else text
    if isinstance(error, OSError) and error.strerror and not isinstance(error, Error):
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


def advice(error: BaseException) -> str:
    """What would be right, for the failures of files and pipes that users meet most; else an empty text."""
    if isinstance(error, FileNotFoundError):
        return "; check the name"
    if isinstance(error, PermissionError):
        return "; it needs other permissions or another folder"
    if isinstance(error, BrokenPipeError):
        return "; the reader of the pipe went away"
    if isinstance(error, OSError) and error.errno == 28:  # ENOSPC
        return "; free space or write elsewhere; what was written up to here is kept"
    if isinstance(error, av.error.InvalidDataError):
        return "; it is no media file, damaged, or cut off"
    return ""


def media_error(where: str, doing: str, error: BaseException) -> MediaError:
    """The one line for a failed read or write: where, what was being done, why, and what would be right.

    Of a URL, credentials are left out, also of what libav says about it.
    """
    said = f"{reason(error)}{advice(error)}"
    if "://" in where:
        where, said = redact_url(where), Credentials(where, {}).scrub(said)
    return MediaError(f"{where}: {doing}: {said}")
