"""The neural machine layer: pictures to sections and back to z_m, with its state from frame to frame.

Everything that the entropy coder is told (classes, means) comes from exact networks on decoded integers; the float
networks only make the values that are rounded before coding and the latent that is shown.
"""

from __future__ import annotations

import functools
import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from duoview import kernels
from duoview.backends import Backend, Network
from duoview.decision import (
    BLOCK_PIXELS,
    Floats,
    SymbolDecision,
    Symbols,
    extra_bits,
    picture_gain,
    worth_coding,
)
from duoview.errors import BitstreamError
from duoview.gain_map import GainMap, Scaling
from duoview.kernels import checkerboard
from duoview.kernels.arrays import MAX_THREADS
from duoview.motion_field import MotionField, Part
from duoview.motion_search import MotionSearch, Reference
from duoview.picture import padded
from duoview.profile import Profile

MAX_Q = 63
#: Class of the decision behind a motion field: that symbols follow.
_CODED = 170

#: Features, and classes and means (C, H, W) for the first half; those of the second are computed from what it holds.
FirstParameters = tuple[Floats, NDArray[np.uint8], NDArray[np.int16]]


@dataclass(frozen=True)
class Chosen:
    """Symbols (C, H, W), the classes of each half (C, H, W), and the decoded y (1, C, H, W) in sixteenths."""

    symbols: Symbols
    classes: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    decoded: Floats

    @functools.cached_property
    def coded(self) -> NDArray[np.bool_]:
        """Positions (H, W) that have a symbol other than 0."""
        return _coded(self.symbols)

    def bits(self, first: NDArray[np.bool_]) -> Floats:
        """Bits beyond those of coding nothing, by position, (H, W); ``first`` marks the places of the first half."""
        places = _not_zero(self.symbols)  # few: zeros cost nothing beyond themselves
        classes = np.where(first.reshape(-1)[places], *(half.reshape(-1)[places] for half in self.classes))
        total = np.zeros(self.symbols.shape[1:], np.float32)
        np.add.at(total.reshape(-1), places % total.size, extra_bits(self.symbols.reshape(-1)[places], classes))
        return total


def _not_zero(symbols: Symbols) -> NDArray[np.intp]:
    """What np.flatnonzero gives, where nearly all are 0: four are looked at at once."""
    if symbols.size % 4:
        return np.flatnonzero(symbols)
    fours = np.flatnonzero(symbols.reshape(-1).view(np.uint64))
    places = (4 * fours[:, None] + np.arange(4)).reshape(-1)
    return places[symbols.reshape(-1)[places] != 0]


def _coded(symbols: Symbols) -> NDArray[np.bool_]:
    """Positions (H, W) of symbols (C, H, W) with one that is not 0."""
    found: NDArray[np.bool_] = np.bitwise_or.reduce(symbols, 0) != 0
    return found


