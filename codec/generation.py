"""What the denoiser of a profile was trained to be given: the manifest's entry ``human``, and the rules of sampling.

A profile without that entry has the denoiser of the first generation: start ``guided``, no caption, no texture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

STARTS = ("guided", "slim", "texture")
MAX_STEPS = 50
#: Up to this many steps the network is told how far a step goes (Frans et al., "One step diffusion via shortcut
#: models", ICLR 2025); beyond, steps are short enough to follow the flow.
MOST_SHORTCUTS = 8


def span_of(steps: int) -> float:
    """What the denoiser is told of the length of each of ``steps`` equal steps: 0 where it shall follow the flow."""
    return 1 / steps if steps <= MOST_SHORTCUTS else 0.0


@dataclass(frozen=True)
class Generation:
    """Shape and training of a conditional denoiser.

    Args:
        channels, blocks: at 1/8, 1/16, 1/32: width of a level; residual blocks on the way down and up (the last: in
            all). caption: numbers of a phrase's vector, 0 for a denoiser that takes no caption.
        levels: for texture depths 0..D, what a residual still lacks, relative to its scale (0: all, 1.0); one number
            for a denoiser that takes no texture. noise: share of that noise with which ``slim`` starts where nobody
            says. steps: how many it is meant for.
    Raises ValueError for what no denoiser can have.
    """

    channels: tuple[int, int, int]
    blocks: tuple[int, int, int]
    caption: int = 0
    levels: tuple[float, ...] = (1.0,)
    noise: float = 0.6
    steps: int = 4

    def __post_init__(self) -> None:
        for name, values in (("channels", self.channels), ("blocks", self.blocks)):
            if len(values) != 3 or min(values) < 1:
                raise ValueError(f"{name}={values}: expected three numbers of 1 or more")
        if self.caption < 0:
            raise ValueError(f"caption={self.caption}: expected 0 or more")
        if self.levels[:1] != (1.0,) or not all(0 < one <= 1 for one in self.levels):
            raise ValueError(f"levels={self.levels}: expected 1, and for every depth of texture a number above 0 to 1")
        if not 0 < self.noise <= 1:
            raise ValueError(f"noise={self.noise}: expected above 0 to 1")
        if not 1 <= self.steps <= MAX_STEPS:
            raise ValueError(f"steps={self.steps}: expected 1 to {MAX_STEPS}")

    @property
    def starts(self) -> tuple[str, ...]:
        """Those that a sampler may begin with."""
        return STARTS if len(self.levels) > 1 else STARTS[:2]

    def as_dict(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self)

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> Self:
        """From the manifest. Raises KeyError, TypeError or ValueError for what is no such entry."""
        return cls(channels=_three(entry["channels"]), blocks=_three(entry["blocks"]), caption=int(entry["caption"]),
                   levels=tuple(float(one) for one in entry["levels"]), noise=float(entry["noise"]),
                   steps=int(entry["steps"]))


def _three(values: Any) -> tuple[int, int, int]:
    first, second, third = (int(one) for one in values)
    return first, second, third
