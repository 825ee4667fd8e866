"""The command that trains the neural codec of a profile on for machines, key frames or P frames."""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from duoview.detectors import Description, FastestDet, YoloX, load
from duoview.errors import Error
from duoview.models import train_machine_inter
from duoview.models.agreement import AgreementValidation, Judge, PseudoClasses
from duoview.models.data import Material, Picture
from duoview.models.data import load as load_material
from duoview.models.feature_loss import DetectorEye
from duoview.models.machine_fidelity import ClassifierEye, Eyes, FidelityWeights
from duoview.models.machine_material import Look, Looks, read_looks
from duoview.models.object_labels import Labels, open_labeller
from duoview.models.shufflenet import ShuffleNet, open_shufflenet
from duoview.models.train_denoiser import residual_scale
from duoview.models.train_machine import MachineTraining, machine_lagrangian, train
from duoview.models.train_machine_inter import MachineInterTraining
from duoview.profile import Profile

if TYPE_CHECKING:
    from duoview.export.profile import Networks

#: Scores at which detectors' boxes begin to count as objects, and from which they count in full.
_YOLOX_SCORES, _FASTESTDET_SCORES = (0.15, 0.45), (0.3, 0.6)
#: Scales of YOLOX, FastestDet (vertical, horizontal) and the classifier for large crops and for small ones: large ones
#: are of pictures of some 480 to 640 pixels, small ones mostly of photographs of 320.
_SCALES = ((0.75, (0.9, 0.65), 0.5), (1.0, (1.1, 1.0), 0.85))
#: The networks of a profile that the two stages train.
TRAINED = ("key_analysis", "key_hyper", "key_context", "key_synthesis")
TRAINED_INTER = ("inter_analysis", "inter_hyper", "inter_context", "inter_synthesis")


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    p = argparse.ArgumentParser(prog="python -m duoview.models.machine_command",
                                description="Train the neural codec of a profile on, for what detectors and "
                                            "classifiers see: key frames first, then P frames on top of them. The "
                                            "checkpoint goes to --out; the same command goes on from it.")
    p.add_argument("--frames", choices=("key", "p"), default="key", help="which frames' codec (default: key)")
    p.add_argument("--folders", type=Path, nargs="+", required=True, metavar="FOLDER", help="images and videos")
    p.add_argument("--photographs", default="", metavar="NAME",
                   help="the folder of photographs that classes are measured on, by its name; none measures no classes")
    p.add_argument("--yolox", type=Path, required=True, metavar="FILE", help="YOLOX-nano, 416x416")
    p.add_argument("--fastestdet", type=Path, required=True, metavar="FILE", help="FastestDet, 352x352")
    p.add_argument("--shufflenet", type=Path, required=True, metavar="FILE", help="weights of a ShuffleNetV2 backbone")
    p.add_argument("--hold", nargs="+", default=[], metavar="NAME",
                   help="parts of the names of videos that are held back and measured; of images every tenth is")
    p.add_argument("--start", default="s", help="profile whose weights training starts from (default: s)")
    p.add_argument("--minutes", type=float, default=MachineTraining.minutes,
                   help="wall time of training over all runs (default: %(default)s)")
    p.add_argument("--rate", type=float, default=MachineTraining.rate, help="learning rate (default: %(default)s)")
    p.add_argument("--weight", nargs="+", default=[], metavar="NAME=VALUE",
                   help="of a distance, 0 for without: " + ", ".join(
                       f"{field.name}={getattr(FidelityWeights, field.name):g}" for field in fields(FidelityWeights)))
    p.add_argument("--lagrangian", nargs=2, type=float, default=MachineTraining.lagrangian, metavar=("Q0", "Q63"),
                   help="weight of the distances against bits per pixel at q 0 and q 63 (default: 8e-6 3e-2)")
    p.add_argument("--worth", type=float, default=MachineTraining.worth,
                   help="how much larger the sum of the distances is than a squared error in 8-bit steps, by which "
                        "quality tables that were trained for that are moved at the start; 0 for weights of this "
                        "command (default: %(default)s)")
    p.add_argument("--report", type=float, default=420.0, help="seconds from one measurement to the next")
    p.add_argument("--check", type=int, default=42, help="held-back pictures that are measured (default: 42)")
    p.add_argument("--threads", type=int, default=0, help="default: all cores")
    p.add_argument("--device", default="cpu", help="of training: cpu or cuda (default: cpu)")
    p.add_argument("--profile", type=Path, metavar="FOLDER",
                   help="profile that is written at the end: that of --start with the trained networks in it")
    p.add_argument("--sources", type=Path, help="text file on the data and its licences, for the model card")
    p.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="labels, checkpoint and log")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and measure. Returns the exit code: 0, or 2 with a message for what cannot be used."""
    given = parser().parse_args(arguments)
    try:
        _run(given)
    except (Error, ValueError, OSError) as error:
        print(f"machine_command: {error}", file=sys.stderr)
        return 2
    return 0


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


def eyes_of(yolox: Path, fastestdet: Path, shufflenet: ShuffleNet, device: torch.device) -> list[Eyes]:
    """Who looks on at large crops, and at small ones."""
    return [Eyes((DetectorEye(yolox, YoloX(), (scale, scale), device=device),
                  DetectorEye(fastestdet, FastestDet(), stretched, device=device)),
                 (ClassifierEye(shufflenet, classified, device),)) for scale, stretched, classified in _SCALES]


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


def _judges(given: argparse.Namespace, threads: int) -> dict[str, Judge]:
    return {"yolox": load(given.yolox, description=Description(YoloX(), iou=0.65), threads=threads, confidence=0.1),
            "fastestdet": load(given.fastestdet, description=Description(FastestDet(), iou=0.6), threads=threads,
                               confidence=0.1)}


def validation_of(looks: Looks, given: argparse.Namespace, shufflenet: ShuffleNet, threads: int
                  ) -> AgreementValidation | None:
    """What is measured on held-back pictures; None where there are none."""
    pictures = spread(looks.held, given.photographs, given.check)
    if not pictures:
        return None
    photographs = [look.picture for look in looks.held if look.source == given.photographs]
    known = [look.picture for look in looks.train if look.source == given.photographs]
    classes = PseudoClasses(shufflenet, known) if photographs else None
    return AgreementValidation(pictures, photographs[:given.check], _judges(given, threads), classes)


def _run(given: argparse.Namespace) -> None:
    if not 0 <= given.minutes < math.inf:
        raise ValueError(f"--minutes {given.minutes}: expected 0 or more")
    threads = given.threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    # What can fail for want of a file fails now, not after hours.
    shared: dict[str, Any] = {"minutes": given.minutes, "rate": given.rate, "device": given.device,
                              "lagrangian": tuple(given.lagrangian), "worth": given.worth,
                              "weights": fidelity_weights(given.weight)}
    options, inter_options = MachineTraining(**shared), MachineInterTraining(**shared)
    start = Profile(given.start)
    told = given.sources.read_text() if given.sources else ""
    shufflenet = open_shufflenet(given.shufflenet)
    eyes = eyes_of(given.yolox, given.fastestdet, shufflenet, torch.device(given.device))
    labellers = [open_labeller(f"{path}:{least}:{most}", threads=threads) for path, (least, most) in
                 ((given.yolox, _YOLOX_SCORES), (given.fastestdet, _FASTESTDET_SCORES))]
    # Not above: the exporter imports the networks, and they are imported with this module.
    from duoview.export.card import machine_inter_section, machine_section
    from duoview.export.restore import restore

    networks = restore(start.folder)
    if given.frames == "p":
        material = load_material(given.folders, hold_clips=tuple(given.hold), crop=inter_options.crop)
        inter = train_machine_inter.train(material, networks.still, networks.inter, eyes[0], labellers[0].label,
                                          inter_options, given.out, judges=_judges(given, threads),
                                          report_seconds=given.report).eval().cpu()
        worth = machine_lagrangian(torch.arange(64), inter_options.lagrangian)
        # On this scale from now on, which is that of squared error times what the distances are worth.
        networks = replace(networks, inter=inter, lagrangian=worth * (given.worth or MachineInterTraining.worth))
        _write(networks, TRAINED_INTER, start, given.profile,
               machine_inter_section(inter_options, material, given.start, str(labellers[0]), told, given.out))
        return
    looks = read_looks(given.folders, Labels(labellers, given.out / "labels.jsonl").of, hold_clips=given.hold)
    print(f"{len(looks.train)} pictures to train on, {len(looks.held)} held back", flush=True)
    validation = validation_of(looks, given, shufflenet, threads)
    if validation is not None:
        for name, points in validation.peer.points.items():
            print(f"x265 intra, {name}: " + ", ".join(f"{value:.3f} at {rate:.3f}" for rate, value in points))
    codec = train(looks.train, eyes, networks.still, options, given.out, validation=validation,
                  report_seconds=given.report).eval().cpu()
    # What the human view adds to a decoded latent is scaled by how far that is off, which has changed.
    scale = residual_scale(codec, Material([look.picture for look in looks.train]))
    _write(replace(networks, still=codec, residual_scale=scale), TRAINED, start, given.profile,
           machine_section(options, looks, given.start, [str(one) for one in labellers], told, given.out))


def _write(networks: Networks, names: Sequence[str], start: Profile, folder: Path | None, section: str) -> None:
    """Networks of these names into a copy of the profile that training started from, with a section of its card."""
    if folder is None:
        return
    from duoview.export.card import put_section
    from duoview.export.profile import replace_networks

    if folder.resolve() != start.folder.resolve():
        shutil.copytree(start.folder, folder, dirs_exist_ok=True)
    digest = replace_networks(networks, names, folder)
    card = folder / "MODEL_CARD.md"
    card.write_text(put_section(card.read_text() if card.is_file() else "", section))
    print(f"{folder}: sha256 {digest}")


if __name__ == "__main__":
    sys.exit(main())