@functools.lru_cache(maxsize=16)
def first_half(channels: int, height: int, width: int) -> NDArray[np.bool_]:
    """(C, H, W), True for symbols of the first half of the coding order (kernels.checkerboard); read only."""
    rows, columns = np.arange(height)[:, None], np.arange(width)[None, :]
    shift = (np.arange(channels) >= channels // 2)[:, None, None]
    found: NDArray[np.bool_] = (rows + columns + shift) % 2 == 0
    found.flags.writeable = False
    return found


def touched(symbols: Symbols) -> NDArray[np.bool_]:
    """Where a P frame with these symbols (C, H, W) changes the latent: the 3x3 around every coded position, (2 H, 2 W).

    The synthesis of P frames leaves z_m elsewhere as it was, to the bit.
    """
    coded = np.zeros((symbols.shape[1] + 2, symbols.shape[2] + 2), np.bool_)
    coded[1:-1, 1:-1] = _coded(symbols)
    wide = coded[:-2] | coded[1:-1] | coded[2:]
    near = wide[:, :-2] | wide[:, 1:-1] | wide[:, 2:]
    return near.repeat(2, 0).repeat(2, 1)


def motion_parts(field: MotionField, before: MotionField, *, coded: bool) -> list[Part]:
    """What a P frame's payload begins with: its field, and the decision whether symbols follow.

    before: the field of the frame before.
    """
    return [*field.write(before), (np.array([coded], np.int16), np.array([_CODED], np.uint8))]


def read_coded(decoder: kernels.Decoder) -> bool:
    """The decision behind a field: whether symbols follow."""
    return bool(decoder.decode(np.array([_CODED], np.uint8))[0])


class MachineLayer:
    """The machine codec of one stream; an encoder's and a decoder's side share its networks and state.

    Args:
        encode: load the analysis networks as well.
        decision: how an encoder rounds; None for the default. threads: of what is no network: motion and decisions; of
            more than kernels run on, those that they do.
    """

    def __init__(self, profile: Profile, backend: Backend, *, encode: bool,
                 decision: SymbolDecision | None = None, threads: int = 1) -> None:
        self.profile, self.sizes = profile, profile.sizes
        self.decision, self._threads = decision or SymbolDecision(), min(threads, MAX_THREADS)
        names = ["key_hyper", "key_context", "key_synthesis", "inter_hyper", "inter_context", "inter_synthesis"]
        if encode:
            names += ["encoder", "key_analysis", "inter_analysis"]
        self.networks: dict[str, Network] = {name: profile.load(name, backend) for name in names}
        self._operators = profile.motion() if profile.has_motion else None
        self._search = (MotionSearch(self._operators, profile.latent_weight, self._threads)
                        if encode and self._operators is not None else None)
        self._reference = Reference()
        #: The motion field of the last frame.
        self.field = MotionField.still(0, 0)
        self.digest = hashlib.sha256()
        self.z_m: Floats | None = None
        self.previous: Floats | None = None
        #: For the texture layer. z: of the last picture, encoders only. decoded: y of the last frame, (1, C, H, W)
        #: sixteenths. moved: (2 H, 2 W), where z_m may be another than in the frame before; elsewhere it is the same.
        self.z: Floats | None = None
        self.decoded: Floats | None = None
        self.moved: NDArray[np.bool_] = np.zeros((0, 0), np.bool_)
        self._first: NDArray[np.bool_] = np.zeros((0, 0, 0), np.bool_)

    def reset(self) -> None:
        """Forget the state: the next frame must be a key frame."""
        self.z_m = self.previous = self.z = self.decoded = None
        self._reference = Reference()

    def _first_half(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        if self._first.shape != shape:
            self._first = first_half(*shape)
        return self._first

    def _hyper_classes(self, key: bool, q: int, height: int, width: int) -> NDArray[np.uint8]:
        table = self.profile.key_hyper_classes if key else self.profile.inter_hyper_classes
        return np.repeat(table[q], height * width)

    def _first_parameters(self, hyper: Floats, key: bool, level: NDArray[np.int64]) -> FirstParameters:
        if key:
            features, classes, means = self.networks["key_hyper"](hyper=hyper, q=level)
        else:
            assert self.previous is not None
            features, classes, means = self.networks["inter_hyper"](hyper=hyper, q=level, previous=self.previous)
        return features, classes[0], means[0]

    def _second_parameters(self, features: Floats, decoded: Floats, key: bool
                           ) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
        network = self.networks["key_context" if key else "inter_context"]
        classes, means = network(features=features, decoded=decoded)
        return classes[0], means[0]

    def _synthesise(self, decoded: Floats, symbols: Symbols, start: Floats | None, level: NDArray[np.int64]) -> Floats:
        """z_m of a frame; the state stays. start: z_m of the frame before, moved; None for a key frame."""
        if start is None:
            (z_m,) = self.networks["key_synthesis"](decoded=decoded, q=level)
        else:
            (z_m,) = self.networks["inter_synthesis"](
                decoded=decoded, symbols=symbols[None].astype(np.float32), previous=start, q=level)
        return z_m

    def _compensate(self, field: MotionField) -> Floats:
        """z_m of the frame before, moved."""
        assert self.z_m is not None
        return self._operators.compensate(self.z_m, field, self._threads) if self._operators is not None else self.z_m

    def _repeat(self) -> bytes:
        """A P frame in which nothing is coded, an empty section: z_m stays, and nothing moved in it."""
        assert self.previous is not None
        self.previous = np.zeros_like(self.previous)
        self.decoded = self.previous
        self.moved = np.zeros_like(self.moved)
        self.field = MotionField.still(*self.field.vectors.shape[:2])
        self.digest.update(b"R")
        return b""

    def _move_on(self, z_m: Floats, decoded: Floats, symbols: Symbols, field: MotionField | None) -> Floats:
        """To the state after a frame; field: its motion, None for a key frame."""
        self.z_m, self.decoded = z_m, decoded
        if field is None:
            self.moved, self.previous = np.ones(z_m.shape[2:], np.bool_), np.zeros_like(decoded)
            self.field = MotionField.still(z_m.shape[2] // 2, z_m.shape[3] // 2)
        else:
            self.moved, self.previous = touched(symbols) | field.moving.repeat(2, 0).repeat(2, 1), decoded
            self.field = field
        return z_m

    def _count(self, hyper: Symbols, symbols: Symbols, field: MotionField | None) -> None:
        self.digest.update(b"K" if field is None else b"P")
        if field is not None and field.moving.any():
            self.digest.update(field.vectors.tobytes())
        for numbers in (hyper, symbols):
            self.digest.update(np.ascontiguousarray(numbers, "<i2").reshape(-1).data)

    def encode(self, picture: NDArray[np.uint8], *, key: bool, q: int, gains: GainMap | None = None) -> bytes:
        """Code a padded picture (1, 3, H, W); returns the machine section. The state moves on.

        The section of a P frame in which nothing is coded is empty. gains: of this frame, which decoders need too.
        """
        if not key and self.z_m is None:
            raise ValueError("a P frame needs a frame before it: the first frame must be a key frame")
        level = np.array([q], np.int64)
        (z,) = self.networks["encoder"](picture=picture)
        self.z = z
        plane = kernels.luma(picture[0]) if self._search is not None else None
        if key:
            y, hyper = self.networks["key_analysis"](z=z, q=level)
            field, start = None, None
        else:
            field = self._find_motion(plane, z, q)
            start = self._compensate(field)
            y, hyper = self.networks["inter_analysis"](z=z, previous=start, q=level)
        first = self._first_parameters(hyper, key, level)
        scaling = gains.positions(*y.shape[2:]) if gains is not None else None
        chosen = self._choose(y, first, key, scaling)
        worth, z_m = math.inf, start
        if start is None or chosen.coded.any():
            z_m = self._synthesise(chosen.decoded, chosen.symbols, start, level)
        assert z_m is not None
        if field is not None and start is not None:
            if self.decision.skip > 0 and z_m is not start:
                assert self.z_m is not None
                lagrangian, weight = self._lagrangian(q), self.profile.latent_weight
                gain = picture_gain(z, start, z_m, weight, self._threads)
                keep = worth_coding(gain, chosen.bits(self._first_half(y.shape[1:])), lagrangian)
                moves, drops = bool(field.moving.any()), bool((chosen.coded & ~keep).any())
                if drops:
                    chosen = self._choose(y, first, key, scaling, keep)
                    z_m = start
                    if chosen.coded.any():
                        z_m = self._synthesise(chosen.decoded, chosen.symbols, start, level)
                if drops or moves:
                    gain = picture_gain(z, self.z_m, z_m, weight, self._threads)
                worth = lagrangian * BLOCK_PIXELS * float(gain.sum())
            if z_m is start and not field.moving.any():
                return self._repeat()
        hyper_symbols = hyper.astype(np.int16).reshape(-1)
        payload = self._payload(hyper_symbols, chosen, field, q)
        if 8 * len(payload) >= worth:
            return self._repeat()  # all of it: the hyper symbols and the zeros of what is not kept cost bits as well
        if z_m is start:
            hyper_symbols = hyper_symbols[:0]
            chosen = Chosen(np.zeros_like(chosen.symbols), chosen.classes, np.zeros_like(chosen.decoded))
        self._count(hyper_symbols, chosen.symbols, field)
        self._move_on(z_m, chosen.decoded, chosen.symbols, field)
        if plane is not None:
            self._reference.update(plane, self.moved)
        return payload

    def _lagrangian(self, q: int) -> float:
        """What a squared error is worth to an encoder, in bits per pixel."""
        return float(self.profile.lagrangian[q]) / (self.decision.skip or 1)

    def _find_motion(self, plane: NDArray[np.uint8] | None, z: Floats, q: int) -> MotionField:
        """The field of a P frame; nothing moves in profiles without shift operators."""
        if self._search is None:
            return MotionField.still(*self.field.vectors.shape[:2])
        assert plane is not None and self._reference.plane is not None and self.z_m is not None
        return self._search.field(self._reference.plane, plane, z, self.z_m, self.field, self._lagrangian(q))

    def _payload(self, hyper: Symbols, chosen: Chosen, field: MotionField | None, q: int) -> bytes:
        """The section of a frame: its motion in profiles with motion compensation, then hyper symbols and symbols."""
        parts: list[Part] = []
        coded = field is None or bool(chosen.coded.any())
        if field is not None and self._operators is not None:
            parts += motion_parts(field, self.field, coded=coded)
        if coded:
            height, width = chosen.symbols.shape[1:]
            parts.append((hyper, self._hyper_classes(field is None, q, height // 4, width // 4)))
            for half in (0, 1):
                parts.append((checkerboard.gather(chosen.symbols, half),
                              checkerboard.gather(chosen.classes[half], half)))
        symbols, classes = zip(*parts, strict=True)
        return kernels.encode(np.concatenate(symbols), np.concatenate(classes))

    def _choose(self, y: Floats, first: FirstParameters, key: bool, scaling: Scaling | None,
                keep: NDArray[np.bool_] | None = None) -> Chosen:
        """The symbols of y (1, C, H, W), none where ``keep`` (H, W) is False, and what decoders will make of them."""
        margins = self.decision.margins(key)
        symbols, decoded = np.empty(y.shape[1:], np.int16), np.zeros(y.shape, np.float32)
        features, classes, means = first
        for half in (0, 1):
            if half == 1:
                classes, means = self._second_parameters(features, decoded, key)
            if scaling is None:
                checkerboard.quantise(y[0], classes, means, half, margins=margins, keep=keep, symbols=symbols,
                                      decoded=decoded[0])
            else:
                classes = scaling.classes(classes)
                checkerboard.quantise(scaling.values(y[0], means), classes, np.zeros_like(means), half,
                                      margins=margins, keep=keep, symbols=symbols, decoded=decoded[0])
                self._restore(decoded, symbols, means, half, scaling)
            if half == 0:
                chosen = classes
        return Chosen(symbols, (chosen, classes), decoded)

    def _restore(self, decoded: Floats, symbols: Symbols, means: NDArray[np.int16], half: int, scaling: Scaling
                 ) -> None:
        """Decoded values (1, C, H, W) of a half whose symbols were scaled."""
        here = self._first_half(means.shape) == (half == 0)
        decoded[0][here] = scaling.decoded(symbols, means)[here]

    def decode(self, payload: bytes, *, key: bool, q: int, width: int, height: int, gains: GainMap | None = None
               ) -> Floats:
        """z_m (1, latent, H/8, W/8) of a machine section. Raises BitstreamError; the state is then unusable."""
        if not key and self.z_m is None:
            raise BitstreamError("P frame without a frame before it", offset=0)
        if not key and not payload:
            self._repeat()
            assert self.z_m is not None
            return self.z_m
        level = np.array([q], np.int64)
        rows, columns = padded(height) // 16, padded(width) // 16
        decoder = kernels.Decoder(payload)
        field, start = (None, None) if key else self._read_motion(decoder)
        shape = (self.sizes.symbols, rows, columns)
        if field is not None and start is not None and self._operators is not None and not read_coded(decoder):
            decoder.finish()
            if not field.moving.any():
                raise BitstreamError("neither motion nor symbols: expected an empty section", offset=0)
            nothing = np.zeros(shape, np.int16)
            self._count(nothing.reshape(-1)[:0], nothing, field)
            return self._move_on(start, np.zeros((1, *shape), np.float32), nothing, field)
        hyper_shape = (1, self.sizes.hyper, rows // 4, columns // 4)
        hyper_symbols = decoder.decode(self._hyper_classes(key, q, *hyper_shape[2:]))
        if np.abs(hyper_symbols.astype(np.int32)).max(initial=0) > 127:
            raise BitstreamError("hyper symbol beyond +-127", offset=0)
        hyper = hyper_symbols.reshape(hyper_shape).astype(np.float32)
        features, classes, means = self._first_parameters(hyper, key, level)
        symbols = np.empty(shape, np.int16)
        decoded = np.zeros((1, *shape), np.float32)
        scaling = gains.positions(rows, columns) if gains is not None else None
        for half in (0, 1):
            if half == 1:
                classes, means = self._second_parameters(features, decoded, key)
            if scaling is not None:
                classes = scaling.classes(classes)
            part = decoder.decode(checkerboard.gather(classes, half))
            checkerboard.dequantise(part, means, half, symbols=symbols, decoded=decoded[0])
            if scaling is not None:
                self._restore(decoded, symbols, means, half, scaling)
        decoder.finish()
        self._count(hyper_symbols, symbols, field)
        return self._move_on(self._synthesise(decoded, symbols, start, level), decoded, symbols, field)

    def _read_motion(self, decoder: kernels.Decoder) -> tuple[MotionField, Floats]:
        """The field of a P frame, and z_m of the frame before as it moves that."""
        if self._operators is None:
            field = MotionField.still(*self.field.vectors.shape[:2])
        else:
            field = MotionField.read(decoder, self.field)
        return field, self._compensate(field)
