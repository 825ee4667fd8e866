"""``duoview export``: a profile's networks at another precision, or compared with torch (extra: ``train``)."""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from duoview.profile import Profile

if TYPE_CHECKING:
    from duoview.export.variant import Trial

PRECISIONS = ("fp32", "fp16", "int8")
#: Steps of tuning in 8 bits: outputs come hardly nearer with more.
TUNING_STEPS = 2000
SCENE_SIDE = 192
#: Names of files that are shown where there may be many.
SHOWN_NAMES = 3

EPILOG = """\
int8 computes convolutions of E, of both analysis networks and of D in 8-bit integers. They are calibrated on the files
after -i, and judged on those after -held, which have to be others: the rate may rise by -bits at equal PSNR, views may
not differ from the profile's by less than -view dB. Of each network the first plan within that is taken, those with
most in 8 bits first; one for which there is none stays as it is. precision.json in the output says what was tried. Each
network may take half of what is left of -bits. With -signed 8 bits are those that TensorRT takes. With -state both
synthesis networks are made exact, that of P frames in 8 bits, or neither, and exact networks are written in 8 bits.
Weights, biases and steps of activations are tuned for -tune steps, until outputs are nearest to those of the network in
float32 (torch; some minutes for every plan that is tried): on short scenes of 192x192 pixels that are cut at random of
what is after -i, pictures with a camera that pans over them. The more unlike pictures and videos there are, the better:
a thousand, not ten. Without tuning pictures after -i become short clips, whose view moves over them. Those after -held
stay as they are: without a clip of two frames or more among them, networks of P frames cannot be judged, and stay as in
the profile.

fp16 is for GPUs: convolutions and what only passes their values on compute in float16. With -held it is judged like
int8, by torch, since CPUs compute such files in float32; without, nothing is judged.

The output is a profile. Its streams are those of the profile that it was made of: either of them decodes what the other
encoded. Only with -state, where the synthesis networks were taken, it has streams of its own, which no other profile
decodes: what is handed on from frame to frame is the same to the bit then, on every machine.
"""


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    p = argparse.ArgumentParser(prog="duoview export", description=__doc__, epilog=EPILOG,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-profile", default="s", help="bundled profile, or folder of one (default: s)")
    p.add_argument("-precision", choices=PRECISIONS, help="of the networks that are written")
    p.add_argument("-check", action="store_true", help="compare every network with torch; exit code 1 where one is off")
    p.add_argument("-of", choices=("text", "json"), default="text", help="how a report is printed (default: text)")
    p.add_argument("-signed", action="store_true", help="int8: activations without zero points, for TensorRT")
    p.add_argument("-state", action="store_true",
                   help="int8: what is handed on is exact too, the same on every machine; the profile then has streams "
                        "of its own")
    p.add_argument("-i", dest="inputs", action="append", type=Path, default=[], metavar="FILE",
                   help="picture or video to calibrate with, or folder of such; may be given several times")
    p.add_argument("-held", action="append", type=Path, default=[], metavar="FILE",
                   help="picture or video to judge with, or folder of such; may be given several times")
    p.add_argument("-frames", type=int, default=10, help="frames of each video (default: 10)")
    p.add_argument("-step", type=int, default=2, help="every how many frames one is taken (default: 2)")
    p.add_argument("-side", type=int, default=448, help="longer side of the pictures at most (default: 448)")
    p.add_argument("-tune", type=int, default=None, metavar="STEPS",
                   help="int8: steps of tuning of every network; 0: none, and no torch is needed (default: 2000)")
    p.add_argument("-bits", type=float, default=0.01, help="share that the rate may rise by (default: 0.01)")
    p.add_argument("-view", type=float, default=45.0, help="dB that views agree by at least (default: 45)")
    p.add_argument("output", nargs="?", type=Path, help="folder of the new profile")
    return p


def main(arguments: list[str]) -> int:
    """Write a profile, or compare one. Returns the exit code."""
    options = parser().parse_args(arguments)
    if options.check == (options.precision is not None):
        parser().error("expected either -precision with an output folder, or -check")
    if options.check != (options.output is None):
        parser().error("-check takes no output" if options.check else "the output folder is missing")
    if min(options.frames, options.step) < 1 or options.side < 64:
        parser().error("expected -frames and -step of 1 or more, and -side of 64 or more")
    if options.precision == "int8" and not (options.inputs and options.held):
        parser().error("-precision int8: expected -i FILE to calibrate with and -held FILE to judge with")
    if options.inputs and options.precision != "int8":
        parser().error("-i: belongs to -precision int8, which is calibrated; -held is what fp16 is judged with")
    for name in ("signed", "state"):
        if getattr(options, name) and options.precision != "int8":
            parser().error(f"-{name}: belongs to -precision int8")
    if options.tune is not None and (options.precision != "int8" or options.tune < 0):
        parser().error("-tune: belongs to -precision int8, and is 0 or more steps")
    if options.precision == "int8" and options.tune is None:
        options.tune = TUNING_STEPS
    if options.tune and options.side < SCENE_SIDE:
        parser().error(f"-side {options.side}: scenes to tune with have {SCENE_SIDE}x{SCENE_SIDE} pixels; expected no "
                       "less, or -tune 0")
    for package in ("onnx", "torch") if options.check or options.precision == "fp16" or options.tune else ("onnx",):
        if importlib.util.find_spec(package) is None:
            without = ", or -tune 0, which needs none" if package == "torch" and options.tune else ""
            raise SystemExit(f"duoview export: {package}: not installed; pip install 'duoview[train]'{without}")
    profile = Profile(options.profile)
    return _check(profile, options.of) if options.check else _write(profile, options)


def _check(profile: Profile, form: str) -> int:
    from duoview.export.parity import report

    found = report(profile)
    passed = all(item.passed for item in found)
    if form == "json":
        print(json.dumps({"passed": passed, "profile": profile.name, "sha256": profile.sha256.hex(),
                          "networks": [asdict(item) for item in found]}, indent=1))
    else:
        for item in found:
            print(f"{item.network:<16} {item.kind:<8} error {item.error:.2e}, tolerance {item.tolerance:.0e}, "
                  f"{item.calls} calls: {'good' if item.passed else 'TOO FAR'}")
    return 0 if passed else 1


def _tell(trial: Trial) -> None:
    facts = [f"{trial.bits:+.2%} bits"] if trial.bits is not None else []
    facts += [f"views agree at {trial.view:.1f} dB"] if trial.view is not None else []
    facts += [f"refused: {trial.refused}"] if trial.refused else []
    facts = facts or ["not judged"]
    facts += [f"{value} times as fast with {n} thread(s)" for n, value in trial.speed.items()]
    end = "taken" if trial.accepted else "not taken"
    print(f"{trial.network}, {trial.plan}: {', '.join(facts)}: {end}", flush=True)


def _tell_small(names: Sequence[str], count: int) -> None:
    """Some of many may well be too small for scenes; where all are, tuning says so."""
    if 0 < len(names) < count:
        shown = ", ".join(names[:SHOWN_NAMES]) + (", ..." if len(names) > SHOWN_NAMES else "")
        print(f"{len(names)} of {count} pictures and videos have a side below {SCENE_SIDE} pixels as they were read "
              f"and are left out of what is tuned with: {shown}", flush=True)


def _write(profile: Profile, options: argparse.Namespace) -> int:
    from duoview.export.calibration import files, read_clip
    from duoview.export.variant import Tolerance, check_output, write_fp16, write_fp32, write_int8

    try:
        check_output(profile, options.output)
        if options.precision == "fp32":
            digest = write_fp32(profile, options.output)
        else:
            inputs, judges = files(options.inputs), files(options.held)
            if {path.resolve() for path in inputs} & {path.resolve() for path in judges}:
                raise ValueError("a file is after -i and after -held: expected others to judge with")
            clips, held = ([read_clip(path, frames=options.frames, step=options.step, side=options.side)
                            for path in paths] for paths in (inputs, judges))
            if options.tune:
                _tell_small([clip.name for clip in clips if min(clip.pixels[0].shape[1:]) < SCENE_SIDE], len(clips))
            tolerance = Tolerance(options.bits, options.view)
            with tempfile.TemporaryDirectory() as work:
                if options.precision == "fp16":
                    digest, _ = write_fp16(profile, options.output, held, tolerance, Path(work), _tell)
                else:
                    digest, _ = write_int8(profile, options.output, clips, held, tolerance, Path(work), _tell,
                                           signed=options.signed, state=options.state, steps=options.tune)
    except ValueError as error:
        raise SystemExit(f"duoview export: {error}") from None
    made = Profile(options.output)
    streams = f"those of {profile.sha256.hex()[:12]}..." if "base" in made.manifest else "its own"
    print(f"{options.output}: profile {made.name!r} at {options.precision}, sha256 {digest}; its streams are {streams}")
    return 0
