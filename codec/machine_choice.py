"""Which machine codec ``auto`` takes: what was measured with a profile's weights decides, and the reason is told.

A profile may have a file ``machine_choice.json`` beside its manifest: rows that name the operating points at which its
neural codec was measured to be ahead, each with what measured it, and the digest of the weights that were measured:

    {"profile": what ``weights_digest`` gives for the profile,
     "neural": [{"pictures": "stills", "latency": ["zero", "full"], "q": [0, 20], "measured": "where and by how much"}]}

It is advice to encoders and no part of the profile's hash: a decoder never reads it. Where no row fits, and where other
weights were measured, ``inner`` is taken.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duoview.errors import ProfileError
from duoview.inner.settings import LATENCIES
from duoview.machine import MAX_Q
from duoview.profile import Profile

FILE = "machine_choice.json"
PICTURES = ("stills", "video")
#: Entries of the manifest, networks and golden digests that no machine view depends on; those of texture as well.
_BESIDE = frozenset(("denoiser", "caption", "human", "human_decoder", "colour"))
_TEXTURE = "texture"


@dataclass(frozen=True)
class OperatingPoint:
    """How an encoder is used. q: 0 to 63. latency: ``full`` or ``zero``. stills: every frame is a key frame."""

    q: int
    latency: str
    stills: bool

    def __str__(self) -> str:
        return f"{PICTURES[not self.stills]} at q {self.q} with {self.latency} latency"


@dataclass(frozen=True)
class Row:
    """Where neural is ahead: pictures of PICTURES, latencies, qualities from and to, and what measured it."""

    pictures: str
    latencies: tuple[str, ...]
    q: tuple[int, int]
    measured: str

    def __post_init__(self) -> None:
        if self.pictures not in PICTURES:
            raise ValueError(f"pictures {self.pictures!r}: expected one of {', '.join(PICTURES)}")
        for latency in self.latencies:
            if latency not in LATENCIES:
                raise ValueError(f"latency {latency!r}: expected some of {', '.join(LATENCIES)}")
        if not 0 <= self.q[0] <= self.q[1] <= MAX_Q:
            raise ValueError(f"q {self.q[0]} to {self.q[1]}: expected two within 0 to {MAX_Q}, the lower one first")

    def holds(self, point: OperatingPoint) -> bool:
        """True at operating points that it is about."""
        return (self.pictures == PICTURES[not point.stills] and point.latency in self.latencies
                and self.q[0] <= point.q <= self.q[1])


@dataclass(frozen=True)
class MachineChoice:
    """What was taken, ``neural`` or ``inner``, and why, in a few words."""

    machine: str
    reason: str


@dataclass(frozen=True)
class ChoiceTable:
    """The rows of a profile's file, and the digest of the weights that were measured, in hex."""

    profile: str
    rows: tuple[Row, ...]


def weights_digest(profile: Profile) -> str:
    """SHA-256 in hex of what machine layers and views depend on: all of the manifest but texture and human views.

    So a table stays that of a profile whose texture, denoiser or decoder of human views is replaced.
    """
    kept = _of_machine(profile.manifest)
    kept |= {part: _of_machine(kept[part]) for part in ("networks", "golden") if part in kept}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _of_machine(entries: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entries.items() if name not in _BESIDE and not name.startswith(_TEXTURE)}


def read_table(profile: Profile) -> ChoiceTable | None:
    """The table of a profile, None where it has none. Raises ProfileError for a file that cannot be read."""
    path = profile.folder / FILE
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return ChoiceTable(str(content["profile"]), tuple(
            Row(str(one["pictures"]), tuple(map(str, one["latency"])), (int(one["q"][0]), int(one["q"][1])),
                str(one["measured"])) for one in content["neural"]))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ProfileError(f"{path}: no table of machine codecs ({type(error).__name__}: {error})") from None


def decide(profile: str | Path, point: OperatingPoint, *, neural: str = "", inner: str = "") -> MachineChoice:
    """What ``auto`` comes to: texture and seeds go to neural, what only inner has to inner, else what was measured.

    neural, inner: how such an option was written; empty where none was given. Raises ProfileError.
    """
    if neural:
        return MachineChoice("neural", f"{neural} is coded beside it where inner is not asked for")
    if inner:
        return MachineChoice("inner", f"{inner} belongs to it")
    return choose(Profile(profile), point)


def choose(profile: Profile, point: OperatingPoint) -> MachineChoice:
    """The machine codec for an operating point. Raises ProfileError as `read_table` does."""
    table = read_table(profile)
    if table is None:
        return MachineChoice("inner", f"nothing says that neural of profile {profile.name} is ahead anywhere")
    if table.profile != weights_digest(profile):
        return MachineChoice("inner", f"{FILE} of profile {profile.name} is about other weights")
    for row in table.rows:
        if row.holds(point):
            return MachineChoice("neural", f"ahead for {point}: {row.measured}")
    return MachineChoice("inner", f"neural of profile {profile.name} was not measured to be ahead for {point}")
