"""The texture streams behind texture_*.dv: made-up machine layers, and what encoders with every option make of them.

Units are whole, but what stands in them for the machine layer is one byte: its integers are of ``machine_frames``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import runpy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import duoview
from duoview import Depths, Profile, TextureSettings
from duoview.access_unit import AccessUnit, Section, SectionType, parse, parse_header, serialize
from duoview.backends import CpuBackend
from duoview.plugins.containers.packet import unit_packet
from duoview.sequence import MachineCodec, SequenceHeader
from duoview.texture.cutting import TextureCutter
from duoview.texture.encoder import TextureEncoder
from duoview.texture.view import Seen

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "texture_profile.py")))
WIDTH, HEIGHT = 136, 70
ROWS, COLUMNS = 16, 24


@dataclass(frozen=True)
class Motion:
    """Which frames are key frames, what moves in the others (rows, columns), and the quality index of each.

    unseen: frames whose motion is not worth coding to the machine layer. inner: beside an inner codec.
    """

    keys: frozenset[int]
    moves: dict[int, tuple[slice, slice]]
    q: tuple[int, ...]
    unseen: frozenset[int] = frozenset()
    inner: bool = False


def _moving(*q: int) -> Motion:
    """Key frames 0 and 3; between them a block wanders."""
    return Motion(frozenset((0, 3)), {n: (slice(2, 6), slice(2 * n, 2 * n + 6)) for n in (1, 2)}, q)


#: A tile that is left alone for more units than fit into the head of a section.
_QUIET = Motion(frozenset((0,)), {n: (slice(2, 6), slice(2, 8)) for n in (1, 65, 66)}, (22,) * 67)
#: From frame 2 on the machine layer codes nothing, and its quality is another one.
_STEADY = Motion(frozenset((0,)), {n: (slice(2, 6), slice(2, 8)) for n in (1, 2, 3)}, (22, 22, 34, 34),
                 frozenset((2, 3)))
_ALL = TextureSettings(Depths(4), frames="all", tile_log2=3)
#: By name: what is coded, and how. What the others are made of is in ``stream``.
ENCODED = {
    "key": (_moving(22, 22, 22, 22), TextureSettings(Depths(4), tile_log2=3)),
    "all": (_moving(22, 22, 22, 22), _ALL),
    "wide": (_moving(22, 22, 22, 22), TextureSettings(Depths(4), frames="all", tile_log2=8)),
    "given": (_moving(22, 22, 22, 22), TextureSettings(Depths(3, ((1, 1), (4, 0))), frames="all", palettes=False,
                                                       tile_log2=3)),
    "rate": (_moving(22, 22, 22, 22), TextureSettings(Depths(4), frames="all", bit_rate=60_000, tile_log2=3)),
    "refreshed": (_moving(22, 22, 34, 34), TextureSettings(Depths(4), frames="all", tile_log2=4)),
    "quiet": (_QUIET, TextureSettings(Depths(2), frames="all", tile_log2=4)),
    # Two key units of an inner codec; what lies between them has no texture.
    "inner": (dataclasses.replace(_moving(22, 22, 22, 40), inner=True), TextureSettings(Depths(4), tile_log2=3)),
    "steady": (_STEADY, TextureSettings(Depths(3), frames="all", tile_log2=4)),
    "certain": (_moving(22, 22, 22, 22), TextureSettings(Depths(4, ((1, 2), (3, 3))), frames="all", tile_log2=3)),
}
#: Streams of profiles whose tables make children certain, by the least logit that does.
CERTAIN = {"certain": 40}
#: Made of the stream "all".
MADE = ("cut_depth", "cut_tiles", "lost", "damaged", "wrong", "short")
NAMES = (*ENCODED, *MADE)


@dataclass(frozen=True)
class MachineFrame:
    """What a texture encoder and decoder see of a machine layer, made up."""

    key: bool
    q: int
    z: NDArray[np.float32]
    base: NDArray[np.float32]
    decoded: NDArray[np.float32]
    moved: NDArray[np.bool_]
    means: NDArray[np.float32] | None = None

    @property
    def seen(self) -> Seen:
        """What both sides see."""
        if self.means is not None:
            return Seen(self.key, None, self.means, self.moved, int(FILES.tables().levels[self.q]))
        return Seen(self.key, self.decoded, None, self.moved, self.q)


def write_profile(folder: Path, name: str) -> Profile:
    """The profile of a stream."""
    found: Profile = FILES.write_profile(folder, certain=CERTAIN.get(name))
    return found


def told_in(name: str) -> str:
    """The file of this folder that tells what stands in a stream."""
    return "texture_certain.json" if name in CERTAIN else "texture.json"


def motion_of(name: str) -> Motion:
    """Of a stream."""
    return ENCODED[name if name in ENCODED else "all"][0]


def machine_frames(name: str) -> Iterator[MachineFrame]:
    """The frames of a stream."""
    return frames_of(motion_of(name))


def frames_of(motion: Motion) -> Iterator[MachineFrame]:
    """Pictures' latents as random numbers, of which a part is drawn anew where something moves."""
    random = FILES.Addressed(77)
    base = random.normals((1, FILES.LATENT, ROWS, COLUMNS))
    # Away from 0 on the whole, so that adapting the palettes pays.
    rest = random.normals((1, FILES.LATENT, ROWS, COLUMNS)) * np.float32(0.3) + np.float32(0.5)
    for number, q in enumerate(motion.q):
        key = number in motion.keys
        moved = np.full((ROWS, COLUMNS), key)
        if number in motion.moves:
            moved[motion.moves[number]] = True
            rest = np.where(moved, random.normals(rest.shape) * np.float32(0.3) + np.float32(0.5), rest)
        if number in motion.unseen:
            moved = np.zeros_like(moved)
        decoded = random.integers(-300, 301, (1, FILES.SYMBOLS, ROWS // 2, COLUMNS // 2)).astype(np.float32)
        means = None
        if motion.inner:
            means = random.integers(-128, 128, (1, FILES.MEANS, ROWS // 2, COLUMNS // 2)).astype(np.float32)
        yield MachineFrame(key, q, base + rest, base, decoded, moved, means)


def encode(profile: Profile, motion: Motion, settings: TextureSettings) -> list[AccessUnit]:
    """The units of a stream."""
    encoder = TextureEncoder(profile, CpuBackend(1), settings, rate=Fraction(25), gop=3)
    codec = MachineCodec.INNER if motion.inner else MachineCodec.NEURAL
    sequence = SequenceHeader(WIDTH, HEIGHT, Fraction(25), "s", bytes(16), codec, encoder.geometry)
    units: list[AccessUnit] = []
    index, keys = 0, -1
    for number, frame in enumerate(frames_of(motion)):
        index, keys = (0, keys + 1) if frame.key else (index + 1, keys)
        kind = SectionType.INNER if motion.inner else SectionType.MACHINE
        sections = [Section(kind, None, b"\1" if frame.moved.any() else b"")]
        if frame.key or frame.q != motion.q[number - 1]:
            sections.insert(0, Section(SectionType.QUALITY, None, bytes((frame.q,))))
        encoder.tell(number / 25)
        if encoder.wants(frame.key):
            sections += encoder.encode(frame.z, frame.base, frame.seen, WIDTH, HEIGHT)
        else:
            encoder.skip()
        units.append(AccessUnit(frame.key, None, index, keys, sequence if frame.key else None, tuple(sections)))
    return units


def lossy(units: Sequence[AccessUnit]) -> list[bytes]:
    """Every seventh section of texture is gone, palette deltas and depth map of the second key unit, too."""
    found, count = [], 0
    for number, unit in enumerate(units):
        kept = []
        for section in unit.sections:
            texture = section.type == SectionType.TEXTURE
            count += texture
            beside = number == 3 and (section.type == SectionType.DEPTH_MAP
                                      or (section.type == SectionType.PALETTE and section.sub_index == 2))
            if not (texture and count % 7 == 3) and not beside:
                kept.append(section)
        found.append(serialize(dataclasses.replace(unit, sections=tuple(kept))))
    return found


def damaged(units: Sequence[AccessUnit]) -> list[bytes]:
    """A bit of every ninth section of texture, of the depth map and of the last palette deltas is another one."""
    found, count = [], 0
    for unit in units:
        data = bytearray(serialize(unit))
        palettes = [section.sub_index for section in unit.sections if section.type == SectionType.PALETTE]
        for entry in parse_header(bytes(data)).entries:
            count += entry.type == SectionType.TEXTURE
            if (entry.type == SectionType.TEXTURE and count % 9 == 4) or entry.type == SectionType.DEPTH_MAP or (
                    entry.type == SectionType.PALETTE and entry.sub_index == palettes[-1]):
                data[entry.offset] ^= 4
        found.append(bytes(data))
    return found


def wrong(units: Sequence[AccessUnit]) -> list[bytes]:
    """Intact sections that break rules: depth maps, the palette deltas of depth 2, and every eleventh of texture."""
    found, count = [], 0
    for unit in units:
        sections = []
        for section in unit.sections:
            payload = bytearray(section.payload)
            count += section.type == SectionType.TEXTURE
            if section.type == SectionType.DEPTH_MAP:
                payload = payload[:-1] + b"\x0f"
            elif section.type == SectionType.PALETTE and section.sub_index == 2:
                payload[0] = 13
            elif section.type == SectionType.TEXTURE and count % 11 == 5:
                payload[count % 3] ^= 0x55
            sections.append(dataclasses.replace(section, payload=bytes(payload)))
        found.append(serialize(dataclasses.replace(unit, sections=tuple(sections))))
    return found


def stream(profile: Profile, name: str) -> list[bytes]:
    """The units of any stream."""
    if name in ENCODED:
        return [serialize(unit) for unit in encode(profile, *ENCODED[name])]
    units = encode(profile, *ENCODED["all"])
    if name.startswith("cut"):
        cutter = TextureCutter(Depths(1) if name == "cut_depth" else Depths(1, ((0, 4), (3, 0), (4, 3))))
        return [serialize(cutter.cut(parse(serialize(unit)))) for unit in units]
    if name == "short":
        return [data[:2 * len(data) // 3] if unit.key else data
                for unit, data in zip(units, map(serialize, units), strict=True)]
    return {"lost": lossy, "damaged": damaged, "wrong": wrong}[name](units)


def write(units: Sequence[bytes], motion: Motion) -> bytes:
    """The file of a stream."""
    file = io.BytesIO()
    with duoview.open(file, "w", format="dv") as output:
        output.add_stream(rate=Fraction(25), width=WIDTH, height=HEIGHT, time_base=Fraction(1, 25))
        for number, unit in enumerate(units):
            output.mux(unit_packet(unit, pts=number, dts=number, duration=1, time_base=Fraction(1, 25),
                                   key=number in motion.keys))
    return file.getvalue()


def digest(arrays: Sequence[NDArray[Any]], depths: Sequence[int] = ()) -> str:
    """Of all tiles' nodes and depths, or of the palettes' integers."""
    state = hashlib.sha256(bytes(depths))
    for one in arrays:
        state.update(np.ascontiguousarray(one).astype("<i4").tobytes())
    return state.hexdigest()
