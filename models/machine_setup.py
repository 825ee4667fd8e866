"""What the machine stage is made with on the command line: options, detectors, eyes, pictures and what is measured.

Shared by the command that trains (`machine_command`) and by the one that leaves losses out in turn (`ablation`).
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from duoview.detectors import Description, FastestDet, YoloX, load
from duoview.detectors.family import Family
from duoview.models import patch_clusters
from duoview.models.agreement import AgreementValidation, Judge, PseudoClasses
from duoview.models.data import Picture
from duoview.models.feature_loss import DetectorEye
from duoview.models.machine_fidelity import ClassifierEye, Eyes, FidelityWeights
from duoview.models.machine_material import Look, Looks, RegionWeights, batches, read_looks
from duoview.models.object_labels import Found, Labeller, Labels, open_labeller
from duoview.models.shufflenet import ShuffleNet, open_shufflenet
from duoview.models.train_machine import MachineTraining
from duoview.models.train_machine_inter import MachineInterTraining
from duoview.profile import Profile

#: Crops of each kind in which kinds of patches are looked for.
_CLUSTERED = 240


@dataclass(frozen=True)
class Known:
    """A detector that may teach. title: in words. family: how it is fed. iou: overlap from which two boxes are one.

    scores: at which its boxes begin to count as objects, and from which they count in full. scales: of its input to the
    pictures (vertical, horizontal), for large crops and for small ones: large ones are of pictures of some 480 to 640
    pixels, small ones mostly of photographs of 320.
    """

    title: str
    family: Family
    iou: float
    scores: tuple[float, float]
    scales: tuple[tuple[float, float], tuple[float, float]]


DETECTORS = {
    "yolox": Known("YOLOX-nano, 416x416", YoloX(), 0.65, (0.15, 0.45), ((0.75, 0.75), (1.0, 1.0))),
    "fastestdet": Known("FastestDet, 352x352", FastestDet(), 0.6, (0.3, 0.6), ((0.9, 0.65), (1.1, 1.0))),
}
#: Scales of the classifier, likewise.
_CLASSIFIED = (0.5, 0.85)


def add_options(p: argparse.ArgumentParser) -> None:
    """The options that say what the stage is trained with, and on what."""
    p.add_argument("--folders", type=Path, nargs="+", required=True, metavar="FOLDER", help="images and videos")
    p.add_argument("--photographs", default="", metavar="NAME",
                   help="the folder of photographs that classes are measured on, by its name; none measures no classes")
    for name, known in DETECTORS.items():
        p.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"{known.title}, to learn from")
    p.add_argument("--held-detector", choices=tuple(DETECTORS), metavar="NAME",
                   help=f"of {', '.join(DETECTORS)}: nothing is learned from this one and no picture labelled by it; "
                        "it is measured beside the others, to see what carries over")
    p.add_argument("--shufflenet", type=Path, required=True, metavar="FILE", help="weights of a ShuffleNetV2 backbone")
    p.add_argument("--hold", nargs="+", default=[], metavar="NAME",
                   help="parts of the names of videos that are held back and measured; of images every tenth is")
    p.add_argument("--start", default="s", help="profile whose weights training starts from (default: s)")
    p.add_argument("--rate", type=float, default=MachineTraining.rate, help="learning rate (default: %(default)s)")
    p.add_argument("--seed", type=int, help="of crops, quality indices and draws; the stage's own where none is given")
    p.add_argument("--weight", nargs="+", default=[], metavar="NAME=VALUE",
                   help="of a distance, 0 for without: " + ", ".join(
                       f"{field.name}={getattr(FidelityWeights, field.name):g}" for field in fields(FidelityWeights)))
    p.add_argument("--zoom", nargs=2, type=float, default=MachineTraining.zooms, metavar=("LOW", "HIGH"),
                   help="detectors look at pictures this many times larger, drawn anew at every step (default: 1 1)")
    p.add_argument("--outside", type=float, default=RegionWeights.outside, metavar="SHARE",
                   help="what counts away from objects; outlines and motion come on top (default: %(default)s)")
    p.add_argument("--mapped", type=float, default=MachineTraining.mapped, metavar="SHARE",
                   help="share of the key frames that are coded with gain maps around objects (default: %(default)s)")
    p.add_argument("--lagrangian", nargs=2, type=float, default=MachineTraining.lagrangian, metavar=("Q0", "Q63"),
                   help="weight of the distances against bits per pixel at q 0 and q 63 (default: 8e-6 3e-2)")
    p.add_argument("--worth", type=float, default=MachineTraining.worth,
                   help="how much larger the sum of the distances is than a squared error in 8-bit steps, by which "
                        "quality tables that were trained for that are moved at the start; 0 for weights of this "
                        "command (default: %(default)s)")
    p.add_argument("--check", type=int, default=42, help="held-back pictures that are measured (default: 42)")
    p.add_argument("--threads", type=int, default=0, help="default: all cores")
    p.add_argument("--device", default="cpu", help="of training: cpu or cuda (default: cpu)")
    p.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="labels, checkpoints and logs")


def fidelity_weights(texts: Sequence[str]) -> FidelityWeights:
    """The weights of the distances from ``NAME=VALUE``, the others as they are.

    Raises ValueError for a name that is none, and for what is no number of 0 or more.
    """
    names = [field.name for field in fields(FidelityWeights)]
    values: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in names:
            raise ValueError(f"--weight {text}: expected one of {', '.join(names)}")
        try:
            values[name] = float(value)
        except ValueError:
            raise ValueError(f"--weight {text}: expected NAME=VALUE, the value a number") from None
    return FidelityWeights(**values)


def spread(looks: Sequence[Look], photographs: str, count: int) -> list[Picture]:
    """``count`` pictures at most, as many of each source as there are of it relative to its root; no photographs."""
    by_source: dict[str, list[Picture]] = {}
    for look in looks:
        if look.source != photographs:
            by_source.setdefault(look.source, []).append(look.picture)
    roots = {name: len(of) ** 0.5 for name, of in by_source.items()}
    chosen: list[Picture] = []
    for name in sorted(by_source):
        of = by_source[name]
        wanted = max(1, round(count * roots[name] / sum(roots.values())))
        chosen += [of[at] for at in np.linspace(0, len(of) - 1, min(wanted, len(of))).round().astype(int)]
    return chosen[:count]


@dataclass(frozen=True)
class Detectors:
    """The detectors of a run by name: those that teach, and all that measure."""

    teachers: dict[str, Path]
    judges: dict[str, Path]

    @classmethod
    def of(cls, given: argparse.Namespace) -> Detectors:
        """From the command line. Raises ValueError where none is left to learn from, or the held one is missing."""
        judges = {name: getattr(given, name) for name in DETECTORS if getattr(given, name) is not None}
        held = given.held_detector
        if held is not None and held not in judges:
            raise ValueError(f"--held-detector {held}: its file is needed, --{held} FILE")
        teachers = {name: path for name, path in judges.items() if name != held}
        if not teachers:
            raise ValueError(f"expected a detector to learn from: {' or '.join(f'--{name} FILE' for name in DETECTORS)}"
                             + (f" beside the held-back {held}" if held else ""))
        return cls(teachers, judges)

    def opened(self, threads: int) -> dict[str, Judge]:
        """All of them as judges of pictures."""
        return {name: load(path, description=Description(DETECTORS[name].family, iou=DETECTORS[name].iou),
                           threads=threads, confidence=0.1) for name, path in self.judges.items()}

    def labellers(self, threads: int) -> list[Labeller]:
        """Those that teach, as they tell where objects are."""
        return [open_labeller(f"{path}:{least}:{most}", threads=threads) for name, path in self.teachers.items()
                for least, most in (DETECTORS[name].scores,)]

    def eyes(self, shufflenet: ShuffleNet, device: torch.device) -> list[Eyes]:
        """Who looks on at large crops, and at small ones."""
        return [Eyes(tuple(DetectorEye(path, DETECTORS[name].family, DETECTORS[name].scales[kind], device=device)
                           for name, path in self.teachers.items()),
                     (ClassifierEye(shufflenet, classified, device),)) for kind, classified in enumerate(_CLASSIFIED)]


@dataclass(frozen=True)
class Setup:
    """All of it but the pictures, which take long to read. threads: of networks that run outside of torch."""

    given: argparse.Namespace
    threads: int
    options: MachineTraining
    inter_options: MachineInterTraining
    start: Profile
    detectors: Detectors
    shufflenet: ShuffleNet
    eyes: list[Eyes]
    labellers: list[Labeller]

    @classmethod
    def of(cls, given: argparse.Namespace, minutes: float) -> Setup:
        """From the command line; what can fail for want of a file fails now, not after hours.

        Raises ValueError and the project's errors for what cannot be used.
        """
        if not 0 <= minutes < math.inf:
            raise ValueError(f"--minutes {minutes}: expected 0 or more")
        threads = given.threads or len(os.sched_getaffinity(0))
        torch.set_num_threads(threads)
        shared: dict[str, Any] = {
            "minutes": minutes, "rate": given.rate, "device": given.device, "lagrangian": tuple(given.lagrangian),
            "worth": given.worth, "weights": fidelity_weights(given.weight), "zooms": tuple(given.zoom),
            "regions": RegionWeights(outside=given.outside)}
        if given.seed is not None:
            shared["seed"] = given.seed
        options, inter_options = MachineTraining(mapped=given.mapped, **shared), MachineInterTraining(**shared)
        start, detectors = Profile(given.start), Detectors.of(given)
        shufflenet = open_shufflenet(given.shufflenet)
        return cls(given, threads, options, inter_options, start, detectors, shufflenet,
                   detectors.eyes(shufflenet, torch.device(given.device)), detectors.labellers(threads))

    def looks(self) -> Looks:
        """The pictures, with the boxes that the teachers find in them."""
        labels: Callable[[Picture], Found] = Labels(self.labellers, self.given.out / "labels.jsonl").of
        looks = read_looks(self.given.folders, labels, hold_clips=self.given.hold)
        print(f"{len(looks.train)} pictures to train on, {len(looks.held)} held back", flush=True)
        return looks

    def validation(self, looks: Looks) -> AgreementValidation | None:
        """What is measured on held-back pictures; None where there are none."""
        photographs, check = self.given.photographs, self.given.check
        pictures = spread(looks.held, photographs, check)
        if not pictures:
            return None
        held = [look.picture for look in looks.held if look.source == photographs]
        known = [look.picture for look in looks.train if look.source == photographs]
        classes = PseudoClasses(self.shufflenet, known) if held else None
        return AgreementValidation(pictures, held[:check], self.detectors.opened(self.threads), classes)

    @property
    def clustered(self) -> bool:
        """True where a distance needs the kinds of patches."""
        return bool(self.options.weights.clusters or self.options.weights.contrast)

    def find_clusters(self, looks: Looks) -> None:
        """Let the classifiers know kinds of patches, those of ``clusters.pt`` where it is, else from the pictures."""
        if self.clustered:
            random = np.random.default_rng(9)
            know(self.eyes, [_some(batches(looks.train, side, count, self.options.regions, random), count)
                             for side, count, _ in self.options.crops], self.given.out / "clusters.pt")


def _some(source: Iterable[Any], count: int) -> Iterator[Tensor]:
    return (batch.picture for batch in islice(source, -(-_CLUSTERED // count)))


def know(eyes: Sequence[Eyes], pictures: Sequence[Iterable[Tensor]], path: Path) -> None:
    """Give classifiers their kinds of patches: from a file, or found in batches of pictures and written there.

    pictures: for each of the eyes, (N, 3, S, S) in [0, 1]. Raises ValueError as `patch_clusters` does.
    """
    looking = [one for several in eyes for one in several.classifiers]
    if path.is_file():
        found = patch_clusters.load(path, len(looking))
    else:
        found = []
        for several, some in zip(eyes, pictures, strict=True):
            for eye in several.classifiers:
                device = next(eye.network.parameters()).device
                found.append(patch_clusters.PatchClusters.fit(eye, (batch.to(device) for batch in some)))
        path.parent.mkdir(parents=True, exist_ok=True)
        patch_clusters.save(found, path)
    for eye, one in zip(looking, found, strict=True):
        eye.clusters = one.to(next(eye.network.parameters()).device)
