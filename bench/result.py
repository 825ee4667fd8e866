"""Result files: one JSON per measurement, with what was asked, the machine and the profile."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.machine import Machine, this_machine
from duoview import Profile

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Report:
    """A measurement. what: in words; settings: the arguments that decide the numbers; results: a dataclass."""

    what: str
    date: str
    machine: Machine
    profile: str
    profile_sha256: str
    settings: Any
    results: Any


def measured(what: str, profile: Profile, settings: Any, results: Any) -> Report:
    """A report of this moment; ``settings`` and ``results`` are dataclasses."""
    for value in (settings, results):
        if not is_dataclass(value):
            raise TypeError(f"{type(value).__name__} in a result: a dataclass is needed")
    return Report(what, datetime.now(UTC).isoformat(timespec="seconds"), this_machine(), profile.name,
                  profile.sha256.hex(), settings, results)


def _plain(value: Any) -> Any:
    """Floats at six significant digits: more would be noise in every diff."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def write(path: Path, content: Any) -> None:
    """Write a report or another dataclass; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_plain(asdict(content)), indent=1, ensure_ascii=False) + "\n"
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
    print(f"wrote {path}")
