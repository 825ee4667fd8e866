"""The model card that travels with a profile: data, steps, seeds, losses, curves."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from duoview.generation import Generation
from duoview.models.coded_pairs import Scene
from duoview.models.data import Material
from duoview.models.fixed_point import ACCUMULATOR_LIMIT
from duoview.models.labelled_pictures import LabelledPicture
from duoview.models.machine_material import Looks
from duoview.models.motion_operators import Fit
from duoview.models.network import LAMBDA_FIRST, LAMBDA_LAST, Shape
from duoview.models.texture import TextureShape
from duoview.models.texture_analysis import AnalysisTraining
from duoview.models.texture_synthesis import SynthesisTraining
from duoview.models.train_denoiser import DenoiserTraining
from duoview.models.train_human import HumanTraining
from duoview.models.train_human_decoder import HumanDecoderTraining
from duoview.models.train_inter import InterTraining
from duoview.models.train_key import KeyTraining
from duoview.models.train_machine import MachineTraining
from duoview.models.train_machine_inter import MachineInterTraining
from duoview.models.train_restoration import RestorationTraining
from duoview.models.train_saliency import CELL, SaliencyTraining
from duoview.models.train_still import StillTraining
from duoview.models.train_texture import TextureTraining
from duoview.motion_compensation import REACH, SHIFTS, SIDE, WEIGHT_BITS

COLUMNS = ("step", "minutes", "loss")
SALIENCY_TITLE = "## The saliency network"
MACHINE_TITLE = "## The key-frame codec, second generation"
MACHINE_INTER_TITLE = "## The P-frame codec, second generation"
RESTORATION_TITLE = "## The restoration network"
TEXTURE_TITLE = "## The texture layer"
HUMAN_TITLE = "## The human view, second generation"
HUMAN_DECODER_TITLE = "## The decoder of human views"
MOTION_TITLE = "## Motion compensation"
KEY_TITLE = "## The key-frame codec, trained on"


def _curve(path: Path) -> str:
    """A JSON-lines log as a Markdown table."""
    if not path.is_file():
        return "(no log)\n"
    rows: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    names: list[str] = [c for c in COLUMNS if any(c in r for r in rows)]
    names += [k for k in rows[-1] if k not in names and k not in ("final", "lr", "crops") and "hyper" not in k]
    out = ["| " + " | ".join(names) + " |", "|" + "-|" * len(names)]
    out += ["| " + " | ".join(str(r.get(n, "")) for n in names) + " |" for r in rows]
    return "\n".join(out) + "\n"


def model_card(name: str, shape: Shape, material: Material, sources: str, work: Path,
               options: tuple[StillTraining, InterTraining, DenoiserTraining], machine: str) -> str:
    """Markdown text of MODEL_CARD.md."""
    still, inter, denoiser = options
    return f"""# Profile `{name}`

First generation: trained for plain fidelity (squared error and a small spectral term), by `duoview train`.
Training machine: {machine}.

Sizes: `{json.dumps(shape.as_dict())}`. Lagrangian of quality index q: {LAMBDA_FIRST} at 0 to
{LAMBDA_LAST} at 63, log-linear (weight of the squared error on the 8-bit scale against bits per pixel). One set of
weights serves all q.

## Data
{len(material.pictures)} pictures (half-size copies of large ones included) and {len(material.clips)} clips
for training; held back: {len(material.held_pictures)} pictures, clips
{', '.join(sorted(material.held_clips)) or 'none'}.

{sources}

## Stage 1: E, D and the key-frame codec
`{json.dumps(asdict(still))}`. Muon for pointwise convolutions of the float networks, Adam for the rest,
bfloat16 autocast with float32 beside quantisers, exact networks in float32 with straight-through rounding. Loss:
lambda 255^2 MSE + bits per
pixel of y and hyper symbols, balanced over q by lambda^-0.4; an eighth of each batch goes through D uncoded; from
half of the time on, {still.spectral} times the distance of windowed Fourier magnitudes.
Validation: 96 centre crops of held-back pictures, bits from the class model (not the coder), averaged weights.
accumulator_share is the largest value that an integer accumulator of the exact networks could reach, as a share of
2^{ACCUMULATOR_LIMIT.bit_length() - 1}; from 1 on they would not be exported.

