"""Python literals that files hold, parsed by one thread at a time.

CPython 3.11 counts the depth of syntax trees for all threads together: of two that parse at once one can end with
"SystemError: AST constructor recursion depth mismatch". NumPy parses the head of every stored array that way.
"""

from __future__ import annotations

import ast
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_parsing = threading.Lock()


def _renew() -> None:
    """A process that was forked while another thread parsed would wait for ever."""
    global _parsing
    _parsing = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def stored_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an .npz file by name. Raises OSError, ValueError or zipfile.BadZipFile for another file."""
    with _parsing, np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def literal(text: str) -> Any:
    """What a Python literal says. Raises ValueError, SyntaxError and what else ``ast.literal_eval`` does."""
    with _parsing:
        return ast.literal_eval(text)
