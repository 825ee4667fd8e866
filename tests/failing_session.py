"""What tests of devices that fail share: a session of onnxruntime whose next call fails as one on a GPU does."""

from __future__ import annotations

from typing import Any


class FailingSession:
    """A session whose device has no memory left. message: what the call raises."""

    def __init__(self, session: Any, message: str = "out of memory\n  at line 1") -> None:
        self._session, self._message = session, message

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run_with_iobinding(self, binding: object) -> None:
        raise RuntimeError(self._message)
