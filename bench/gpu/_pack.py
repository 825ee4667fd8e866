"""What everything.py has written, packed into few files of limited size to be brought back, and unpacked again."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from _pieces import MANIFEST, cut, join, load_folder, read_manifest, write_manifest

TAR = "everything.tar"
MIB = 1 << 20
#: Ends of the names of files that are renamed when they are whole.
TORN = ("new", "tmp")
_BLOCK = 512  # of a tar, whose end is two of them, filled up to 20


def _rank(path: Path) -> tuple[int, int]:
    """Findings first, then what was trained, then what training goes on from, each the smallest first."""
    kind = 2 if path.suffix in (".pt", ".npz", ".npy") else 1 if path.suffix in (".onnx", ".gz") else 0
    return kind, path.stat().st_size


def pack(out: Path, folder: Path, *, most: float, piece: float) -> list[dict[str, Any]]:
    """Pack what lies in ``out`` into pieces below ``folder``; returns what did not fit, by name and bytes.

    most, piece: MiB of all pieces and of one.
    """
    left, behind = int(most * MIB) - 20 * _BLOCK, []
    with tempfile.TemporaryDirectory() as work:
        with tarfile.open(Path(work, TAR), "w") as packed:
            # What a program that was ended had begun to write is of no use to anybody, and may be as large as the rest.
            whole = (path for path in out.rglob("*") if path.is_file() and path.name.rpartition(".")[2] not in TORN
                     and ".tmp." not in path.name)
            for path in sorted(whole, key=_rank):
                name, size = path.relative_to(out).as_posix(), path.stat().st_size
                taken = 3 * _BLOCK + -(-size // _BLOCK) * _BLOCK  # a long name takes two blocks more
                if taken > left:
                    behind.append({"file": name, "bytes": size})
                    continue
                left -= taken
                packed.add(path, arcname=name)
        fresh = folder / ".packing"
        shutil.rmtree(fresh, ignore_errors=True)
        entries = cut([(TAR, Path(work, TAR))], fresh, piece=int(piece * MIB), load=int(most * MIB))
    shutil.rmtree(load_folder(folder, 1), ignore_errors=True)
    load_folder(fresh, 1).replace(load_folder(folder, 1))
    fresh.rmdir()
    write_manifest(entries, folder, left_behind=behind)
    return behind


def unpack(folder: Path, out: Path) -> list[dict[str, Any]]:
    """The reverse; returns what did not fit then. Raises ValueError for pieces that are missing or damaged."""
    entries, beside = read_manifest(folder)
    with tempfile.TemporaryDirectory() as work:
        _, lacking = join(entries, [load_folder(folder, 1)], Path(work))
        if lacking:
            raise ValueError(f"{folder}: pieces of {', '.join(lacking)} are missing; {MANIFEST} lists them")
        with tarfile.open(Path(work, TAR)) as packed:
            packed.extractall(out, filter="data")
    return list(beside["left_behind"])
