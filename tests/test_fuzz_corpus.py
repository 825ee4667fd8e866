"""The fuzz targets' inputs, seeds and past findings, through the Python API: each holds on every path without a fuzzer.

tests/fuzz/<target>.cpp says which fields an input has; this reads the same ones, and leaves out what Python cannot ask
for (rounding modes, shares of a step that no schedule has).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from duoview.kernels import (
    BitstreamError,
    ErrorForms,
    ShiftOperators,
    VectorPrices,
    block_motion,
    choose_motion,
    crc32c,
    crc32c_paths,
    noise,
    normals,
    palette,
    philox,
    picture_error,
    rans,
)
from duoview.kernels.cuda import Device

CORPUS = Path(__file__).resolve().parent / "fuzz" / "corpus"
MOST_NOISE = 2048
MOST_CLASSES = 8192
MOST_SYMBOLS = 8192


class Fields:
    """An input's fields from its front; a field that is no longer there is 0."""

    def __init__(self, data: bytes) -> None:
        self.left = data

    def number(self, size: int) -> int:
        return int.from_bytes(self.bytes(size), "little")

    def bytes(self, size: int) -> bytes:
        front, self.left = self.left[:size], self.left[size:]
        return front


def inputs(target: str) -> list[Path]:
    return sorted((CORPUS / target).iterdir())


def name(path: Path) -> str:
    return path.name


@pytest.mark.parametrize("path", inputs("crc32c"), ids=name)
def test_checksums_of_fuzzed_inputs_agree_and_chain(path: Path) -> None:
    fields = Fields(path.read_bytes())
    value, _, cut_at = fields.number(4), fields.number(1), fields.number(2)
    data = fields.left
    cut = cut_at % (len(data) + 1)
    whole = crc32c(data, value)
    for route in crc32c_paths():
        assert crc32c(data, value, path=route) == whole
        assert crc32c(data[cut:], crc32c(data[:cut], value, path=route), path=route) == whole


@pytest.mark.parametrize("path", inputs("noise"), ids=name)
def test_noise_of_fuzzed_addresses_agrees_in_parts(path: Path) -> None:
    fields = Fields(path.read_bytes())
    seed, stream, offset = fields.number(8), fields.number(8), fields.number(8)
    count = min(fields.number(2) % (MOST_NOISE + 1), 2**64 - offset)
    cut = fields.number(2) % (count + 1)
    words, values = philox(seed, stream, offset, count), normals(seed, stream=stream, offset=offset, count=count)
    for route in rans.paths():
        front = philox(seed, stream, offset, cut, path=route)
        back = philox(seed, stream, offset + cut, count - cut, path=route) if cut < count else front[:0]
        assert front.tobytes() + back.tobytes() == words.tobytes()
        again = normals(seed, stream=stream, offset=offset, count=count, path=route)
        assert again.tobytes() == values.tobytes()


