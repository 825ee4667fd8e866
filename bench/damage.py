"""Random damage to a file of access units, and what decoding makes of it.

Cases run in a child process, so that a crash or a hang is seen from outside. This module stands alone (the tests load
it by its path): it needs duoview, numpy, PyAV and scikit-image, and nothing else of the benchmarks.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import resource
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from skimage import data

import duoview
from duoview import Decoder, Encoder, Error, FrameOrigin, Profile

KINDS = ("flip", "cut", "truncate", "splice", "zero")


@dataclass(frozen=True)
class Clip:
    """What is coded before it is damaged: a photograph that pans quickly, so that every unit has something in it."""

    width: int = 128
    height: int = 96
    frames: int = 24
    gop: int = 6
    q: int = 40
    format: str = "nut"


@dataclass(frozen=True)
class Reference:
    """An undamaged file: its bytes, its access units, which of them are key, and a digest of each decoded picture."""

    data: bytes
    units: tuple[bytes, ...]
    key: tuple[bool, ...]
    pictures: tuple[str, ...]


@dataclass(frozen=True)
class Damage:
    """``kind`` at byte ``offset``: bits flipped, or bytes cut out, cut off from there on, spliced in, or zeroed."""

    kind: str
    offset: int
    length: int


@dataclass(frozen=True)
class Verdict:
    """What became of one case.

    error: the named error, where the file could not be read at all; container_damage: what the container counted as
    unreadable. intact_keys: key units whose bytes are all still in
    the file; delivered_keys: those that the container found; exact_keys: those that gave their very picture.
    wrong: intact units, after intact ones back to a key unit, that did not give their very picture. concealed: repeated
    pictures. peak_mib: the process's memory so far; seconds: this case.
    """

    damage: Damage
    error: str
    units: int
    container_damage: int
    exact: int
    concealed: int
    intact_keys: int
    delivered_keys: int
    exact_keys: int
    wrong: int
    seconds: float
    peak_mib: float


class CaseError(AssertionError):
    """The child crashed or hung; the message says in which case."""


def pictures(clip: Clip) -> Iterator[av.VideoFrame]:
    """The frames of a clip."""
    photograph = data.astronaut()
    for number in range(clip.frames):
        top, left = 40 + 3 * number, 100 + 7 * number
        part = photograph[top:top + clip.height, left:left + clip.width]
        yield av.VideoFrame.from_ndarray(np.ascontiguousarray(part), format="rgb24")


def picture_digest(frame: av.VideoFrame) -> str:
    """sha256 of a frame's samples."""
    return hashlib.sha256(np.ascontiguousarray(frame.to_ndarray()).tobytes()).hexdigest()


def make_reference(clip: Clip, profile: Profile) -> Reference:
    """Encode the clip into a file in memory."""
    encoder = Encoder(clip.width, clip.height, rate=Fraction(25), q=clip.q, gop=clip.gop, profile=profile, threads=1)
    packets = [packet for frame in pictures(clip) for packet in encoder.encode(frame)]
    decoder = Decoder(profile=profile, threads=1, strict=True)
    digests = tuple(picture_digest(frame) for packet in packets for frame in decoder.decode(packet))
    units = tuple(bytes(packet) for packet in packets)
    key = tuple(bool(packet.is_keyframe) for packet in packets)
    file = io.BytesIO()
    with duoview.open(file, "w", format=clip.format) as output:
        output.add_stream(rate=Fraction(25), width=clip.width, height=clip.height, time_base=Fraction(1, 25))
        output.mux(packets)
    return Reference(file.getvalue(), units, key, digests)


def corrupt(whole: bytes, generator: np.random.Generator) -> tuple[Damage, bytes]:
    """One random damage. Lengths are log-uniform from one byte (or bit) to a quarter of the file."""
    kind = KINDS[int(generator.integers(len(KINDS)))]
    offset = int(generator.integers(len(whole)))
    length = max(1, int(np.exp(generator.uniform(0, np.log(len(whole) / 4)))))
    if kind == "flip":
        length = min(length, 64)
        array: NDArray[np.uint8] = np.frombuffer(whole, np.uint8).copy()
        at = np.minimum(offset + generator.integers(0, 4096, length), len(whole) - 1)
        at[0] = offset
        np.bitwise_xor.at(array, at, (1 << generator.integers(0, 8, length)).astype(np.uint8))
        return Damage(kind, offset, length), array.tobytes()
    if kind == "cut":
        return Damage(kind, offset, length), whole[:offset] + whole[offset + length:]
    if kind == "truncate":
        return Damage(kind, offset, len(whole) - offset), whole[:offset]
    if kind == "splice":
        # Half of the splices bring in bytes of the file itself: headers and start codes in the wrong place.
        start = int(generator.integers(len(whole)))
        own = bool(generator.integers(2))
        inserted = whole[start:start + length] if own else generator.bytes(length)
        return Damage(kind, offset, length), whole[:offset] + inserted + whole[offset:]
    length = min(length, len(whole) - offset)
    return Damage(kind, offset, length), whole[:offset] + bytes(length) + whole[offset + length:]


