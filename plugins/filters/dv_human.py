"""``dv_human``: access units in, pictures for people out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from duoview.batching import LARGEST_BATCH, LONGEST_WINDOW
from duoview.captions.told import read_mode
from duoview.detectors import load
from duoview.generation import MAX_STEPS, STARTS
from duoview.plugins.errors import OptionError
from duoview.plugins.hwaccel import HWACCEL_HELP, HWACCELS, OF_PROGRAM
from duoview.plugins.options import option
from duoview.texture import Depths
from duoview.windows import MOST_TILE

from .dv_machine import PLACES, PLACES_HELP, RESTORE, Machine


class Human(Machine):
    """Regenerate the human view of access units by diffusion."""

    name = "dv_human"

    @dataclass(frozen=True)
    class Options:
        """Options of dv_human."""

        start: str = option("guided", choices=STARTS, help="where sampling starts; guided: pure noise, no extra bits; "
                            "slim: the machine view, noised, and a caption; texture: what was sent of it")
        steps: int = option(4, min=0, max=MAX_STEPS, help="diffusion steps a frame; 0: none, for profiles with a "
                            "decoder of human views")
        seed: int = option(-1, min=-1, max=(1 << 64) - 1, help="seed of the noise; same seed, same picture; -1: the "
                           "one that was sent, else 0")
        device: str = option("cpu", choices=("auto", "cpu", "cuda", "tensorrt"), help="where the networks run")
        threads: int = option(0, min=0, max=1024, help="threads of the networks, 0 for one per core")
        profile: str = option("", help="folder of the profile, where it is not a bundled one")
        restore: str = option("auto", choices=tuple(RESTORE), help="inner streams: restoration; auto where it is")
        text: str = option("", help="what is to be seen, for profiles with a text encoder")
        noise: float = option(0.0, min=0, max=1, help="slim: share of the noise to start with; 0 for the profile's")
        texture: str = option("8", help="start=texture: greatest depth that is used; TILE=DEPTH for tiles that differ: "
                              "2,0=6")
        caption: str = option("auto", help="slim, texture: what is seen: auto, what was sent, else what the detector "
                              "finds; none; or a text, such as 1 person left")
        detector: str = option("", help="slim, texture: path of a network that finds what captions tell of, where none "
                               "was sent")
        confidence: float = option(0.4, min=0, max=1, help="detector: least score of what is told")
        tile: int = option(-1, min=-1, max=MOST_TILE, help="side of the windows that are made apart, in 8 pixels, 16 "
                           "or more; 0: the whole picture; -1: the profile's")
        batch: int = option(0, min=0, max=LARGEST_BATCH, help="streams whose networks run at once, at most; 0: as the "
                            "program says, else 1")
        window: float = option(-1.0, min=-1.0, max=LONGEST_WINDOW, help="seconds that a frame waits for those of other "
                               "streams, at most; -1: as the program says, else 0.002")
        hwaccel: str = option(OF_PROGRAM, choices=HWACCELS, help=HWACCEL_HELP)
        frames: str = option("host", choices=PLACES, help=PLACES_HELP)

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        options = self.options
        self._caption = read_mode(options.caption)  # what cannot be is told before the first frame
        self._depths = Depths.parse(options.texture)
        for names, starts in ((("noise",), ("slim",)), (("texture",), ("texture",)),
                              (("caption", "detector", "confidence"), ("slim", "texture"))):
            for name in names:
                value = getattr(options, name)
                if value != type(options).__dataclass_fields__[name].default and options.start not in starts:
                    raise OptionError(f"dv_human: {name}={value}: belongs to start={' or '.join(starts)}, not "
                                      f"{options.start}")
        if options.detector and options.caption != "auto":
            raise OptionError(f"dv_human: detector={options.detector}: makes captions where none was sent; expected "
                              f"caption=auto with it, not {options.caption}")
        if options.start == "texture" and RESTORE[options.restore]:
            raise OptionError(f"dv_human: restore={options.restore}: start=texture goes by the pictures as they were "
                              "coded; expected restore=auto or off with it")
        if options.confidence != type(options).__dataclass_fields__["confidence"].default and not options.detector:
            raise OptionError(f"dv_human: confidence={options.confidence}: belongs to a detector; expected detector "
                              "with it")

    def view(self) -> dict[str, Any]:
        """Of the human view."""
        options = self.options
        return {"view": "human", "start": options.start, "steps": options.steps,
                "seed": options.seed if options.seed >= 0 else None, "noise": options.noise or None,
                "tile": options.tile if options.tile >= 0 else None, "caption": self._caption,
                "texture": self._depths if options.start == "texture" else None}

    def host_view(self) -> dict[str, Any]:
        """Text, detector and restoration. Raises DetectorError for a detector that cannot be had."""
        options = self.options
        detector = load(options.detector, device=options.device, threads=options.threads,
                        confidence=options.confidence) if options.detector else None
        return {"text": options.text, "detector": detector, "restore": RESTORE[options.restore]}