def decoded(
    data: bytes, classes: NDArray[np.uint8], cuts: list[int], path: str, threads: int = 1
) -> tuple[bytes, str]:
    """Symbols of all calls, or the error."""
    ends = [*sorted(cuts), classes.size]
    try:
        decoder = rans.Decoder(data, threads=threads, path=path)
        parts = [decoder.decode(classes[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
        decoder.finish()
    except BitstreamError as error:
        return b"", str(error)
    except ValueError as error:
        return b"", str(error)
    return b"".join(part.tobytes() for part in parts), ""


@pytest.mark.parametrize("path", inputs("rans_decode"), ids=name)
def test_fuzzed_streams_decode_the_same_on_every_path(path: Path) -> None:
    fields = Fields(path.read_bytes())
    threads = 1 + fields.number(1) % 2
    cuts = [fields.number(2) for _ in range(fields.number(1) % 4)]
    count = fields.number(2) % (MOST_CLASSES + 1)
    pattern = fields.bytes(fields.number(1)) or b"\x01"
    classes = np.resize(np.frombuffer(pattern, np.uint8), count)
    cuts = [cut % (count + 1) for cut in cuts]
    whole = {decoded(fields.left, classes, [], route, threads) for route in rans.paths()}
    parts = {decoded(fields.left, classes, cuts, route, threads) for route in rans.paths()}
    assert len(whole) == len(parts) == 1
    (_, error), (_, error_in_parts) = *whole, *parts
    assert whole == parts or (error and error_in_parts) or classes.max() >= rans.CLASSES


@pytest.mark.parametrize("path", inputs("rans_encode"), ids=name)
def test_fuzzed_symbols_are_coded_the_same_on_every_path_and_come_back(path: Path) -> None:
    fields = Fields(path.read_bytes())
    lanes = (None, *rans.LANES)[fields.number(1) % 4]
    mode, repeats, chunk, cut_at = fields.number(1), fields.number(1) % 64 + 1, fields.number(1) * 32, fields.number(2)
    threads = 2 if mode & 4 else 1
    unit = len(fields.left) // 3
    pairs = np.frombuffer(fields.left[: 3 * unit], np.uint8).reshape(unit, 3)
    count = min(unit * repeats, MOST_SYMBOLS)
    classes = np.resize(pairs[:, 0], count)
    symbols = np.resize(np.ascontiguousarray(pairs[:, 1:]).view("<i2")[:, 0].astype(np.int16), count)
    if mode & 2:
        symbols = symbols.astype(np.int8).astype(np.int16)
    if not mode & 1:
        classes = classes % np.uint8(rans.CLASSES)
        symbols = np.where(classes == 0, 0, np.where(classes < 64, symbols, symbols & 1)).astype(np.int16)
    outcomes: set[bytes | str] = set()
    for route in rans.paths():
        try:
            outcomes.add(rans.encode(symbols, classes, lanes=lanes, chunk=chunk or None, threads=threads, path=route))
        except ValueError as error:
            assert mode & 1
            outcomes.add(str(error))
    assert len(outcomes) == 1
    coded = outcomes.pop()
    if isinstance(coded, str):
        return
    for route in rans.paths():
        assert decoded(coded, classes, [cut_at % (classes.size + 1)], route, threads) == (symbols.tobytes(), "")


def outcomes_of(call: Callable[[int, str], NDArray[np.uint8]]) -> set[tuple[bytes, str]]:
    """The bytes of the result or the error of a call with (threads, path), over all paths."""
    found = set()
    for threads in (1, 2):
        for route in rans.paths():
            try:
                found.add((call(threads, route).tobytes(), ""))
            except ValueError as error:
                found.add((b"", str(error)))
    return found


def address_of(count: int, last: int, at: tuple[int, int, int]) -> dict[str, int]:
    seed, stream, offset = at
    return {"seed": seed, "stream": stream, "offset": min(offset, last - max(count - 1, 0))}


@pytest.mark.parametrize("path", inputs("palette_child"), ids=name)
def test_fuzzed_nodes_have_the_same_children_on_every_path(path: Path) -> None:
    fields = Fields(path.read_bytes())
    at = fields.number(8), fields.number(8), fields.number(8)
    mode, repeats, _ = fields.number(1), fields.number(1) % 64 + 1, fields.number(2)
    unit = len(fields.left) // 2
    pairs = np.frombuffer(fields.left[: 2 * unit], np.uint8).reshape(unit, 2)
    if not mode & 2:
        pairs = np.stack([pairs[:, 0] % 128, pairs[:, 1] % 128 + 64], 1)
    count = min(unit * repeats, 20000)
    nodes, classes = np.resize(pairs[:, 0], count), np.resize(pairs[:, 1], count)
    address = address_of(count, 2**64 - 1, at)
    found = outcomes_of(lambda threads, route: palette.sample_child(
        nodes, classes, **address, threads=threads, path=route))
    assert len(found) == 1


@pytest.mark.parametrize("path", inputs("palette_nearest"), ids=name)
def test_fuzzed_vectors_have_the_same_leaves_on_every_path(path: Path) -> None:
    fields = Fields(path.read_bytes())
    groups, channels, leaf_count = fields.number(1) % 3 + 1, fields.number(1) % 40 + 1, fields.number(1) + 1
    mode, count = fields.number(1), fields.number(2) % 200
    if mode & 2:
        numbers = np.frombuffer(fields.left, np.int8).astype(np.float32) // 32
    else:
        numbers = np.frombuffer(fields.left[: len(fields.left) // 4 * 4], ">f4").astype(np.float32)
    leaves = np.resize(numbers, (groups, leaf_count, channels))
    vectors = np.resize(numbers[::-1], (count, groups, channels))
    found = outcomes_of(lambda threads, route: palette.nearest(
        vectors, leaves, threads=threads, path=route))
    assert len(found) == 1


@pytest.mark.parametrize("path", inputs("palette_posterior"), ids=name)
def test_fuzzed_steps_give_the_same_categories_on_every_path(path: Path) -> None:
    fields = Fields(path.read_bytes())
    at = fields.number(8), fields.number(8), fields.number(8)
    kind, categories, mode, depths = fields.number(1) % 3, fields.number(1) + 1, fields.number(1), fields.number(1)
    late = min(fields.number(8) / 2**64, 0.999)
    early = max(fields.number(8) / 2**64, late, 0.001)
    count = min(fields.number(2), 12000 // categories)
    rest = np.frombuffer(fields.left or b"\0", np.uint8)
    transition: palette.Uniform | palette.Absorbing | palette.Tree
    if kind == 2:
        depth = (categories - 1) % 8 + 1
        categories, transition = 1 << depth, palette.Tree(depths % depth)
        states = np.resize(rest, count) % np.uint8(1 << transition.depth)
    else:
        categories = min(categories, 255 if kind else 256)
        transition = palette.Absorbing(late, early) if kind else palette.Uniform(late, early)
        states = (np.resize(rest, count).astype(np.int64) % (categories + kind)).astype(np.uint8)
    logits = np.resize(rest[: rest.size // 2 * 2].view(np.int16) >> (mode >> 2 & 7), (count, categories))
    address = address_of(count, 2**63 - 1, at)
    found = outcomes_of(lambda threads, route: palette.posterior_sample(
        logits, states, transition, **address, threads=threads, path=route))
    assert len(found) == 1
    assert not found.pop()[1]


@pytest.mark.parametrize("path", inputs("palette_tree"), ids=name)
def test_fuzzed_content_makes_the_same_tree_in_any_order(path: Path) -> None:
    fields = Fields(path.read_bytes())
    channels, depth, _ = fields.number(1) % 24 + 1, fields.number(1) % 9, fields.number(1)
    rounds, _ = fields.number(1) % 16, fields.number(1)
    count = max(1, len(fields.left) // channels)
    vectors = np.resize(np.frombuffer(fields.left or b"\0", np.int8), (count, channels)).astype(np.float32)
    tree = palette.build_tree(vectors, depth, rounds=rounds)
    turned = palette.build_tree(np.ascontiguousarray(vectors[::-1]), depth, rounds=rounds)
    assert tree.populations[0] == count
    for ours, theirs in zip(tree.nodes, turned.nodes, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def sized(numbers: NDArray[np.int16], limit: int) -> NDArray[np.int16]:
    """The remainder as C++ has it, with the sign of the number."""
    return np.fmod(numbers, np.int16(limit + 1)).astype(np.int16)


@pytest.mark.parametrize("path", inputs("shift_operators"), ids=name)
def test_fuzzed_cells_are_shifted_the_same_on_every_path(path: Path) -> None:
    fields = Fields(path.read_bytes())
    channels = (1, 2, 3, 7, 8, 9, 17, 25)[fields.number(1) % 8]
    rows, columns = fields.number(1) % 5, fields.number(1) % 5
    mode, count = fields.number(1), fields.number(1) % 16
    given = np.frombuffer(fields.bytes(4 * count).ljust(4 * count, b"\0"), np.int8).reshape(count, 4).astype(np.int64)
    cells, vectors = given[:, :2].copy(), given[:, 2:].astype(np.int8)
    if not mode & 4:
        cells = np.abs(cells) % np.array([max(rows, 1), max(columns, 1)])
        vectors = np.fmod(vectors, np.int8(65)).astype(np.int8)
    size = 2 * (1 + fields.number(1))
    pattern = np.frombuffer(fields.bytes(size).ljust(size, b"\0"), "<i2").astype(np.int16)
    weights = np.resize(pattern if mode & 1 else sized(pattern, 2000), (9, 9, 9 * channels, channels))
    rest = np.frombuffer(fields.left[:len(fields.left) // 2 * 2] or b"\0\0", "<i2").astype(np.int16)
    state = np.resize(rest if mode & 2 else sized(rest, 1024), (channels, 2 * rows, 2 * columns))
    found = set()
    for threads in (1, 3):
        for route in noise.paths():
            try:
                shifted = ShiftOperators(weights, path=route).shift(state, cells, vectors, threads=threads)
                found.add((shifted.tobytes(), ""))
            except ValueError as error:
                found.add((b"", str(error)))
    assert len(found) == 1
    assert not found.pop()[1] or mode & 7 or not rows * columns


@pytest.mark.parametrize("path", inputs("block_motion"), ids=name)
def test_fuzzed_planes_have_the_same_motion_on_any_number_of_threads_and_by_warps(path: Path) -> None:
    fields = Fields(path.read_bytes())
    cell = 8 << fields.number(1) % 3
    rows, columns, wanted = fields.number(1) % 4 + 1, fields.number(1) % 4 + 1, fields.number(1) % 32 + 1
    mode, dy, dx = fields.number(1), *np.frombuffer(fields.bytes(2).ljust(2, b"\0"), np.int8).astype(int)
    reach = 32 if mode & 4 else wanted
    samples = np.frombuffer(fields.left or b"\0", np.uint8)
    shape = rows * cell, columns * cell
    previous, other = np.resize(samples, shape), np.resize(samples[::-1], shape)
    y, x = np.indices(shape)
    moved = previous[(y + dy).clip(0, shape[0] - 1), (x + dx).clip(0, shape[1] - 1)] + (other % 8 if mode & 2 else 0)
    current = np.minimum(moved, 255).astype(np.uint8) if mode & 1 else other
    vectors, sums = block_motion(previous, current, cell=cell, reach=reach)
    found = [block_motion(previous, current, cell=cell, reach=reach, threads=2)]
    if cell == 16 and reach == 32:
        found.append((np.empty_like(vectors), np.empty_like(sums)))
        device = Device.on_cpu()
        scratch = np.empty(device.block_motion_scratch_bytes(*shape) // 16, np.complex128)
        device.block_motion(previous, current, *found[1], scratch)
    for again in found:
        np.testing.assert_array_equal(vectors, again[0])
        np.testing.assert_array_equal(sums, again[1])
    assert np.abs(vectors.astype(int)).max() <= 2 * reach
    worth = np.where(vectors.any(-1), cell * cell // 2, 0)
    assert (sums[..., 1] + worth <= sums[..., 0]).all()


@pytest.mark.parametrize("path", inputs("vector_errors"), ids=name)
def test_fuzzed_vectors_leave_the_same_errors_on_every_path(path: Path) -> None:
    fields = Fields(path.read_bytes())
    channels = (1, 2, 3, 8, 9, 17, 25)[fields.number(1) % 7]
    rows, columns, count = fields.number(1) % 4, fields.number(1) % 4, fields.number(1) % 5
    mode, exponent = fields.number(1), int(np.array(fields.number(1), np.uint8).astype(np.int8))
    size = 4 * (1 + fields.number(1))
    raw = np.frombuffer(fields.bytes(size).ljust(size, b"\0"), np.uint8)
    scale = 2.0 ** math.fmod(exponent, 64)
    pattern = raw.view("<f4") if mode & 1 else raw.view("<i2")[::2] * scale
    size = 2 * (1 + fields.number(1) % 8)
    pool = np.frombuffer(fields.bytes(size).ljust(size, b"\0"), np.int8).reshape(-1, 2)
    if not mode & 2:
        pool = np.fmod(pool, np.int8(65)).astype(np.int8)
    shape = channels, 2 * rows, 2 * columns
    rest = np.frombuffer(fields.left or b"\0", np.uint8)
    values = np.resize(rest, (2 * int(np.prod(shape)), 4))
    latents = values.view("<f4")[:, 0] if mode & 1 else values.view("<i2")[:, 0] / 1024
    wanted, state = (np.ascontiguousarray(latents[n::2], np.float32).reshape(shape) for n in (0, 1))
    cells = np.arange(count * rows * columns)
    offered = pool[(cells + np.resize(rest, cells.size)) % len(pool)].reshape(count, rows, columns, 2)
    shifts = ((np.arange(81 * 9 * channels**2, dtype=np.uint64) * 2654435761 % 2**32 >> 24 & 63).astype(np.int16) - 32)
    found = set()
    for threads in (1, 3):
        for route in noise.paths():
            operators = ShiftOperators(shifts.reshape(9, 9, 9 * channels, channels), path=route)
            try:
                forms = ErrorForms(np.resize(pattern, (2, channels, channels)).astype(np.float32), path=route)
                found.add((forms.errors(operators, wanted, state, offered, threads=threads).tobytes(), ""))
            except ValueError as error:
                found.add((b"", str(error)))
    assert len(found) == 1
    assert not found.pop()[1] or mode & 3


@pytest.mark.parametrize("path", inputs("motion_choice"), ids=name)
def test_fuzzed_offers_are_chosen_from_where_an_error_is_left_of_less_cost(path: Path) -> None:
    fields = Fields(path.read_bytes())
    rows, columns, count = fields.number(1) % 6, fields.number(1) % 6, fields.number(1) % 5 + 1
    mode, worth = fields.number(1), fields.number(2) / 256
    stay, same, other, length = (fields.number(1) / 4 for _ in range(4))
    rest = np.frombuffer(fields.left or b"\0", np.uint8)
    values = np.resize(rest, (count * rows * columns, 4))
    errors = (values.view("<f4")[:, 0] if mode & 1 else values[:, 0]).astype(np.float32).reshape(count, rows, columns)
    byte = np.resize(rest[::-1], (count + 3) * rows * columns * 2).astype(int)
    components = np.where(byte % 2 == 0, byte // 2 % 9 - 4, byte - 128).astype(np.int8)
    offered = components[:errors.size * 2].reshape(count, rows, columns, 2)
    if not mode & 2:
        offered[0] = 0
    before = components[errors.size * 2::3][:rows * columns * 2].reshape(rows, columns, 2).copy()
    prices = VectorPrices(stay=stay, same=same, other=other, length=length)
    try:
        found = choose_motion(offered, errors, before, worth=worth, prices=prices)
    except ValueError:
        assert mode & 3
        return
    for y, x in np.argwhere(found.any(2)):
        taken = (offered[:, y, x] == found[y, x]).all(1)
        with np.errstate(over="ignore"):
            assert np.float32(worth) * errors[taken, y, x].min() < np.float32(worth) * errors[0, y, x] + stay


@pytest.mark.parametrize("path", inputs("picture_error"), ids=name)
def test_fuzzed_latents_have_the_same_error_on_every_path(path: Path) -> None:
    fields = Fields(path.read_bytes())
    channels, rows, columns = fields.number(1) % 16 + 1, fields.number(1) % 8, fields.number(1) % 8
    mode = fields.number(1)
    size = 4 * (1 + fields.number(1))

    def numbers(data: bytes, count: int) -> NDArray[np.float32]:
        raw = np.resize(np.frombuffer(data or b"\0", np.uint8), (count, 4))
        found = raw.view("<f4")[:, 0] if mode & 1 else raw.view("<i2")[:, 0] / 256
        return np.ascontiguousarray(found, np.float32)

    weights = np.resize(numbers(fields.bytes(size).ljust(size, b"\0"), size // 4), (2, channels, channels))
    error = numbers(fields.left, channels * 4 * rows * columns).reshape(channels, 2 * rows, 2 * columns)
    expected = picture_error(error, weights)
    for threads in (1, 3):
        for route in noise.paths():
            np.testing.assert_array_equal(picture_error(error, weights, threads=threads, path=route), expected)
