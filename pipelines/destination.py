"""May an output file be written: ``-y``, ``-n``, asking on a terminal, and never over the input."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .console import Console
from .errors import MediaError


def is_pipe(url: str) -> bool:
    """True for standard output and other pipes and protocols, which cannot be overwritten."""
    return url == "-" or ":" in url.split("/", maxsplit=1)[0]


def unused(url: str) -> str:
    """A file's name, or the next one that is free: ``out.mp4``, ``out-2.mp4``, ...; pipes and patterns as they are."""
    if is_pipe(url) or "%" in url:
        return url
    path, number = Path(url), 2
    while path.exists():
        path, number = Path(url).with_stem(f"{Path(url).stem}-{number}"), number + 1
    return str(path) if number > 2 else url


def claim(url: str, source: str, values: Mapping[str, Any], console: Console) -> None:
    """Settle that an output may be written. Raises MediaError where not.

    Without ``-y`` or ``-n`` an existing file is asked about on a terminal and refused elsewhere, as ffmpeg does.
    """
    if is_pipe(url) or "%" in url:
        return
    path = Path(url)
    if not path.exists() or not path.is_file():
        return
    if not is_pipe(source) and Path(source).exists() and path.samefile(source):
        raise MediaError(f"{url}: is the input itself; expected another output name")
    if values.get("y"):
        return
    if not values.get("n") and not values.get("nostdin") and sys.stdin is not None and sys.stdin.isatty():
        console.status(f"File {url!r} already exists. Overwrite? [y/N] ")
        answer = sys.stdin.readline().strip().lower()
        if answer in ("y", "yes"):
            return
        raise MediaError(f"{url}: exists and is not to be overwritten")
    raise MediaError(f"{url}: exists already; expected -y to overwrite it, or another name")
