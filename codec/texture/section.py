"""Texture sections: one depth of one tile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from duoview import kernels, varint
from duoview.errors import BitstreamError
from duoview.texture.chain import Reader, TileState, Writer, step
from duoview.texture.geometry import BLOCK
from duoview.texture.prior import FrameContext, Nodes, Prior

#: In the head byte; a distance of _FAR or more stands in a varint behind it.
_REFRESH, _PALETTE, _FAR = 0x80, 0x40, 0x3F
#: Class of the flag that a block is coded: one in four.
BLOCK_CLASS = 96
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class SectionHead:
    """What stands before the coded symbols of a section.

    palette: the group of pictures has changed the palette of this depth. distance: by how many units the section that
    this one continues, of the same depth and tile, came before it; 0 for one that refreshes: it needs none.
    """

    palette: bool
    distance: int

    @property
    def refresh(self) -> bool:
        """Needs no frame before it."""
        return self.distance == 0

    def check_continues(self, state: TileState, depth: int, index: int) -> None:
        """Raises BitstreamError where what a section of unit ``index`` continues is not there."""
        if state.depth < depth or state.indices[depth] != index - self.distance:
            raise BitstreamError(f"continues the section of {self.distance} units before, which is not there", offset=0)

    def write(self) -> bytes:
        """As it stands in the stream."""
        out = bytearray((_REFRESH * self.refresh | _PALETTE * self.palette | min(self.distance, _FAR),))
        if self.distance >= _FAR:
            varint.write(out, self.distance - _FAR)
        return bytes(out)

    @classmethod
    def read(cls, payload: bytes) -> tuple[SectionHead, int]:
        """Of a payload, and where the symbols begin. Raises BitstreamError."""
        if not payload:
            raise BitstreamError("texture section without a byte", offset=0)
        refresh, distance, offset = bool(payload[0] & _REFRESH), payload[0] & _FAR, 1
        if refresh == bool(distance):
            raise BitstreamError(f"texture section with refresh {int(refresh)} and distance {distance}: exactly one of "
                                 "them is 0", offset=0)
        if distance == _FAR:
            more, offset = varint.read(payload, 1)
            distance += more
        return cls(bool(payload[0] & _PALETTE), distance), offset


def blocks_of(held: Mask) -> Mask:
    """Blocks (h / 8, w / 8) of positions (h, w) that are alike in each."""
    return held[::BLOCK, ::BLOCK]


def positions_of(blocks: Mask) -> Mask:
    """Positions (h, w) of blocks (h / 8, w / 8)."""
    return blocks.repeat(BLOCK, 0).repeat(BLOCK, 1)


def write_section(prior: Prior, context: FrameContext, state: TileState, nodes: Nodes, children: Nodes, depth: int,
                  head: SectionHead, held: Mask | None, *, sent: bool = True) -> tuple[bytes, Nodes]:
    """Payload of ``children`` of depth ``depth`` of their parents ``nodes``, both (G, h, w), and what they became.

    That is another child than asked for where the prior is certain of it. held: (h, w), whole blocks that keep their
    nodes; None with ``head.refresh``. sent: or else nothing is coded, and the payload is empty.
    """
    symbols: list[NDArray[np.int16]] = []
    classes: list[Nodes] = []
    if held is not None and depth == 1:
        coded = ~blocks_of(held).reshape(-1)
        symbols.append(coded.astype(np.int16))
        classes.append(np.full(coded.size, BLOCK_CLASS, np.uint8))
    previous = np.zeros(nodes.shape, np.int8) if head.refresh else state.previous(nodes, depth - 1)
    writer = Writer(children & np.uint8(1), symbols, classes)
    became = step(prior, context, nodes, depth - 1, writer, previous=previous, held=held)
    payload = head.write() + kernels.encode(np.concatenate(symbols), np.concatenate(classes)) if sent else b""
    return payload, became


def read_section(prior: Prior, context: FrameContext, state: TileState, nodes: Nodes, depth: int, head: SectionHead,
                 symbols: bytes, index: int, held: Mask | None) -> tuple[Nodes, Mask | None]:
    """Nodes of ``depth`` and what of them is held, from those of the depth before. Raises BitstreamError.

    symbols: what stands behind the head. index: of the unit, counted from its key unit.
    """
    decoder = kernels.Decoder(symbols)
    if not head.refresh:
        head.check_continues(state, depth, index)
        if depth == 1:
            shape = (state.tile.height // BLOCK, state.tile.width // BLOCK)
            flags = decoder.decode(np.full(shape[0] * shape[1], BLOCK_CLASS, np.uint8))
            held = positions_of(flags.reshape(shape) == 0)
            if (held & ~state.known).any():
                raise BitstreamError(f"tile {state.tile.number} keeps nodes that nobody knows", offset=0)
    previous = np.zeros(nodes.shape, np.int8) if head.refresh else state.previous(nodes, depth - 1)
    children = step(prior, context, nodes, depth - 1, Reader(decoder), previous=previous, held=held)
    decoder.finish()
    return children, held
