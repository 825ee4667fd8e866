"""``dv_human``: access units in, pictures for people out."""

from __future__ import annotations

from dataclasses import dataclass

from duoview.decoder import Decoder
from duoview.plugins.options import option

from .dv_machine import RESTORE, Machine


class Human(Machine):
    """Regenerate the human view of access units by diffusion."""

    name = "dv_human"

    @dataclass(frozen=True)
    class Options:
        """Options of dv_human."""

        start: str = option(
            "guided", choices=("guided",), help="where sampling starts; guided: pure noise, no extra bits"
        )
        steps: int = option(4, min=1, max=50, help="diffusion steps a frame")
        seed: int = option(0, min=0, max=(1 << 64) - 1, help="seed of the noise; same seed, same picture")
        device: str = option("cpu", choices=("auto", "cpu", "cuda", "tensorrt"), help="where the networks run")
        threads: int = option(0, min=0, max=1024, help="threads of the networks, 0 for one per core")
        profile: str = option("", help="folder of the profile, where it is not a bundled one")
        restore: str = option("auto", choices=tuple(RESTORE), help="inner streams: restoration; auto where it is")
        text: str = option("", help="what is to be seen, for profiles with a text encoder")

    def make_decoder(self) -> Decoder:
        """A decoder of the human view."""
        options = self.options
        return Decoder(
            profile=options.profile or None,
            device=options.device,
            threads=options.threads,
            view="human",
            start=options.start,
            steps=options.steps,
            seed=options.seed,
            text=options.text,
            restore=RESTORE[options.restore],
        )
