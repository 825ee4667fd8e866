"""Training of the saliency network, on boxes that detectors found in the training pictures.

``python -m duoview.models.train_saliency -h`` labels pictures and trains on them; labels and checkpoint go to
``--out``, and the same command goes on from both. docs/training.md has an example.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from duoview.models.data import to_tensor
from duoview.models.labelled_pictures import LabelledPicture, find_sources, hold_back, label
from duoview.models.loop import Loop
from duoview.models.object_labels import Labels, open_labeller
from duoview.models.saliency import GREY, Saliency, distance, saliency_map
from duoview.models.training_command import (
    add_minutes,
    add_run,
    begin,
    check_minutes,
    command_parser,
    run,
    tell_profile,
)

CELL = 8
#: Smaller boxes, in pixels of the scaled picture, are no object to any detector.
LEAST_AREA = 30.0


@dataclass(frozen=True)
class SaliencyTraining:
    """Options of the stage: wall time, batch, crop (full size), learning rate, seed.

    ``forget``: how often a background that is known is not shown.
    """

    minutes: float = 60.0
    batch: int = 12
    crop: tuple[int, int] = (288, 448)
    rate: float = 2.0e-3
    seed: int = 4
    forget: float = 0.3
    device: str = "cpu"


def cells(boxes: NDArray[np.float32], strengths: NDArray[np.float32], height: int, width: int
          ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the network is to say and what an error weighs, both (height/8, width/8).

    A box is widened by what detectors see around an object. Cells of small objects weigh more than those of large ones:
    a lost object is a lost object.
    """
    target = np.zeros((height // CELL, width // CELL), np.float32)
    weight = np.ones_like(target)
    for at in np.argsort(strengths, kind="stable"):
        (x0, y0, x1, y1), strength = boxes[at].tolist(), float(strengths[at])
        around = 6 + 0.06 * max(x1 - x0, y1 - y0)
        rows = slice(max(0, int((y0 - around) // CELL)), max(0, math.ceil((y1 + around) / CELL)))
        columns = slice(max(0, int((x0 - around) // CELL)), max(0, math.ceil((x1 + around) / CELL)))
        size = target[rows, columns].size
        if size:
            target[rows, columns] = np.maximum(target[rows, columns], strength)
            weight[rows, columns] = np.maximum(weight[rows, columns], 1 + strength * (2 + 24 / math.sqrt(size)))
    return target, weight


def labelled_crop(item: LabelledPicture, options: SaliencyTraining, random: np.random.Generator
                  ) -> tuple[Tensor, NDArray[np.float32], NDArray[np.float32]]:
    """A crop at half size (4, H/2, W/2), scaled, mirrored, in another light, with noise; targets and weights."""
    rows, columns = options.crop
    height, width = item.picture.shape[:2]
    scale = math.exp(random.uniform(math.log(0.6), math.log(1.5)))
    if random.random() < 0.7:
        scale = max(scale, rows / height * 1.001, columns / width * 1.001)
    small = (int(height * scale / 2), int(width * scale / 2))
    background = item.background if random.random() >= options.forget else None
    pictures = [item.picture] if background is None else [item.picture, background]
    x = F.interpolate(to_tensor(np.stack(pictures)), small, mode="area")
    boxes = item.boxes.reshape(-1, 4) * np.tile(np.array([2 * small[1] / width, 2 * small[0] / height]), 2)
    top = int(random.integers(max(1, small[0] - rows // 2 + 1)))
    left = int(random.integers(max(1, small[1] - columns // 2 + 1)))
    x = x[:, :, top:top + rows // 2, left:left + columns // 2]
    x = F.pad(x, (0, columns // 2 - x.shape[3], 0, rows // 2 - x.shape[2]), value=GREY)
    boxes = boxes - np.tile(np.array([2 * left, 2 * top]), 2)
    if random.random() < 0.5:
        x = x.flip(3)
        boxes = np.stack([columns - boxes[:, 2], boxes[:, 1], columns - boxes[:, 0], boxes[:, 3]], 1)
    gamma, contrast = math.exp(random.uniform(-0.35, 0.35)), random.uniform(0.6, 1.3)
    x = (x.clamp(0, 1) ** gamma - GREY) * contrast + GREY + random.uniform(-0.15, 0.15)
    if random.random() < 0.15:
        x = x.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    else:
        x = x + torch.from_numpy(random.normal(0, 0.03, (1, 3, 1, 1)).astype(np.float32))
    if len(x) == 2:  # clouds pass
        x = x + torch.from_numpy(random.normal(0, 0.01, (2, 1, 1, 1)).astype(np.float32))
    if random.random() < 0.4:
        x = x + torch.from_numpy(random.normal(0, random.uniform(0, 0.05), x.shape).astype(np.float32))
    seen = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) > LEAST_AREA
    apart = distance(x[:1], x[1:]) if len(x) == 2 else torch.zeros_like(x[:, :1])
    return (torch.cat([x[:1], apart], 1)[0],
            *cells(boxes[seen].astype(np.float32), item.strengths[seen], rows, columns))


def batches(items: Sequence[LabelledPicture], options: SaliencyTraining, seed: int
            ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Endless batches: pictures (B, 4, H/2, W/2), targets and weights (B, 1, H/8, W/8).

    Sources are drawn by the square root of their size, so that a long clip of one place does not drown the others.
    """
    random = np.random.default_rng(seed)
    sources: dict[str, list[LabelledPicture]] = {}
    for item in items:
        sources.setdefault(item.source, []).append(item)
    names = sorted(sources)
    share = np.sqrt([len(sources[name]) for name in names])
    share /= share.sum()
    while True:
        drawn = []
        for _ in range(options.batch):
            source = sources[names[random.choice(len(names), p=share)]]
            drawn.append(labelled_crop(source[random.integers(len(source))], options, random))
        yield (torch.stack([d[0] for d in drawn]).contiguous(memory_format=torch.channels_last),
               torch.from_numpy(np.stack([d[1] for d in drawn]))[:, None],
               torch.from_numpy(np.stack([d[2] for d in drawn]))[:, None])


def validate(network: Saliency, held: Sequence[LabelledPicture]) -> dict[str, float]:
    """Of the held-back objects, the share that is covered when so much of the pictures is kept as the thresholds do.

    An object counts as covered when nine tenths of its cells are. ``cover_98`` is how much has to be kept, of the
    pictures' area, so that 98 % of the objects are covered: less is better.
    """
    least, everything = [], []
    device = next(network.parameters()).device
    for item in held:
        background = to_tensor(item.background[None]).to(device) if item.background is not None else None
        found = saliency_map(network, to_tensor(item.picture[None]).to(device), background).cpu().numpy()
        everything.append(found.ravel())
        for (x0, y0, x1, y1), strength in zip(item.boxes.tolist(), item.strengths.tolist(), strict=True):
            inside = found[max(0, int(y0 // CELL)):math.ceil(y1 / CELL), max(0, int(x0 // CELL)):math.ceil(x1 / CELL)]
            if strength >= 0.95 and inside.size:
                least.append(float(np.quantile(inside, 0.1)))
    if not least:
        return {}
    values, objects = np.concatenate(everything), np.array(least)
    shown = {f"recall_at_{round(100 * kept)}": round(float((objects > np.quantile(values, 1 - kept)).mean()), 4)
             for kept in (0.1, 0.2)}
    for share in (0.9, 0.98):
        shown[f"cover_{round(100 * share)}"] = round(float((values >= np.quantile(objects, 1 - share)).mean()), 4)
    return shown


def loss_of(network: Saliency, picture: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Weighted cross-entropy of the network's answer to a batch."""
    with torch.autocast(picture.device.type, torch.bfloat16):
        logits = network(picture)
    return (F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none") * weight).mean()


def train(items: Sequence[LabelledPicture], held: Sequence[LabelledPicture], options: SaliencyTraining, folder: Path
          ) -> Saliency:
    """Train from the checkpoint in ``folder``, where there is one; the averaged weights."""
    torch.manual_seed(options.seed)
    network = Saliency().to(options.device)
    loop = Loop("saliency", network, folder / "saliency.pt", minutes=options.minutes, rate=options.rate)
    stream = batches(items, options, options.seed + loop.step)
    for _ in loop.rounds(lambda: validate(loop.average, held)):
        loop.update(loss_of(network, *(part.to(options.device) for part in next(stream))))
    return loop.average


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    p = command_parser("train_saliency", __doc__)
    p.add_argument("--videos", nargs="+", type=Path, default=[], metavar="FOLDER", help="folders of videos")
    p.add_argument("--images", nargs="+", type=Path, default=[], metavar="FOLDER", help="folders of images")
    p.add_argument("--detector", action="append", default=[], metavar="FILE:LEAST:MOST",
                   help="a detector that looks at whole pictures, and the scores at which an object begins to count "
                        "and from which it counts in full, such as yolox.onnx:0.1:0.3; may be given several times")
    p.add_argument("--parts", action="append", default=[], metavar="FILE:LEAST:MOST",
                   help="a detector that looks at four overlapping parts, for small objects; as --detector")
    p.add_argument("--check", type=int, default=60, help="held-back pictures that are measured (default: %(default)s)")
    p.add_argument("--frames", type=int, default=100, help="frames of a video, at most (default: %(default)s)")
    p.add_argument("--stills", type=int, default=500, help="images of a folder, at most (default: %(default)s)")
    p.add_argument("--pictures", type=int, default=4000,
                   help="of all, at most; 1000 take about 0.7 GB of memory (default: %(default)s)")
    p.add_argument("--batch", type=int, default=SaliencyTraining.batch, help="crops a step (default: %(default)s)")
    add_run(p, profile=False, out="labels, checkpoint and log")
    add_minutes(p, SaliencyTraining.minutes)
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Label, train and measure; returns the exit code."""
    return run("train_saliency", parser(), _run, arguments)


def _run(given: argparse.Namespace) -> None:
    check_minutes(given.minutes)
    if given.check < 1:
        raise ValueError(f"--check {given.check}: expected 1 or more")
    if not given.detector and not given.parts:
        raise ValueError("--detector: expected one or more, or --parts")
    threads, told = begin(given)
    labels = Labels([*(open_labeller(text, threads=threads) for text in given.detector),
                     *(open_labeller(text, parts=True, threads=threads) for text in given.parts)],
                    given.out / "labels.jsonl")
    sources = find_sources(given.videos, given.images, frames=given.frames, stills=given.stills,
                           pictures=given.pictures)
    items, held = hold_back(label(sources, labels.of), given.hold, given.check)
    print(f"{len(items)} pictures to train on, {len(held)} to measure", flush=True)
    options = SaliencyTraining(minutes=given.minutes, batch=given.batch, device=given.device)
    network = train(items, held, options, given.out).cpu().eval()
    found = validate(network, held)
    print(f"held back, {len(held)} pictures: " + (", ".join(f"{key} {value}" for key, value in found.items())
                                                  or "no object to measure by"))
    if given.profile is not None:
        # Not above: the exporter imports this module.
        from duoview.export.card import saliency_section
        from duoview.export.profile import add_saliency

        digest = add_saliency(network, given.profile)
        tell_profile(given.profile, saliency_section(options, items, given.hold,
                                                     [str(one) for one in labels.labellers], told, given.out), digest)


if __name__ == "__main__":
    sys.exit(main())
