"""What each loss of the machine stage is worth: key-frame codecs trained with one of them left out in turn.

    python -m duoview.models.ablation --steps 1000 --held-detector fastestdet ... --out FOLDER

Every variant begins with the same weights, sees the same crops at the same quality indices, and takes as many steps;
all are measured on the same held-back pictures, by the detector that none learned from too. A variant that is done is
skipped, one that was stopped goes on from its checkpoint; crops are then drawn anew.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from duoview.errors import Error
from duoview.models.machine_fidelity import FidelityWeights
from duoview.models.machine_setup import Setup, add_options
from duoview.models.network import StillCodec
from duoview.models.train_machine import MachineTraining, train, validate

#: The variant with every loss, and the weights that all begin with.
WHOLE, START = "all", "start"


@dataclass(frozen=True)
class Variant:
    """A name, and the options that it is trained with."""

    name: str
    options: MachineTraining


@dataclass(frozen=True)
class Outcome:
    """What a variant came to. measured: as `train_machine.validate` names it; rate_NAME is bits against x265 intra."""

    variant: str
    options: dict[str, Any]
    measured: dict[str, float]


def variants(options: MachineTraining, only: Sequence[str] = ()) -> list[Variant]:
    """What is trained: nothing, all losses, and all without one, for each that has a weight; and without the zooms.

    only: names of variants. Raises ValueError for one that is none.
    """
    found = [Variant(START, replace(options, steps=0)), Variant(WHOLE, options)]
    used = [field.name for field in fields(FidelityWeights) if getattr(options.weights, field.name)]
    if len(used) > 1:
        found += [Variant(f"without {name}", replace(options, weights=replace(options.weights, **{name: 0.0})))
                  for name in used]
    if options.zooms != (1.0, 1.0):
        found.append(Variant("without zoom", replace(options, zooms=(1.0, 1.0))))
    names = [one.name for one in found]
    for name in only:
        if name not in names:
            raise ValueError(f"--only {name!r}: expected some of {', '.join(names)}")
    return [one for one in found if not only or one.name in only]


def run(wanted: Sequence[Variant], start: StillCodec, folder: Path,
        fit: Callable[[StillCodec, Variant, Path], StillCodec], measure: Callable[[StillCodec], dict[str, float]],
        made_with: Mapping[str, Any]) -> Iterator[Outcome]:
    """Train and measure variants one after the other; what is done is read from ``folder/VARIANT/outcome.json``.

    fit: trains a copy of ``start`` in a variant's own folder. made_with: what else has to be the same to go on. Raises
    ValueError where a variant was begun with other options.
    """
    for one in wanted:
        place = folder / one.name.replace(" ", "_")
        begun, done = place / "options.json", place / "outcome.json"
        # As it comes back from a file.
        options = json.loads(json.dumps({**made_with, **asdict(one.options)}))
        if begun.is_file() and json.loads(begun.read_text()) != options:
            raise ValueError(f"{begun}: begun with other options; give another --out, or remove {place}")
        _replace(begun, json.dumps(options, indent=1))
        if done.is_file():
            outcome = Outcome(**json.loads(done.read_text()))
            print(f"{one.name}: there", flush=True)
        else:
            print(f"{one.name}: {one.options.steps} steps", flush=True)
            outcome = Outcome(one.name, options, measure(fit(copy.deepcopy(start), one, place)))
            _replace(done, json.dumps(asdict(outcome), indent=1))
        yield outcome


def table(outcomes: Sequence[Outcome], held: str = "") -> str:
    """Markdown: rates against x265 intra of every variant, and how far each is from that of the whole.

    held: the detector from which none learned; its columns are named.
    """
    names = sorted({name for one in outcomes for name in one.measured if name.startswith("rate_")})
    whole = next((one.measured for one in outcomes if one.variant == WHOLE), {})
    levels = sorted({name for one in outcomes for name in one.measured if name.endswith("_bpp")},
                    key=lambda name: int(name[1:-4]))
    titles = [name[5:] + (" (held back)" if held and name.startswith(f"rate_{held}") else "") for name in names]
    lines = ["Change of bits against x265 intra at an equal value, in percent; in brackets, against all losses. "
             "Less is better.", "",
             "| variant | " + " | ".join(titles + [f"bpp at q {name[1:-4]}" for name in levels]) + " |",
             "|-|" + "-:|" * (len(names) + len(levels))]
    for one in outcomes:
        cells = []
        for name in names:
            value, other = one.measured.get(name), whole.get(name)
            cell = "-" if value is None else f"{100 * value:+.1f}"
            if value is not None and other is not None and one.variant != WHOLE:
                cell += f" ({100 * ((1 + value) / (1 + other) - 1):+.1f})"
            cells.append(cell)
        cells += [f"{one.measured[name]:.4f}" if name in one.measured else "-" for name in levels]
        lines.append(f"| {one.variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    p = argparse.ArgumentParser(prog="python -m duoview.models.ablation",
                                description="Train the key-frame codec of a profile on with each loss of the machine "
                                            "stage left out in turn, and measure all alike. Writes ablation.json and "
                                            "ablation.md to --out; the same command goes on from what is there.")
    add_options(p)
    p.add_argument("--steps", type=int, default=1000, help="of every variant (default: %(default)s)")
    p.add_argument("--only", nargs="+", default=[], metavar="VARIANT",
                   help=f"of {START}, {WHOLE}, 'without NAME' for every distance with a weight, 'without zoom'")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, measure, write. Returns the exit code: 0, or 2 with a message for what cannot be used."""
    given = parser().parse_args(arguments)
    try:
        _run(given)
    except (Error, ValueError, OSError) as error:
        print(f"ablation: {error}", file=sys.stderr)
        return 2
    return 0


def _run(given: argparse.Namespace) -> None:
    if given.steps < 1:
        raise ValueError(f"--steps {given.steps}: expected 1 or more")
    setup = Setup.of(given, 0.0)
    wanted = variants(replace(setup.options, steps=given.steps), given.only)
    # Not above: the exporter imports the networks, and they are imported with this module.
    from duoview.export.restore import restore

    start = restore(setup.start.folder).still
    looks = setup.looks()
    setup.find_clusters(looks)
    validation = setup.validation(looks)
    if validation is None:
        raise ValueError("no picture is held back, so there is nothing to measure on; expected some ten images or more")

    def fit(codec: StillCodec, variant: Variant, folder: Path) -> StillCodec:
        return train(looks.train, setup.eyes, codec, variant.options, folder)

    outcomes = []
    made_with = {"start": setup.start.sha256.hex(), "hold": given.hold, "held_detector": given.held_detector,
                 "teachers": [labeller.identity for labeller in setup.labellers],
                 "folders": sorted(str(folder) for folder in given.folders), "photographs": given.photographs,
                 "check": given.check, "trained": len(looks.train), "held": len(looks.held)}
    for outcome in run(wanted, start, given.out, fit, lambda codec: validate(codec, validation), made_with):
        outcomes.append(outcome)
        # After every variant: what is there can be read while the others go on.
        _replace(given.out / "ablation.json", json.dumps({
            "start": given.start, "profile": setup.start.sha256.hex(), "teachers": list(setup.detectors.teachers),
            "held_detector": given.held_detector, "held_clips": given.hold, "pictures": len(looks.train),
            "outcomes": [asdict(one) for one in outcomes]}, indent=1))
        _replace(given.out / "ablation.md", table(outcomes, given.held_detector or ""))
    print((given.out / "ablation.md").read_text())


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main())
