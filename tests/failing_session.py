"""What tests of devices that fail share: sessions of onnxruntime whose calls do something else, or fail as on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class OtherCall:
    """A session whose call is another one. call: takes the session and the binding."""

    def __init__(self, session: Any, call: Callable[[Any, object], None]) -> None:
        self._session, self._call = session, call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run_with_iobinding(self, binding: object) -> None:
        self._call(self._session, binding)


class FailingSession(OtherCall):
    """A session whose device has no memory left. message: what the call raises."""

    def __init__(self, session: Any, message: str = "out of memory\n  at line 1") -> None:
        def fail(session: Any, binding: object) -> None:
            raise RuntimeError(message)

        super().__init__(session, fail)
