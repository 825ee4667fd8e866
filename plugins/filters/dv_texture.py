"""``dv_texture``: access units in, pictures with as much texture as was sent out; no diffusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from duoview.batching import LARGEST_BATCH, LONGEST_WINDOW
from duoview.plugins.hwaccel import HWACCEL_HELP, HWACCELS, OF_PROGRAM
from duoview.plugins.options import option
from duoview.texture import Depths
from duoview.texture.decoder import FILLS

from .dv_machine import PLACES, PLACES_HELP, Machine


class Texture(Machine):
    """Decode the texture view of access units."""

    name = "dv_texture"

    @dataclass(frozen=True)
    class Options:
        """Options of dv_texture."""

        texture: str = option("8", help="greatest depth that is used; TILE=DEPTH for tiles that differ: 2,0=6")
        fill: str = option("mean", choices=FILLS, help="what stands for the depths that were not sent")
        seed: int = option(0, min=0, max=(1 << 64) - 1, help="seed of the samples; same seed, same picture")
        device: str = option("cpu", choices=("auto", "cpu", "cuda", "tensorrt"), help="where the networks run")
        threads: int = option(0, min=0, max=1024, help="threads of the networks, 0 for one per core")
        profile: str = option("", help="folder of the profile, where it is not a bundled one")
        batch: int = option(0, min=0, max=LARGEST_BATCH, help="streams whose networks run at once, at most; 0: as the "
                            "program says, else 1")
        window: float = option(-1.0, min=-1.0, max=LONGEST_WINDOW, help="seconds that a frame waits for those of other "
                               "streams, at most; -1: as the program says, else 0.002")
        hwaccel: str = option(OF_PROGRAM, choices=HWACCELS, help=HWACCEL_HELP)
        frames: str = option("host", choices=PLACES, help=PLACES_HELP)

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        Depths.parse(self.options.texture)  # what cannot be is told before the first frame

    def view(self) -> dict[str, Any]:
        """Of the texture view."""
        options = self.options
        return {"view": "texture", "texture": Depths.parse(options.texture), "fill": options.fill, "seed": options.seed}

    def host_view(self) -> dict[str, Any]:
        """Nothing."""
        return {}
