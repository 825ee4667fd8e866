"""Training of a profile's texture layer: ``python -m duoview.models.texture_command -i pictures --profile FOLDER``.

Codes pictures with the profile's own networks, trains what of them texture codes, clusters that into palettes,
trains the prior, and puts all of it into the profile. The same command goes on from the checkpoints in ``--out``, each
profile whose key frames are coded by other weights in a folder of its own there. With more minutes for the first part,
remove ``texture_palettes.npz``, ``texture_synthesis.pt`` and ``texture.pt``: they are of what that part gave, and are
refused otherwise.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from duoview.models.data import load
from duoview.models.loop import weights_sha256
from duoview.models.texture import TextureShape
from duoview.models.texture_analysis import AnalysisTraining, components_of, error_table, new_transform
from duoview.models.texture_analysis import train as train_analysis
from duoview.models.texture_palettes import Palettes, cluster
from duoview.models.texture_samples import at_texture_levels, identity, inner_levels, prepare
from duoview.models.texture_synthesis import SynthesisTraining
from duoview.models.texture_synthesis import train as train_synthesis
from duoview.models.train_texture import Nodes, TextureTraining, train, validate
from duoview.models.training_command import add_folders, add_run, begin, check_crop, command_parser, run, tell_profile
from duoview.profile import Profile


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    p = command_parser("texture_command", __doc__)
    add_folders(p)
    add_run(p, profile=True, out="samples, checkpoints and logs")
    p.add_argument("--minutes", default="8,6,20", metavar="A,B,C",
                   help="wall time over all runs: components, the way back from nodes, prior (default: 8,6,20)")
    p.add_argument("--samples", type=int, default=1200, help="crops to train on (default: 1200)")
    p.add_argument("--check", type=int, default=160, help="crops of held-back pictures (default: 160)")
    p.add_argument("--crop", type=int, default=192, help="side of a crop, a multiple of 64 (default: 192)")
    p.add_argument("--groups", type=int, default=24, help="channel groups (default: 24)")
    p.add_argument("--depth", type=int, default=6, help="depth of the palette trees, 1 to 8 (default: 6)")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run("texture_command", parser(), _run, arguments)


def stored_palettes(path: Path, components: str, make: Callable[[], Palettes]) -> Palettes:
    """The palettes of a run, made by its first part and kept: a checkpoint is worth nothing with others.

    components: digest of the network that gives what is clustered; ValueError where the palettes are of another one's.
    """
    if not path.is_file():
        made = make()
        fresh = path.with_suffix(".tmp.npz")
        trees = {f"nodes_{d}": nodes for d, nodes in enumerate(made.nodes)}
        np.savez(fresh, allow_pickle=False, scale=made.scale, price=made.price, rate=made.rate,
                 components=np.array(components), **trees)
        fresh.replace(path)
    with np.load(path) as stored:
        if "price" not in stored.files:
            raise ValueError(f"{path}: palettes of an earlier version; train into an empty folder")
        if "components" not in stored.files:
            print(f"{path}: does not tell what components it is of; taken for those of the network beside it",
                  flush=True)
        elif stored["components"] != components:
            raise ValueError(f"{path}: palettes of other components than texture_analysis.pt, which was trained on, "
                             "gives now; remove it, texture_synthesis.pt and texture.pt")
        depths = sum(name.startswith("nodes_") for name in stored.files)
        return Palettes(stored["scale"], stored["price"], tuple(stored[f"nodes_{d}"] for d in range(depths)),
                        stored["rate"])


def _run(given: argparse.Namespace) -> None:
    minutes = [float(part) for part in given.minutes.split(",")]
    if len(minutes) != 3 or not all(0 <= part < math.inf for part in minutes):
        raise ValueError(f"--minutes {given.minutes}: expected three numbers of 0 or more, as in 8,6,20")
    check_crop(given.crop)
    if not 1 <= given.depth <= 8:
        raise ValueError(f"--depth {given.depth}: expected 1 to 8")
    # Not above: the exporter imports this module's neighbours.
    from duoview.export.card import texture_section
    from duoview.export.profile import add_texture
    from duoview.export.restore import restore

    threads, told = begin(given)
    profile = Profile(given.profile)
    work = given.out / identity(profile)
    material = load(given.folders, hold_clips=tuple(given.hold), crop=given.crop)
    samples, held_samples = prepare(profile, material, work, count=given.samples, size=given.crop, held=given.check,
                                    threads=threads)
    levels = inner_levels(samples)
    samples, held_samples = (at_texture_levels(part, levels) for part in (samples, held_samples))
    decoder = restore(given.profile).still.decoder
    first = AnalysisTraining(minutes=minutes[0], device=given.device)
    transform = train_analysis(new_transform(samples, profile.latent_weight[0], given.groups), decoder, samples,
                               held_samples, first, work).cpu().eval()
    components = components_of(transform, samples)
    error = error_table(transform, decoder, samples)
    path = work / "texture_palettes.npz"
    palettes = stored_palettes(path, weights_sha256(transform), lambda: cluster(
        components, samples.q, error, profile.lagrangian, groups=given.groups, depth=given.depth))
    shape = TextureShape(groups=palettes.scale.shape[1], depth=palettes.depth)
    if (shape.groups, shape.depth) != (given.groups, given.depth):
        raise ValueError(f"{path}: palettes of {shape.groups} groups and depth {shape.depth}, asked for {given.groups} "
                         f"and {given.depth}; remove {work} or give another --out")
    nodes = Nodes.of(samples, components, palettes)
    held = Nodes.of(held_samples, components_of(transform, held_samples), palettes)
    second = SynthesisTraining(minutes=minutes[1], device=given.device)
    synthesis = train_synthesis(transform.synthesis, decoder, palettes, (samples, nodes.leaves),
                                (held_samples, held.leaves), second, work).cpu()
    third = TextureTraining(minutes=minutes[2], device=given.device)
    network = train(palettes, shape, profile.sizes.symbols, nodes, held, third, work).cpu().eval()
    found = validate(network, nodes, held, palettes, most=len(held))
    print(f"held back, {len(held)} crops: {json.dumps(found)}")
    digest = add_texture(network, transform.analysis, synthesis, palettes, error, levels, given.profile)
    tell_profile(given.profile, texture_section((first, second, third), shape, len(nodes), len(held), told, work),
                 digest)


if __name__ == "__main__":
    sys.exit(main())