{_curve(work / "still.jsonl")}
## Stage 2: the P-frame codec (E, D and the key-frame codec frozen, latent normalised)
`{json.dumps(asdict(inter))}`. Online rollouts: each step advances a batch of sequences by one frame
from the network's own state. Sequences are up to {inter.mix.longest} frames long: real clips, played to and fro where
they are shorter, still scenes with camera noise into which an object enters, and panned photographs. Each is coded with
random encoder decisions: its eagerness to lower a symbol where that saves more bits than it costs in error is drawn
from 0 (to the nearest) to {inter.eagerness}. A sequence's cost, lambda 255^2 MSE + bits per pixel, counts by its
logarithm, so that still scenes at high quality matter as much as moving ones.
Validation: held-back clips, a 256x256 window, 15 P frames after a key frame, symbols to the nearest; and four still
scenes with camera noise (sigma 2) over 32 P frames: change of PSNR in dB, and bits per pixel of the last by the class
model, which charges for symbols that are zero more than the coder does. An encoder codes such regions not at all.

{_curve(work / "inter.jsonl")}
## Stage 3: the denoiser of the human view
`{json.dumps(asdict(denoiser))}`. Rectified flow on the normalised residual z - z_m, prediction of the
residual, on key frames and, every other pair of steps, on P frames of sequences like those of stage 2. From
{denoiser.rollouts_from} of the time on, every other step trains the last step of samplings of 2 to 6 steps from pure
noise: squared error plus {denoiser.spectral} times the distance of windowed Fourier magnitudes of the shown picture to
the source's, of luma and two colour differences. Validation: 4 steps at q 24 on key frames of 48 held-back crops;
detail is the energy above a 5x5 mean relative to the source's.

{_curve(work / "denoiser.jsonl")}"""


def saliency_section(options: SaliencyTraining, items: Sequence[LabelledPicture], held: Sequence[str],
                     labellers: Sequence[str], sources: str, work: Path) -> str:
    """Section of a card on the saliency network, for `put_section`.

    ``items`` are what was trained on with ``options``, ``held`` the names of the sources held back, ``labellers`` the
    detectors in words, ``sources`` a text on the data and its licences; ``work`` is the folder of the log.
    """
    counts = Counter(item.source for item in items)
    shown = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    known = len({item.source for item in items if item.background is not None})
    sure = sum(int((item.strengths >= 0.95).sum()) for item in items)
    told = f"\n{sources.strip()}\n" if sources.strip() else ""
    return f"""{SALIENCY_TITLE}
`{json.dumps(asdict(options))}`. Muon for pointwise convolutions, Adam for the rest, bfloat16 autocast. Targets are
boxes that detectors found: {'; '.join(labellers)}. Strength rises from 0 to 1 over the scores; a box is widened by 6
pixels and 6 % of its longer side. Loss: cross-entropy of every {CELL}x{CELL} cell, in which cells of small objects
weigh more.

{len(items)} pictures of {len(counts)} sources ({shown}), with {sure} sure objects, each counted once for every detector
that found it. The background of {known} sources is known, and shown to the network in {1 - options.forget:.0%} of their
crops. Held back: {', '.join(sorted(held)) or 'none'}.
{told}
Validation: held-back pictures, averaged weights. recall_at_n is the share of sure objects of which nine tenths are in
the n % of all cells with the highest answers; cover_n the share of the cells that has to be kept so that n % of the
objects are.

{_curve(work / "saliency.jsonl")}"""


def restoration_section(options: RestorationTraining, scenes: Sequence[Scene], held: Sequence[Scene],
                        detectors: Sequence[str], guide: str, sources: str, work: Path) -> str:
    """Section of a card on the restoration network, for `put_section`.

    ``scenes`` are what was trained on with ``options``, ``held`` those held back, ``detectors`` the ones to be pleased,
    ``guide`` the profile whose saliency network guided the encoder, ``sources`` a text on the data and its licences;
    ``work`` is the folder of the log.
    """
    counts = Counter(scene.source for scene in scenes)
    shown = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    told = f"\n{sources.strip()}\n" if sources.strip() else ""
    return f"""{RESTORATION_TITLE}
`{json.dumps(asdict(options))}`. Pairs are frames of clips before and after our inner encoder and decoder, guided by the
saliency network of profile {guide}, brought back to the source's size. Loss: {options.picture} times the absolute error
(what is in no box weighs {options.outside}), {options.features} times the distance of the features and
{options.answers} times that of the answers of {' and '.join(detectors)} on restored and on source pictures. Muon for
pointwise convolutions, Adam for the rest, bfloat16 autocast.

