"""Texture sections: one depth of one tile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from duoview import kernels
from duoview.errors import BitstreamError
from duoview.texture.chain import Reader, TileState, Writer, step
from duoview.texture.geometry import BLOCK
from duoview.texture.prior import FrameContext, Nodes, Prior

_REFRESH, _PALETTE, _LINK = 0x80, 0x40, 0x3F
LINKS = _LINK + 1
#: Class of the flag that a block is coded: one in four.
BLOCK_CLASS = 96
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class SectionHead:
    """First byte of a section.

    refresh: needs no frame before it. palette: the group of pictures has changed the palette of this depth. link: how
    many sections of this depth and tile came since the refresh, modulo 64.
    """

    refresh: bool
    palette: bool
    link: int

    def byte(self) -> int:
        """As it stands in the stream."""
        return _REFRESH * self.refresh | _PALETTE * self.palette | self.link

    @classmethod
    def read(cls, payload: bytes) -> SectionHead:
        """Of a payload. Raises BitstreamError."""
        if not payload:
            raise BitstreamError("texture section without a byte", offset=0)
        head = cls(bool(payload[0] & _REFRESH), bool(payload[0] & _PALETTE), payload[0] & _LINK)
        if head.refresh and head.link:
            raise BitstreamError(f"texture section that refreshes has link {head.link}, expected 0", offset=0)
        return head


def blocks_of(held: Mask) -> Mask:
    """Blocks (h / 8, w / 8) of positions (h, w) that are alike in each."""
    return held[::BLOCK, ::BLOCK]


def positions_of(blocks: Mask) -> Mask:
    """Positions (h, w) of blocks (h / 8, w / 8)."""
    return blocks.repeat(BLOCK, 0).repeat(BLOCK, 1)


def write_section(prior: Prior, context: FrameContext, state: TileState, nodes: Nodes, children: Nodes, depth: int,
                  head: SectionHead, held: Mask | None) -> bytes:
    """Payload of ``children`` of depth ``depth`` of their parents ``nodes``, both (G, h, w).

    held: (h, w), whole blocks that keep their nodes; None with ``head.refresh``.
    """
    symbols: list[NDArray[np.int16]] = []
    classes: list[Nodes] = []
    if held is not None and depth == 1:
        coded = ~blocks_of(held).reshape(-1)
        symbols.append(coded.astype(np.int16))
        classes.append(np.full(coded.size, BLOCK_CLASS, np.uint8))
    previous = np.zeros(nodes.shape, np.int8) if head.refresh else state.previous(nodes, depth - 1)
    writer = Writer(children & np.uint8(1), symbols, classes)
    step(prior, context, nodes, depth - 1, writer, previous=previous, held=held)
    return bytes((head.byte(),)) + kernels.encode(np.concatenate(symbols), np.concatenate(classes))


def read_section(prior: Prior, context: FrameContext, state: TileState, nodes: Nodes, depth: int, head: SectionHead,
                 payload: bytes, held: Mask | None) -> tuple[Nodes, Mask | None]:
    """Nodes of ``depth`` and what of them is held, from those of the depth before. Raises BitstreamError."""
    decoder = kernels.Decoder(payload[1:])
    if not head.refresh:
        if state.links[depth] != head.link or state.depth < depth:
            raise BitstreamError(f"texture of depth {depth}, tile {state.tile.number} follows link {head.link} of its "
                                 "chain, which is not there", offset=0)
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
