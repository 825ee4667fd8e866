"""The errors every package of duoview builds on.

Each is also a Python builtin, so that plain Python code catches it; each message says what was wrong, where, and what
would be right.
"""

from __future__ import annotations


class Error(Exception):
    """Base class of all errors that duoview raises on purpose."""


class BitstreamError(Error, ValueError):
    """Coded data is damaged, truncated or not ours.

    Attributes:
        offset: byte offset in the data that was being read where the fault was noticed, ``None`` where there is none.
    """

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message if offset is None else f"{message} (at byte {offset})")
        self.message = message
        self.offset = offset

    def __reduce__(self) -> tuple[type[BitstreamError], tuple[str, int | None]]:
        # The default would hand the decorated message back to __init__ and lose the offset.
        return type(self), (self.message, self.offset)


class DeviceError(Error, RuntimeError):
    """A device, its driver, or what is needed to use them is missing or failed; the message says which."""