{len(scenes)} scenes of {len(counts)} videos ({shown}), of {sum(len(scene.frames) for scene in scenes)} frames. Held
back: {', '.join(sorted({scene.source for scene in held})) or 'none'}.
{told}
Validation: held-back clips at 10 frames a second, averaged weights: weighted PSNR; distances of features and answers
relative to those of pictures that were not restored; by quality index, the share of the source's objects that each
detector finds again with .75 of intersection over union, and how much more that is than without restoration. Those
detectors were trained against: what they gain, others need not.

{_curve(work / "restoration.jsonl")}"""


def _held_back(detector: str) -> str:
    return f" In this run nothing was learned from {detector}: it measures what carries over." if detector else ""


def machine_section(options: MachineTraining, looks: Looks, start: str, labellers: Sequence[str], sources: str,
                    work: Path, *, held: str = "") -> str:
    """Section of a card on a key-frame codec that was trained on for machines, for `put_section`.

    ``looks`` are what was trained on with ``options`` and what was held back, ``start`` the profile whose weights it
    began with, ``labellers`` the detectors in words, ``sources`` a text on the data and its licences; ``work`` is the
    folder of the log, ``held`` the detector that was measured only.
    """
    counts = Counter(look.source for look in looks.train)
    shown = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    kept = ", ".join(f"{name} {count}" for name, count in sorted(Counter(look.source for look in looks.held).items()))
    objects = sum(len(look.boxes) for look in looks.train)
    told = f"\n{sources.strip()}\n" if sources.strip() else ""
    return f"""{MACHINE_TITLE}
`{json.dumps(asdict(options))}`. Trained on from profile {start}, E and D frozen: the transforms, the hyper codec and
the context network of key frames only. Muon for pointwise convolutions, Adam for the rest, bfloat16 autocast, exact
networks in float32 with straight-through rounding. Loss: the logarithm of lambda D + bits per pixel, lambda log-linear
in q between the ends given; D is the sum of the distances under the weights given: squared error of the picture by
region ({options.regions.outside} away from objects, edges and motion; 1 in boxes found by {'; '.join(labellers)}),
features of those detectors by region and their answers, features of a ShuffleNetV2 backbone, each feature channel
relative to its variance, kinds of patches. Those networks may not judge the result.{_held_back(held)}

{len(looks.train)} pictures of {len(counts)} sources ({shown}) with {objects} objects, each counted once for every
detector that found it. Held back: {kept or 'none'}.
{told}
Validation: held-back pictures through 4:2:0 chroma, averaged weights, bits from the class model. NAME50, NAME75: mean
of recall and precision against what the detector finds in the source, at that overlap; clusters and cosine: what the
backbone makes of photographs. rate_NAME: mean change of rate against x265 intra (medium) at an equal value.

{_curve(work / "machine.jsonl")}"""


def key_section(options: KeyTraining, material: Material, start: str, sources: str, work: Path) -> str:
    """Section of a card on a key-frame codec that was trained on for squared error, for `put_section`.

    The arguments are as of `machine_inter_section`.
    """
    told = f"\n{sources.strip()}\n" if sources.strip() else ""
    kept = ", ".join(sorted(material.held_clips))
    return f"""{KEY_TITLE}
`{json.dumps(asdict(options))}`. Trained on from profile {start}, E and D frozen: the transforms, the hyper codec and
the context network of key frames only. Loss: the logarithm of stage 1's lambda times squared error + bits per pixel,
bits those of the symbols that are coded; half of the quality indices are drawn from 2 to 41, the rest from all. Muon
for pointwise convolutions, Adam for the rest, bfloat16 autocast, exact networks in float32 with straight-through
rounding.

{len(material.pictures)} pictures and {len(material.clips)} clips; held back: {len(material.held_pictures)} pictures,
clips {kept or 'none'}.
{told}
Validation: up to 32 held-back pictures, averaged weights, bits from the class model. bits_low, bits_middle and
bits_high: change of bits in percent at an equal PSNR against the weights that training began with, between q 2 and 18,
18 and 36, 36 and 58.

{_curve(work / "key.jsonl")}"""


def machine_inter_section(options: MachineInterTraining, material: Material, start: str, labeller: str, sources: str,
                          work: Path, *, held: str = "") -> str:
    """Section of a card on a P-frame codec that was trained on for machines, for `put_section`.

    ``material`` is what was trained on with ``options``, ``start`` the profile whose weights it began with,
    ``labeller`` the detector of the regions in words; the rest as of `machine_section`.
    """
    told = f"\n{sources.strip()}\n" if sources.strip() else ""
    kept = ", ".join(sorted(material.held_clips))
    return f"""{MACHINE_INTER_TITLE}
