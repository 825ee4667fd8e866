"""What ``duoview encode`` is asked for, and what it tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from duoview.machine_choice import MachineChoice

from .cut import Cut
from .inputs import InputSettings


@dataclass(frozen=True)
class EncodeJob:
    """What one call encodes, from what, to where. chosen: what ``auto`` came to, where it was asked for."""

    source: InputSettings
    output: str
    format: str | None
    filters: str
    q: int
    gop: int
    profile: str
    device: str
    threads: int
    rate: Fraction | None
    cut: Cut
    machine: str = "neural"
    chosen: MachineChoice | None = None
    common: Mapping[str, Any] = field(default_factory=dict)
    inner: Mapping[str, Any] = field(default_factory=dict)
    texture: Mapping[str, Any] = field(default_factory=dict)
    hints: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EncodeResult:
    """What was written."""

    frames: int
    bytes: int
    interrupted: bool