def judge(damage: Damage, file: bytes, reference: Reference, decoder: Decoder) -> Verdict:
    """Read and decode a damaged file with a decoder that has been used before."""
    began = time.perf_counter()
    decoder.reset()
    index_of = {unit: index for index, unit in enumerate(reference.units)}
    error, units, lost, exact, concealed, wrong = "", 0, 0, 0, 0, 0
    delivered_keys, exact_keys = set(), set()
    last_exact: int | None = None
    try:
        with duoview.open(io.BytesIO(file)) as container:
            for packet in container.demux():
                units += 1
                index = index_of.get(bytes(packet))
                must_match = index is not None and (reference.key[index] or last_exact == index - 1)
                shown = decoder.decode(packet)
                marked = any(isinstance(f.opaque, FrameOrigin) and f.opaque.concealed for f in shown)
                concealed += marked
                same = len(shown) == 1 and not marked and index is not None and (
                    picture_digest(shown[0]) == reference.pictures[index])
                exact += same
                wrong += must_match and not same
                if index is not None and reference.key[index]:
                    delivered_keys.add(index)
                    if same:
                        exact_keys.add(index)
                last_exact = index if same else None
            lost = container.damaged
    except Error as failure:
        error = f"{type(failure).__name__}: {failure}"
    intact = sum(key and unit in file for unit, key in zip(reference.units, reference.key, strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Verdict(damage, error, units, lost, exact, concealed, intact, len(delivered_keys), len(exact_keys), wrong,
                   time.perf_counter() - began, peak)


def run_child(clip: Clip, profile_name: str, cases: int, seed: int) -> None:
    """Judge the cases, one JSON line each; the first line tells that the reference is there."""
    profile = Profile(profile_name)
    reference = make_reference(clip, profile)
    decoder = Decoder(profile=profile, threads=1)
    generator = np.random.default_rng(seed)
    whole = judge(Damage("none", 0, 0), reference.data, reference, decoder)
    print(json.dumps(asdict(whole)), flush=True)
    for _ in range(cases):
        damage, file = corrupt(reference.data, generator)
        print(json.dumps(asdict(judge(damage, file, reference, decoder))), flush=True)


def run_cases(cases: int, *, clip: Clip | None = None, profile: str = "s", seed: int = 1, bound: float = 30.0,
              start_bound: float = 120.0) -> tuple[Verdict, ...]:
    """Judge ``cases`` random damages in a child process; the first verdict is of the undamaged file.

    Raises CaseError when a case takes longer than ``bound`` seconds (the start: ``start_bound``) or the child dies.
    """
    clip = clip or Clip()
    command = [sys.executable, "-P", str(Path(__file__).resolve()), "--cases", str(cases), "--seed", str(seed),
               "--profile", profile, "--clip", json.dumps(asdict(clip))]
    verdicts: list[Verdict] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1) as child:
        assert child.stdout is not None
        while len(verdicts) <= cases:
            ready, _, _ = select.select([child.stdout], [], [], bound if verdicts else start_bound)
            if not ready:
                child.kill()
                raise CaseError(f"case {len(verdicts)} of seed {seed}: no result after {bound} s")
            line = child.stdout.readline()
            if not line:
                break
            raw = json.loads(line)
            verdicts.append(Verdict(**{**raw, "damage": Damage(**raw["damage"])}))
    if len(verdicts) <= cases or child.returncode:
        raise CaseError(f"case {len(verdicts)} of seed {seed}: the process ended with code {child.returncode}")
    return tuple(verdicts)


def main(arguments: Sequence[str] | None = None) -> int:
    """The child's command line."""
    parser = argparse.ArgumentParser(description="Judge random damages; one JSON line each.")
    parser.add_argument("--cases", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", default="s")
    parser.add_argument("--clip", default="{}")
    options = parser.parse_args(arguments)
    run_child(Clip(**json.loads(options.clip)), options.profile, options.cases, options.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