`{json.dumps(asdict(options))}`. Trained on from profile {start}, everything but the P-frame codec frozen, on its own
rollouts as in stage 2, with the distances of the key-frame codec's second generation between what is decoded and the
clean frame, and rates of the symbols that are coded. Regions: boxes of {labeller}, outlines, and what moved.

{len(material.pictures)} pictures and {len(material.clips)} clips; held back: {kept or 'none'}.{_held_back(held)}
{told}
Validation: held-back clips, 12 P frames after a key frame, averaged weights, symbols to the nearest; agree50 is the
mean of recall and precision of detectors against what they find in the source, at an overlap of one half.

{_curve(work / "machine_inter.jsonl")}"""


def motion_section(found: Fit, crops: int, side: int, sources: str) -> str:
    """Section of a card on the shift operators of motion compensation, for `put_section`.

    What was found in so many crops of that side, and a text on the data.
    """
    told = f"\n{sources.strip()}\n" if sources.strip() else ""
    measured = ""
    if found.left is not None:
        rows = "\n".join("| " + " | ".join([str(shift - REACH), *(f"{100 * one:.1f}" for one in row)]) + " |"
                         for shift, row in enumerate(found.left))
        measured = f"""
Share of the latent's energy, in percent, that is left on held-back crops, by vertical (rows) and horizontal shift in
pixels. Whole latent positions and half pixels come from these.

| | {" | ".join(str(shift - REACH) for shift in range(SHIFTS))} |
|{"-|" * (SHIFTS + 1)}
{rows}
"""
    return f"""{MOTION_TITLE}
Least squares on {crops} crops of {side} pixels: E of the picture moved by up to {REACH} pixels, from {SIDE}x{SIDE}
neighbours of E of the picture. Weights are integers of 1/{1 << WEIGHT_BITS}.
{told}{measured}"""


def texture_section(options: tuple[AnalysisTraining, SynthesisTraining, TextureTraining], shape: TextureShape,
                    samples: int, held: int, sources: str, work: Path) -> str:
    """Section of a card on the texture layer, for `put_section`.

    Options of the three trainings, the networks' sizes, numbers of crops trained on and measured with, a text on the
    data, ``work`` the folder of the logs.
    """
    told = f"\n{sources.strip()}\n" if sources.strip() else ""
    first, second, third = options
    return f"""{TEXTURE_TITLE}
`{json.dumps(shape.as_dict())}`. {samples} crops, coded as key frames at all quality indices; {held} of held-back
pictures to measure with.
{told}
Components: `{json.dumps(asdict(first))}`. What of the picture is coded, and a linear way back into the latent: squared
error of the picture at random states of knowledge, and the rate of Gaussians. PSNR of the machine view, and with
components known up to noise of 30, 3 and 0.3 times that of their coding.

{_curve(work / "texture_analysis.jsonl")}
Palettes: hierarchical clustering of the components. The way back, a linear one for every depth:
`{json.dumps(asdict(second))}`, logarithm of the picture's squared error. PSNR by depth; psnr_0 is the machine view.

{_curve(work / "texture_synthesis.jsonl")}
Prior: `{json.dumps(asdict(third))}`, exact networks, cross-entropy of the child decisions; a share of {third.moving} as
in P frames, whose frame before is made up of the same nodes with noise. bits_d: bits a decision of depth d, one for
each position and group, under the coder's classes, averaged weights; static_d: under one probability for every node;
bits, teacher and static are sums over the depths, teacher that of the same network without any rounding.

{_curve(work / "texture.jsonl")}"""


def human_section(options: HumanTraining, shape: Generation, material: Material, detector: str, sources: str,
                  work: Path, eyes: Sequence[str] = (), emphasis: float = 1.0) -> str:
    """Section of a card on the conditional denoiser, for `put_section`.

    ``shape`` is what came of ``options``, ``detector`` the name of the one that captions were made with, empty without,
    ``eyes`` those of the networks that samplings were looked at through, ``emphasis`` what its additions are multiplied
    by; the rest as of `machine_inter_section`.
    """
    told = f"\n{sources.strip()}\n" if sources.strip() else ""
    if emphasis != 1:
        told += (f"\nIn the profile what the layers add to what is known is {emphasis:g} times as large; the figures "
                 "below are without that.\n")
    kept = ", ".join(sorted(material.held_clips))
    captions = f"Captions: what {detector} finds." if detector else "It takes no captions."
    seen = (f", and {options.features} times that of features of {' and '.join(eyes)}, normalised as in LPIPS" if eyes
            else "")
    by = (f"the energy score of two samples of a picture, with {options.spread} of their own distance" if options.spread
          else "the distance of one sample from each picture")
    return f"""{HUMAN_TITLE}
