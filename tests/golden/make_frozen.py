"""Writes frozen.json: the SHA-256 of every golden file that says what the format is.

    python tests/golden/make_frozen.py

A file may be added. One that is there never changes: a format that reads it otherwise has another version.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

HERE = Path(__file__).parent
LIST = HERE / "frozen.json"


def golden_files() -> list[Path]:
    """All files of this folder but scripts and the list."""
    return sorted(path for path in HERE.iterdir() if path.suffix in (".bin", ".dv", ".json") and path != LIST)


def main() -> None:
    """Add what is new. Raises ValueError where a file that is in the list is another one."""
    known: dict[str, str] = json.loads(LIST.read_text()) if LIST.is_file() else {}
    for path in golden_files():
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if known.setdefault(path.name, found) != found:
            raise ValueError(f"{path.name}: the format is frozen, and this file is in its list with other bytes")
    LIST.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")


if __name__ == "__main__":
    main()
