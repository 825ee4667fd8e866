"""Files cut into pieces, and put together again: no more than so much travels to a machine, or back, at once.

Every piece and every file has its size and SHA-256 in a manifest; nothing is put together that differs from it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MANIFEST = "pieces.json"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Piece:
    """A part of a file: its own name, bytes, SHA-256 in hexadecimal, and the load it travels with, counted from 1."""

    file: str
    size: int
    sha256: str
    load: int


@dataclass(frozen=True)
class Whole:
    """A file and its pieces in order. name: below the folder it is put together in, with / between folders."""

    name: str
    size: int
    sha256: str
    pieces: tuple[Piece, ...]


def load_folder(folder: Path, number: int) -> Path:
    return folder / f"load_{number}"


def cut(files: Iterable[tuple[str, Path]], folder: Path, *, piece: int, load: int) -> list[Whole]:
    """Cut files, given with their names, into ``folder/load_1``, ``load_2`` and so on; returns the manifest's entries.

    piece, load: bytes at most of a file and of a folder. Raises ValueError for sizes that are none.
    """
    if not 0 < piece <= load:
        raise ValueError(f"pieces of {piece} bytes in loads of {load}: expected 1 or more, and pieces no larger")
    wholes, number, filled = [], 1, 0
    for at, (name, path) in enumerate(files):
        pieces: list[Piece] = []
        whole = hashlib.sha256()
        with path.open("rb") as source:
            left = path.stat().st_size
            while left or not pieces:
                if filled >= load:
                    number, filled = number + 1, 0
                size = min(piece, load - filled, left)
                target = load_folder(folder, number) / f"{at:02d}.{len(pieces):03d}"
                target.parent.mkdir(parents=True, exist_ok=True)
                own = hashlib.sha256()
                with target.open("wb") as out:
                    rest = size
                    while rest:
                        block = source.read(min(_BLOCK, rest))
                        if not block:
                            raise ValueError(f"{path}: shorter than it was")
                        out.write(block)
                        own.update(block)
                        whole.update(block)
                        rest -= len(block)
                pieces.append(Piece(target.name, size, own.hexdigest(), number))
                filled, left = filled + size, left - size
        wholes.append(Whole(name, path.stat().st_size, whole.hexdigest(), tuple(pieces)))
    return wholes


def write_manifest(wholes: Sequence[Whole], folder: Path, **beside: Any) -> None:
    """The manifest into ``folder``, with what else is to be known."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**beside, "files": [asdict(one) for one in wholes]}, indent=1) + "\n"
    (folder / MANIFEST).write_text(text)


def read_manifest(folder: Path) -> tuple[list[Whole], dict[str, Any]]:
    """The entries of a manifest, and what else stands there. Raises ValueError, FileNotFoundError naming the file."""
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; expected a folder that bench/gpu/carry.py or everything.py made")
    try:
        found = json.loads(path.read_text())
        wholes = [Whole(**{**one, "pieces": tuple(Piece(**piece) for piece in one["pieces"])})
                  for one in found.pop("files")]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: no manifest of pieces ({type(error).__name__}: {error})") from None
    for one in wholes:
        inside = Path(one.name)
        if inside.is_absolute() or ".." in inside.parts or any(Path(p.file).name != p.file for p in one.pieces):
            raise ValueError(f"{path}: {one.name}: a name that leads out of its folder")
    return wholes, found


def _digest(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def _same(path: Path, piece: Piece) -> bool:
    return path.stat().st_size == piece.size and _digest(path) == piece.sha256


def join(wholes: Sequence[Whole], sources: Sequence[Path], target: Path) -> tuple[list[str], list[str]]:
    """Put together, in ``target``, the files whose pieces are all in ``sources`` or came with an earlier call.

    Pieces of files that are not complete yet are kept in ``target/.pieces``. Returns the names of files that are there
    now and of those that are not. Raises ValueError for a piece or a file that differs from the manifest.
    """
    kept = target / ".pieces"
    kept.mkdir(parents=True, exist_ok=True)
    there, lacking = [], []
    for whole in wholes:
        path = target / whole.name
        if path.is_file() and path.stat().st_size == whole.size and _digest(path) == whole.sha256:
            there.append(whole.name)
            continue
        found = []
        for piece in whole.pieces:
            # A piece of equal name may be of an earlier folder of loads, and what was kept of a call that was ended, or
            # of pieces of another size, is no error: it comes again.
            own = kept / f"{whole.sha256[:16]}.{piece.file}"
            if own.is_file():
                if _same(own, piece):
                    found.append(own)
                    continue
                own.unlink()
            at = next((one for one in (source / piece.file for source in sources) if one.is_file()), None)
            if at is None:
                continue
            if not _same(at, piece):
                raise ValueError(f"{at}: differs from piece {piece.file} of {whole.name} in the manifest "
                                 f"({piece.size} bytes, SHA-256 {piece.sha256[:16]}...); carry it again")
            found.append(at)
        if len(found) < len(whole.pieces):
            for at in found:
                if at.parent != kept:
                    (kept / f"{whole.sha256[:16]}.{at.name}").write_bytes(at.read_bytes())
            lacking.append(whole.name)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(path.name + ".new")
        with fresh.open("wb") as out:
            for at in found:
                out.write(at.read_bytes())
        if _digest(fresh) != whole.sha256:
            fresh.unlink()
            raise ValueError(f"{whole.name}: its pieces are right and the whole is not; cut it again")
        fresh.replace(path)
        for at in found:
            if at.parent == kept:
                at.unlink()
        there.append(whole.name)
    return there, lacking