`{json.dumps(asdict(options))}`. One denoiser for the starts {', '.join(shape.starts)}: `{json.dumps(shape.as_dict())}`.
{captions} Rectified flow from what is known of the residual z - z_m and noise of the start's level, prediction of the
residual; the first {options.consistent:.0%} of a batch for self-consistency of steps of 1, 1/2, 1/4 and 1/8; from
{options.rollouts_from} of the time on, {options.samplings:.0%} of the steps train the last step of samplings of 1 to 5
steps, by {by}: of the latent, plus {options.spectral} times that of windowed Fourier
magnitudes of the shown picture{seen}.
Left out: z_m in {options.drop_z:.0%}, the quality in {options.drop_q:.0%}, captions in {options.drop_caption:.0%}.
Muon for pointwise convolutions, Adam for the rest, bfloat16 autocast.

{len(material.pictures)} pictures and {len(material.clips)} clips; held back: {len(material.held_pictures)} pictures,
clips {kept or 'none'}.
{told}
Validation: q 24 on key frames of up to 32 held-back crops, averaged weights: PSNR, and detail, the energy above a 5x5
mean relative to the source's; guided_n and textured_n by n steps, texture is the deepest texture without diffusion;
features, where there are any, is how far those networks' features are from the source's.

{_curve(work / "human.jsonl")}"""


def human_decoder_section(options: HumanDecoderTraining, material: Material, detector: str, sources: str, work: Path,
                          eyes: Sequence[str], emphasis: float = 1.0) -> str:
    """Section of a card on D_h, for `put_section`; all as of `human_section`."""
    told = f"\n{sources.strip()}\n" if sources.strip() else ""
    if emphasis != 1:
        told += (f"\nIn the profile what the layers add to D's picture is {emphasis:g} times as large; the figures "
                 "below are without that.\n")
    kept = ", ".join(sorted(material.held_clips))
    captions = f"Captions: what {detector} finds." if detector else "Without captions."
    judged = "No discriminator."
    if options.adversarial:
        judged = f"""From {options.adversarial_from} of the time on the gradient at the picture of a
discriminator, {options.adversarial} times as long as that of all the rest: hinge loss, patches of pixels beside the
machine view, and trained heads on the features of the same networks. It has Adam too, and is in no profile."""
    return f"""{HUMAN_DECODER_TITLE}
`{json.dumps(asdict(options))}`. D's picture, and what layers at 1/8, 1/4 and 1/2 of its size add, which also see the
noise of the sampling. Latents are sampled by the profile's denoiser in 1, 2 or 4 steps, or not at all, from all
starts, behind key frames and P frames. {captions} Loss: {options.pixels} times the mean absolute difference,
{options.features} times the distance of features of {' and '.join(eyes)}, normalised as in LPIPS, of pictures that
are turned, scaled and moved alike, {options.spectral} times that of windowed Fourier magnitudes. {judged}
Adam, bfloat16 autocast.

{len(material.pictures)} pictures and {len(material.clips)} clips; held back: {len(material.held_pictures)} pictures,
clips {kept or 'none'}.
{told}
Validation as of the denoiser; what ends in a number of steps is shown by this network, the rest by D.

{_curve(work / "human_decoder.jsonl")}"""


def put_section(card: str, section: str) -> str:
    """The card with a section, which begins with its ``## title``, in place of that of the same title or at the end.

    Everything else of the card stays as it is. Raises ValueError for a section without a title.
    """
    title, _, _ = section.partition("\n")
    if not title.startswith("## "):
        raise ValueError(f"section that begins with {title!r}: expected a line '## title'")
    old = re.search(rf"^{re.escape(title)}[ \t]*\n.*?(?=^## |\Z)", card, re.MULTILINE | re.DOTALL)
    section = section.rstrip("\n") + "\n"
    if old is None:
        return f"{card.rstrip(chr(10))}\n\n{section}" if card.strip() else section
    rest = card[old.end():]
    return card[:old.start()] + section + ("\n" + rest if rest else "")
