"""The chain of the texture layer on a device: what lies between its exact network and the entropy coder.

What is computed is that of ``duoview.texture``, whose words are used here: nodes (G, H, W) uint8 of G channel groups,
each of which has one binary decision on its way to a child of the next depth. Decisions are made in the two halves of
``checkerboard``. A child is *fixed* where it is certain, or held from the frame before; else it is coded.
"""

from __future__ import annotations

import numpy as np

from duoview.kernels import checkerboard
from duoview.kernels.cuda_array import DeviceArray, stream_handle
from duoview.kernels.cuda_driver import Driver, part_of, shaped, typed
from duoview.kernels.cuda_palette import begin_status
from duoview.kernels.palette import MAX_DEPTH

LOGITS = 256
#: Positions on a side of a block that is coded or held as a whole.
BLOCK = 8
_TILE = 1024


def _tiles(count: int) -> int:
    return -(-count // _TILE)


def _check_levels(levels: int) -> None:
    if not 0 <= levels < MAX_DEPTH:
        raise ValueError(f"levels is {levels}; 0..{MAX_DEPTH - 1} is needed")


class TextureKernels:
    """Methods of ``cuda.Device``. All raise TypeError or ValueError for an argument that is not as described."""

    driver: Driver

    def _queue(self, program: str, warps: int, arguments: list[int], stream: object) -> None:
        if warps:
            self.driver.launch(program, warps, arguments, stream_handle(stream))

    def _nodes(self, nodes: object, name: str = "nodes") -> tuple[DeviceArray, int, int, int]:
        found = typed(self.driver, name, nodes, np.uint8, ndim=3)
        groups, height, width = found.shape
        return found, groups, height, width

    def embed_nodes(self, nodes: object, embedding: object, planes: object, *, cuda_stream: object = None) -> None:
        """Fills ``planes``, (1, G E, H, W) float32, with what ``embedding``, (G, K, E) float32, says of ``nodes``.

        nodes: (G, H, W) uint8, each below K.
        """
        source, groups, height, width = self._nodes(nodes)
        table = typed(self.driver, "embedding", embedding, np.float32, ndim=3)
        count, numbers = table.shape[1:]
        shaped(self.driver, "embedding", embedding, np.float32, (groups, count, numbers))
        target = shaped(self.driver, "planes", planes, np.float32, (1, groups * numbers, height, width), writable=True)
        self._queue("embed_nodes", _tiles(source.size),
                    [source.pointer, table.pointer, target.pointer, groups, height * width, count, numbers],
                    cuda_stream)

    def previous_children(
        self, before: object, known: object, nodes: object, signs: object, *, levels: int, cuda_stream: object = None
    ) -> None:
        """Fills ``signs``, (1, G, H, W) float32: children in the frame before as -64 and 64, 0 where not known.

        before: (G, H, W) uint8, nodes of the frame before, ``levels`` (0..7) below the children. known: (H, W) uint8.
        nodes: (G, H, W) uint8, the parents now.
        """
        source, groups, height, width = self._nodes(nodes)
        _check_levels(levels)
        self._queue("previous_children", _tiles(source.size), [
            shaped(self.driver, "before", before, np.uint8, source.shape).pointer,
            shaped(self.driver, "known", known, np.uint8, (height, width)).pointer, source.pointer,
            shaped(self.driver, "signs", signs, np.float32, (1, *source.shape), writable=True).pointer,
            groups, height * width, levels], cuda_stream)

    def child_classes(
        self,
        logits: object,
        nodes: object,
        own: object,
        table: object,
        half: int,
        *,
        previous: object,
        classes: object,
        fixed: object,
        held: object = None,
        cuda_stream: object = None,
    ) -> None:
        """How a half of the children of ``nodes``, (G, H, W) uint8, is coded.

        logits: (1, G, H, W) int16 of the network. own: (G, K) int8, added at a node. table: (256,) uint8, the class of
        every logit from -128 on, 0 where the likely child is certain. previous: (1, G, H, W) float32 of
        ``previous_children``, which positions that are held take. held: (H, W) uint8, or None.

        classes: (G, H, W) uint8, written at the half's positions: the class, 0 where nothing is coded. fixed: (G, H, W)
        uint8, written there: the child where nothing is coded, 2 where it is.
        """
        source, groups, height, width = self._nodes(nodes)
        checkerboard.size((groups, height, width), half)
        count = typed(self.driver, "own", own, np.int8, ndim=2).shape[1]
        kept = 0 if held is None else shaped(self.driver, "held", held, np.uint8, (height, width)).pointer
        self._queue("child_classes", groups * height, [
            shaped(self.driver, "logits", logits, np.int16, (1, *source.shape)).pointer, source.pointer,
            shaped(self.driver, "own", own, np.int8, (groups, count)).pointer,
            shaped(self.driver, "table", table, np.uint8, (LOGITS,)).pointer, kept,
            shaped(self.driver, "previous", previous, np.float32, (1, *source.shape)).pointer,
            shaped(self.driver, "classes", classes, np.uint8, source.shape, writable=True).pointer,
            shaped(self.driver, "fixed", fixed, np.uint8, source.shape, writable=True).pointer,
            groups, height, width, count, half], cuda_stream)

    def _step(self, fixed: object, nodes: object, children: object, decided: object, half: int
              ) -> tuple[tuple[int, int, int], int, list[int]]:
        """Shape, positions of the half, and the addresses that every way to children shares."""
        source, groups, height, width = self._nodes(nodes)
        shape = groups, height, width
        found = shaped(self.driver, "children", children, np.uint8, shape, writable=True)
        if found.pointer == source.pointer and found.size:
            raise ValueError("children and nodes are one array; two are needed")
        return shape, checkerboard.size(shape, half), [
            shaped(self.driver, "fixed", fixed, np.uint8, shape).pointer, source.pointer, found.pointer,
            shaped(self.driver, "decided", decided, np.float32, (1, *shape), writable=True).pointer]

    def take_children(
        self, coded: object, fixed: object, nodes: object, half: int, *, children: object, decided: object,
        cuda_stream: object = None,
    ) -> None:
        """Children of a half, from its decoded symbols.

        coded: (N,) int16 in coding order. fixed: of ``child_classes``. children: (G, H, W) uint8 of the next depth, and
        decided: (1, G, H, W) float32, their signs as of ``previous_children``, both written at the half's positions.
        """
        shape, count, step = self._step(fixed, nodes, children, decided, half)
        self._queue("take_children", shape[0] * shape[1],
                    [typed(self.driver, "coded", coded, np.int16, count).pointer, *step, *shape, half], cuda_stream)

    def offer_children(
        self, wanted: object, fixed: object, nodes: object, half: int, *, levels: int, coded: object, children: object,
        decided: object, cuda_stream: object = None,
    ) -> None:
        """Children of a half that lead to ``wanted``, (G, H, W) uint8, where they are not fixed.

        levels: how far below the children those are, 0..7.

        coded: (N,) int16, written: what is coded of them, in coding order. The rest is as of ``take_children``.
        """
        _check_levels(levels)
        shape, count, step = self._step(fixed, nodes, children, decided, half)
        goal = shaped(self.driver, "wanted", wanted, np.uint8, shape).pointer
        target = typed(self.driver, "coded", coded, np.int16, count, writable=True).pointer
        self._queue("offer_children", shape[0] * shape[1],
                    [goal, *step[:2], target, *step[2:], *shape, half, levels], cuda_stream)

    def draw_children(
        self, classes: object, fixed: object, nodes: object, half: int, *, children: object, decided: object, seed: int,
        depth: int, top: int, left: int, row_positions: int, draw: int = 0, cuda_stream: object = None,
    ) -> None:
        """Children of a half, drawn: row r of group g as by ``palette.sample_child``.

        Its stream is ``draw << 16 | depth << 8 | g``, its offset ``(top + r) * row_positions + left``. draw: number of
        the draw, of several. The rest is as of ``take_children``.
        """
        if (not 0 <= seed < 1 << 64 or not 0 <= depth < MAX_DEPTH or not 0 <= draw < 1 << 48
                or min(top, left, row_positions) < 0):
            raise ValueError(f"seed, draw, depth, top, left, row_positions are {seed}, {draw}, {depth}, {top}, {left}, "
                             f"{row_positions}; 0 or more, a seed below 2**64, a draw below 2**48 and a depth below "
                             f"{MAX_DEPTH} are needed")
        shape, _, step = self._step(fixed, nodes, children, decided, half)
        binary = shaped(self.driver, "classes", classes, np.uint8, shape).pointer
        self._queue("draw_children", shape[0] * shape[1],
                    [binary, *step, *shape, half, seed, draw, depth, top, left, row_positions], cuda_stream)

    def held_positions(
        self, flags: object, known: object, held: object, status: object, *, cuda_stream: object = None
    ) -> None:
        """Fills ``held``, (H, W) uint8, with 1 where the block's flag is 0.

        flags: (H W / 64,) int16, of blocks of 8x8, row by row. known: (H, W) uint8. status: 8 bytes of memory for an
        error, which ``check`` reads: a position that is held and not known.
        """
        target = typed(self.driver, "held", held, np.uint8, ndim=2, writable=True)
        height, width = target.shape
        if height % BLOCK or width % BLOCK:
            raise ValueError(f"held has shape {target.shape}; multiples of {BLOCK} are needed")
        arguments = [typed(self.driver, "flags", flags, np.int16, height * width // BLOCK**2).pointer,
                     shaped(self.driver, "known", known, np.uint8, target.shape).pointer, target.pointer, height, width,
                     begin_status(self.driver, status, stream_handle(cuda_stream))]
        self._queue("held_positions", _tiles(target.size), arguments, cuda_stream)

    def look_up_nodes(
        self, nodes: object, table: object, planes: object, *, top: int, left: int, held: object = None,
        others: object = None, other_table: object = None, share: object = None, cuda_stream: object = None,
    ) -> None:
        """Puts what nodes stand for into a part of planes, but where positions are held.

        nodes: (G, H, W) uint8; None for what the planes hold. table: (G, K, C) float32, of which the rows of a
        position's nodes are added up, group by group; None for zeros. planes: (1, C, rows, columns) float32, written
        from row ``top`` and column ``left`` on.

        held: (H, W) uint8, or None. others, other_table: a second choice, which counts by ``share``, (1,) float32:
        first + share * (second - first); or None, all of them.
        """
        if nodes is None and (others is None or table is not None):
            raise ValueError("no nodes: expected others, and no table")
        groups, height, width = self._nodes(others if nodes is None else nodes)[1:]
        source = 0 if nodes is None else self._nodes(nodes)[0].pointer
        target = typed(self.driver, "planes", planes, np.float32, ndim=4, writable=True)
        channels, rows, columns = target.shape[1:]
        if target.shape[0] != 1:
            raise ValueError(f"planes has shape {target.shape}; (1, channels, rows, columns) is needed")
        part_of("the nodes' place", (top, left, height, width), rows, columns)
        first = self._table("table", table, groups, channels)
        second, other, part = (0, 0), 0, 0
        if others is not None:
            second = self._table("other_table", other_table, groups, channels)
            other = shaped(self.driver, "others", others, np.uint8, (groups, height, width)).pointer
            part = shaped(self.driver, "share", share, np.float32, (1,)).pointer
        kept = 0 if held is None else shaped(self.driver, "held", held, np.uint8, (height, width)).pointer
        self._queue("look_up_nodes", channels * height, [
            source, first[0], other, second[0], part, kept, target.pointer, groups, height, width, channels,
            first[1], second[1], top, left, rows, columns], cuda_stream)

    def _table(self, name: str, table: object, groups: int, channels: int) -> tuple[int, int]:
        if table is None:
            return 0, 0
        count = typed(self.driver, name, table, np.float32, ndim=3).shape[1]
        return shaped(self.driver, name, table, np.float32, (groups, count, channels)).pointer, count

    def mark_positions(
        self, plane: object, value: int, part: tuple[int, int, int, int], *, held: object = None,
        cuda_stream: object = None,
    ) -> None:
        """Puts ``value``, 0..255, into a part (top, left, height, width) of ``plane``, (rows, columns) uint8.

        held: (height, width) uint8, or None: positions that stay as they are.
        """
        target = typed(self.driver, "plane", plane, np.uint8, ndim=2, writable=True)
        top, left, height, width = part_of("part", part, *target.shape)
        if not 0 <= value <= 255:
            raise ValueError(f"value is {value}; 0..255 is needed")
        kept = 0 if held is None else shaped(self.driver, "held", held, np.uint8, (height, width)).pointer
        self._queue("mark_positions", _tiles(height * width),
                    [kept, target.pointer, height, width, top, left, target.shape[1], value], cuda_stream)

    def without_marked(
        self, planes: object, marked: object, output: object, *, top: int = 0, left: int = 0, cuda_stream: object = None
    ) -> None:
        """Fills ``output`` with ``planes``, (..., H, W) float32 or uint8, and 0 where positions are marked.

        marked: (rows, columns) uint8, of which the part from ``top`` and ``left`` on counts. output: of the shape of
        planes; it may be planes themselves.
        """
        source = self.driver.array("planes", planes)
        if source.dtype not in (np.uint8, np.float32) or len(source.shape) < 2:
            raise TypeError(f"planes is an array of {source.dtype} {source.shape}; uint8 or float32 (..., height, "
                            "width) is needed")
        height, width = source.shape[-2:]
        mask = typed(self.driver, "marked", marked, np.uint8, ndim=2)
        part_of("the planes' place", (top, left, height, width), *mask.shape)
        target = shaped(self.driver, "output", output, source.dtype.type, source.shape, writable=True)
        program = "bytes_without_marked" if source.dtype == np.uint8 else "floats_without_marked"
        self._queue(program, _tiles(source.size), [
            source.pointer, mask.pointer, target.pointer, source.size // (height * width), height, width, top, left,
            mask.shape[1]], cuda_stream)

    def touched(
        self, symbols: object, touched: object, coded: object, *, moving: object = None, cuda_stream: object = None
    ) -> None:
        """Fills ``touched``, (2 H, 2 W) uint8, with ``duoview.machine.touched(symbols)``, or where something moves.

        symbols: (C, H, W) int16. coded: (H, W) uint8, scratch. moving: (H, W) uint8, or None.
        """
        source = typed(self.driver, "symbols", symbols, np.int16, ndim=3)
        channels, height, width = source.shape
        scratch = shaped(self.driver, "coded", coded, np.uint8, (height, width), writable=True).pointer
        target = shaped(self.driver, "touched", touched, np.uint8, (2 * height, 2 * width), writable=True)
        moves = 0 if moving is None else shaped(self.driver, "moving", moving, np.uint8, (height, width)).pointer
        self._queue("coded_positions", _tiles(height * width), [source.pointer, scratch, channels, height * width],
                    cuda_stream)
        self._queue("touched_positions", _tiles(target.size), [scratch, moves, target.pointer, height, width],
                    cuda_stream)

    def gather_vectors(
        self, components: object, scale: object, vectors: object, part: tuple[int, int, int, int], *,
        nodes: object = None, apart: object = None, cuda_stream: object = None,
    ) -> None:
        """Fills ``vectors`` with a part of ``components``, as leaves are sought for them.

        components: (1, G N, rows, columns) float32. scale: (G,) float32, what they are divided by. part: top, left,
        height, width. nodes: (G, H, W) uint8, or None. apart: (1,) float32, with nodes.

        vectors: (H W, G, N + 1) float32, written; the last number is 0. With nodes (H W, G, N + 2): and then the node
        times ``apart``.
        """
        source = typed(self.driver, "components", components, np.float32, ndim=4)
        factors = typed(self.driver, "scale", scale, np.float32)
        groups, (_, channels, rows, columns) = factors.size, source.shape
        top, left, height, width = part_of("part", part, rows, columns)
        if source.shape[0] != 1 or not groups or channels % groups:
            raise ValueError(f"components has shape {source.shape}; (1, channels, rows, columns) with a multiple of "
                             f"{groups} channels is needed")
        numbers, beside, node, far = channels // groups, 1, 0, 0
        if nodes is not None:
            node, beside = shaped(self.driver, "nodes", nodes, np.uint8, (groups, height, width)).pointer, 2
            far = shaped(self.driver, "apart", apart, np.float32, (1,)).pointer
        shape = height * width, groups, numbers + beside
        target = shaped(self.driver, "vectors", vectors, np.float32, shape, writable=True)
        self._queue("gather_vectors", _tiles(groups * height * width), [
            source.pointer, factors.pointer, node, far, target.pointer, groups, numbers, height, width, top, left, rows,
            columns], cuda_stream)

    def take_leaves(
        self, found: object, leaves: object, *, nodes: object = None, levels: int = 0, held: object = None,
        before: object = None, cuda_stream: object = None,
    ) -> None:
        """Puts ``found``, (H W, G) uint8, into ``leaves``, (G, H, W) uint8.

        nodes: (G, H, W) uint8: only where the leaf's ancestor, ``levels`` (0..7) above it, is another one; None:
        everywhere. held: (H, W) uint8, positions that take ``before``, (G, H, W) uint8; or None, both.
        """
        _check_levels(levels)
        target = typed(self.driver, "leaves", leaves, np.uint8, ndim=3, writable=True)
        groups, positions = target.shape[0], target.shape[1] * target.shape[2]
        source = shaped(self.driver, "found", found, np.uint8, (positions, groups)).pointer
        node = 0 if nodes is None else shaped(self.driver, "nodes", nodes, np.uint8, target.shape).pointer
        kept = old = 0
        if held is not None:
            kept = shaped(self.driver, "held", held, np.uint8, target.shape[1:]).pointer
            old = shaped(self.driver, "before", before, np.uint8, target.shape).pointer
        self._queue("take_leaves", _tiles(target.size),
                    [source, node, kept, old, target.pointer, groups, positions, levels], cuda_stream)

    def node_errors(
        self, vectors: object, nodes: object, table: object, errors: object, *, scale: object, factor: object,
        cuda_stream: object = None,
    ) -> None:
        """Fills ``errors``, (H, W) float32, with ``palette.node_errors`` of the first C numbers of each vector.

        vectors: (H W, G, C or more) float32, as of ``gather_vectors``. nodes: (G, H, W) uint8, each below K. table:
        (G, K, C) float32, or None where there is nothing: C is one less than vectors have then. scale: (G,) float32.
        factor: (1,) float32.
        """
        source, groups, height, width = self._nodes(nodes)
        given = typed(self.driver, "vectors", vectors, np.float32, ndim=3)
        wide = given.shape[2]
        shaped(self.driver, "vectors", vectors, np.float32, (height * width, groups, wide))
        place, count, numbers = 0, 0, wide - 1
        if table is not None:
            found = typed(self.driver, "table", table, np.float32, ndim=3)
            place, (_, count, numbers) = found.pointer, found.shape
            shaped(self.driver, "table", table, np.float32, (groups, count, min(numbers, wide)))
        self._queue("node_errors", _tiles(height * width), [
            given.pointer, source.pointer, place, shaped(self.driver, "scale", scale, np.float32, (groups,)).pointer,
            shaped(self.driver, "factor", factor, np.float32, (1,)).pointer,
            shaped(self.driver, "errors", errors, np.float32, (height, width), writable=True).pointer,
            height * width, groups, count, numbers, wide], cuda_stream)
