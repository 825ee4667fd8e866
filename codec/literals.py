"""Python literals that files hold, parsed by one thread at a time.

CPython 3.11 counts the depth of syntax trees for all threads together: of two that parse at once one can end with
"SystemError: AST constructor recursion depth mismatch". NumPy parses the head of every stored array that way.
"""

from __future__ import annotations

import ast
import io
import os
import threading
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_parsing = threading.Lock()
#: What readers of zip files, of compressed data, and of the heads of arrays raise for bytes that are none.
_DAMAGE = (ValueError, EOFError, KeyError, NotImplementedError, RuntimeError, SyntaxError, TypeError, MemoryError,
           OverflowError, zipfile.BadZipFile, zlib.error, tokenize.TokenError)


def _renew() -> None:
    """A process that was forked while another thread parsed would wait for ever."""
    global _parsing
    _parsing = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def stored_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an .npz file by name. Raises OSError, and ValueError for any other file, a damaged one too."""
    content = io.BytesIO(path.read_bytes())  # what the file system has to say is said here
    try:
        with _parsing, zipfile.ZipFile(content) as stored:
            # NumPy's own reader of such files takes other kinds as well, and gives no arrays then.
            return {member.filename.removesuffix(".npy"): _array(stored, member) for member in stored.infolist()}
    except _DAMAGE as error:
        raise ValueError(f"{path}: no .npz file of arrays, or a damaged one ({error})") from None


def _array(stored: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # NumPy writes no others, and the readers of these have errors of their own.
        raise ValueError(f"{member.filename}: compressed by method {member.compress_type}; expected 0 or 8")
    with stored.open(member) as file:
        found: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        if file.read(1):  # a head that tells of fewer numbers; at its end only, a member's check sum is looked at
            raise ValueError(f"{member.filename}: bytes behind an array of shape {found.shape}")
    return found


def literal(text: str) -> Any:
    """What a Python literal says. Raises ValueError, SyntaxError and what else ``ast.literal_eval`` does."""
    with _parsing:
        return ast.literal_eval(text)
