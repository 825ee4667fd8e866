"""What everything.py has found so far: a status of every part, in a file that the next call goes on from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

STATE = "everything.json"
#: passed: all that the part asks for ran and was right. partly: what ran was right, and something did not run, or a
#: training has minutes to go. unfinished: ended at its time limit. Nothing of the last three counts as passed.
STATUSES = ("passed", "partly", "failed", "unfinished", "not run")


#: Why a part did not run that no call has come to yet.
WAITING = "its turn has not come"


@dataclass
class Found:
    """One part. why: of every status but passed. not_run: {"what", "why"} of what did not run within it.

    tree: state of the checkout it is of. wheels: that were installed beside. minutes: that a training was given over
    all calls. seconds: of the last run.
    """

    name: str
    kind: str
    status: str = "not run"
    why: str = WAITING
    seconds: float = 0.0
    minutes: float = 0.0
    tree: str = ""
    commit: str = ""
    results: str = ""
    wheels: list[str] = field(default_factory=list)
    not_run: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"{self.name}: status {self.status!r}; expected one of {', '.join(STATUSES)}")


def write_whole(path: Path, content: Any) -> None:
    """JSON that appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps(content, indent=1) + "\n")
    fresh.replace(path)


def read(folder: Path) -> tuple[dict[str, Found], list[dict[str, Any]], bool]:
    """Parts by name, earlier calls, whether they were dry. Raises FileNotFoundError or ValueError naming the file."""
    path = folder / STATE
    if not path.is_file():
        raise FileNotFoundError(f"--resume {folder}: no {STATE} in it; expected --out, or --pack, of an earlier call")
    try:
        content = json.loads(path.read_text())
        return {one["name"]: Found(**one) for one in content["parts"]}, content["calls"], content["dry"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: not of this version of everything.py ({type(error).__name__}: {error})") from None


def write(folder: Path, parts: Sequence[Found], calls: Sequence[dict[str, Any]], **beside: Any) -> None:
    """The state of all parts, which have which status, and which of them are of other sources than ``tree`` beside."""
    others = [one.name for one in parts if one.tree and one.tree != beside.get("tree")]
    counts = {status: [one.name for one in parts if one.status == status] for status in STATUSES}
    write_whole(folder / STATE, {"script": "everything", **beside, **{status.replace(" ", "_"): names for status, names
                                                                     in counts.items()}, "of_other_sources": others,
                                 "parts": [asdict(one) for one in parts], "calls": list(calls)})


def read_result(path: Path) -> tuple[dict[str, Any] | None, str]:
    """What a part wrote; None, and why, where it wrote nothing, or was ended while it wrote."""
    if not path.is_file():
        return None, "no result was written"
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        return None, f"{path.name} is no JSON: {error}"
    return (found, "") if isinstance(found, dict) else (None, f"{path.name} holds no JSON object")


def left_out(result: Any, place: str = "") -> Iterator[dict[str, str]]:
    """What a result of this folder's scripts says did not run: its ``skipped`` and ``not_run``, wherever they stand."""
    if isinstance(result, list):
        for number, one in enumerate(result):
            yield from left_out(one, f"{place}[{number}]")
        return
    if not isinstance(result, dict):
        return
    for name, value in result.items():
        here = f"{place}.{name}" if place else name
        if (name == "skipped" and isinstance(value, str)) or (name == "not_run" and isinstance(value, str) and value):
            yield {"what": place, "why": value}
        elif name == "not_run" and isinstance(value, dict):
            yield from ({"what": f"{place}: {key}", "why": str(why)} for key, why in value.items())
        elif name == "not_run" and isinstance(value, list):
            yield from ({"what": f"{place}: {one['name']}", "why": str(one["reason"])} for one in value)
        else:
            yield from left_out(value, here)


def broken(result: Any, place: str = "") -> Iterator[str]:
    """Where a result says that something failed: ``good`` or ``all_equal`` that is false, or ``failed`` in words."""
    if not isinstance(result, dict):
        return
    if result.get("good") is False or result.get("all_equal") is False:
        said = result.get("failed") or result.get("exit") or result.get("tail", "")
        yield f"{place or 'it'}: {str(said)[-300:]}" if said else place or "it"
    for name, value in result.items():
        yield from broken(value, f"{place}.{name}" if place else name)


def verdict(exit_code: int, result: dict[str, Any] | None, sections: Sequence[str] = (),
            absent: str = "no result was written") -> tuple[str, str, list[dict[str, str]]]:
    """Status, why, and what did not run, of a part that came to its end.

    sections: names in the result that have to be there, each a dictionary; where none of them ran, the part did not.
    absent: why there is no result.
    """
    if result is None:
        return "failed", f"exit {exit_code}, and {absent}", []
    lacking = [name for name in sections if not isinstance(result.get(name), dict)]
    missing = list(left_out(result))
    if lacking:
        return "failed", f"exit {exit_code}, and no result of {', '.join(lacking)}", missing
    idle = [name for name in sections if isinstance(result[name].get("not_run", result[name].get("skipped")), str)]
    if sections and len(idle) == len(sections):
        return "not run", missing[0]["why"], missing
    wrong = list(broken({name: value for name, value in result.items() if name not in idle}))
    if wrong or (exit_code and not idle):
        return "failed", "; ".join(wrong) or f"exit {exit_code}", missing
    if missing:
        return "partly", f"{len(missing)} things did not run", missing
    return "passed", "", []
