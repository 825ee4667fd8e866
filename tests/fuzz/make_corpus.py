"""Writes the seed inputs of the fuzz targets: ``python tests/fuzz/make_corpus.py`` (anywhere, duoview installed).

Each target's .cpp says which fields its input has. The seeds lead the fuzzer to where random bytes would not bring it
soon: whole streams of every kind. Inputs of past findings (``crash-*``) are kept beside them and never rewritten.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from duoview.kernels import rans

HERE = Path(__file__).resolve().parent
CORPUS = HERE / "corpus"
EDGES = (0, 1, 2**31 - 1, 2**32 - 1, 2**64 - 1)


def little(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little")


def repeated(pattern: bytes, count: int) -> NDArray[np.uint8]:
    """The classes of a decoding target: the pattern again and again, class 1 where there is none."""
    return np.resize(np.frombuffer(pattern or b"\x01", np.uint8), count)


def symbols_of(classes: NDArray[np.uint8], seed: int, escapes: bool) -> NDArray[np.int16]:
    """Symbols as their classes expect them, every 23rd far out where ``escapes`` are wanted."""
    rng = np.random.default_rng(seed)
    k = classes.astype(np.int64)
    gaussian = np.rint(rng.standard_normal(k.size) * rans.scales()[np.minimum(k, 63)])
    if escapes:
        gaussian[::23] = rng.choice([-32768, 32767, 130, -1000], gaussian[::23].size)
    return np.where(k == 0, 0, np.where(k < 64, gaussian, rng.random(k.size) < 0.5)).astype(np.int16)


def zeros(count: int, class_index: int) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    return np.zeros(count, np.int16), np.full(count, class_index, np.uint8)


def crc32c() -> Iterator[tuple[str, bytes]]:
    for size, shift in ((0, 0), (9, 0), (64, 3), (200, 15)):
        start = little(0xE3069283 * (size > 9), 4)
        yield f"size_{size}", start + bytes([shift]) + little(size // 3, 2) + bytes(range(size))


def noise() -> Iterator[tuple[str, bytes]]:
    for number, offset in enumerate((0, 5, 2**33 + 1, 2**64 - 40)):
        seed, stream = EDGES[number], EDGES[-1 - number]
        address = b"".join(little(word, 8) for word in (seed, stream, offset))
        yield f"offset_{number}", address + little(100, 2) + little(33, 2)


def rans_decode() -> Iterator[tuple[str, bytes]]:
    patterns = {"dense": bytes([1, 20, 40, 63]), "sparse": bytes([0, 0, 30, 0, 100]), "binary": bytes([64, 127, 191])}
    for lanes in rans.LANES:
        for name, pattern in patterns.items():
            for chunk in (None, 64):
                count = 150 if chunk else {1: 40, 4: 60, 32: 400}[lanes]
                classes = repeated(pattern, count)
                symbols = symbols_of(classes, lanes, escapes=name == "dense")
                stream = rans.encode(symbols, classes, lanes=lanes, chunk=chunk)
                cuts = bytes([2]) + little(7, 2) + little(count * 2 // 3, 2)
                front = bytes([1 if chunk else 0]) + cuts + little(count, 2) + bytes([len(pattern)]) + pattern
                yield f"{name}_{lanes}{'_chunks' if chunk else ''}", front + stream
    # What random changes would not find soon. States so low that every lane needs a word at once, and one too few.
    for words in (31, 32, 64):
        front = bytes([0, 0]) + little(max(words, 32), 2) + bytes([1, 63])
        yield f"hungry_{words}", front + b"\xe2" + 32 * little(1 << 16, 4) + bytes(range(1, 2 * words + 1))
    # A header that would be right if its numbers were in their shortest form: a byte 0 behind each of them in turn.
    front, stream = bytes([0, 0]) + little(96, 2) + bytes([1, 20]), rans.encode(*zeros(96, 20), lanes=1, chunk=32)
    for place in range(1, 6):
        yield f"long_{place}", front + stream[:place] + bytes([stream[place] | 0x80, 0]) + stream[place + 1:]


def picture_error() -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(13)

    def numbers(count: int) -> bytes:
        return rng.integers(-600, 601, count).astype("<i4").tobytes()

    for number, (channels, rows, columns) in enumerate(((1, 1, 1), (5, 2, 4), (6, 3, 7), (13, 4, 5), (16, 7, 1))):
        yield f"planes_{number}", bytes([channels - 1, rows, columns, 0, 99]) + numbers(100) + numbers(61)
    floats = (1e18 * rng.standard_normal(60)).astype("<f4").tobytes()
    yield "as_they_come", bytes([7, 3, 3, 1, 19]) + floats
    yield "not_finite", bytes([7, 3, 3, 1, 0]) + floats[:4] + np.array([1, np.nan, np.inf, 2, 3], "<f4").tobytes()
    yield "no_rows", bytes([7, 0, 3, 0, 0]) + numbers(9)


def rans_encode() -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(1)
    for choice, lanes in enumerate((None, *rans.LANES)):
        for name, top in (("gaussian", 64), ("all", 192)):
            classes = rng.integers(0, top, 24).astype(np.uint8)
            symbols = symbols_of(classes, choice, escapes=True)
            pairs = b"".join(bytes([k]) + little(int(s) % 2**16, 2) for k, s in zip(classes, symbols, strict=True))
            front = bytes([choice, (0, 2, 4, 6)[choice], 10, choice]) + little(100, 2)
            yield f"{name}_{lanes or 'any'}", front + pairs
    yield "bad_class", bytes([0, 1, 0, 0]) + little(0, 2) + bytes([200, 0, 0])


def address(seed: int, stream: int, offset: int) -> bytes:
    return b"".join(little(word, 8) for word in (seed, stream, offset))


def checkerboard() -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(6)
    for number, (channels, height, width) in enumerate(((2, 3, 5), (5, 1, 4), (0, 2, 2), (1, 4, 1), (4, 3, 3))):
        mode, margin = (0, 3, 0, 2, 4)[number], np.array([(0, 0.1, 0, 0.25, 0)[number]], "<f4").tobytes()
        values = rng.normal(0, 9, channels * height * width).astype("<f4")
        cells = (
            (little(int(4 * value) % 2**16, 2) if mode & 2 else value.tobytes())
            + little(int(rng.integers(-60, 60)) % 2**16, 2)
            + bytes([int(rng.integers(0, 256 if mode & 1 else 64))])
            for value in values
        )
        yield f"{channels}x{height}x{width}", bytes([channels, height, width, mode]) + margin + b"".join(cells)


def block_motion() -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(7)
    texture = rng.integers(0, 256, 337).astype(np.uint8).tobytes()  # a prime: rows differ
    grids = (1, 3, 2, 31), (0, 3, 3, 3), (2, 1, 2, 20), (1, 0, 0, 0), (1, 3, 1, 7)
    for number, (cell, rows, columns, reach) in enumerate(grids):
        mode, dy, dx = ((1, 5, 249), (1, 0, 2), (3, 250, 9), (1, 1, 0), (0, 0, 0))[number]
        yield f"{8 << cell}_{rows + 1}x{columns + 1}", bytes([cell, rows, columns, reach, mode, dy, dx]) + texture
    yield "flat", bytes([1, 2, 2, 31, 1, 9, 9, 100])


def palette_child() -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(2)
    pairs = np.stack([rng.integers(0, 128, 90), rng.integers(64, 192, 90)], 1).astype(np.uint8).tobytes()
    yield "even", address(1, 2, 0) + bytes([0, 0]) + little(33, 2) + pairs
    yield "odd_blocks", address(2**64 - 1, 0, 2**40 + 1) + bytes([1, 63]) + little(4097, 2) + pairs
    yield "bad_class", address(0, 0, 0) + bytes([2, 0]) + little(0, 2) + pairs[:20] + bytes([3, 200])


def palette_posterior() -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(3)
    rest = rng.integers(0, 256, 150).astype(np.uint8).tobytes()
    third = little((1 << 64) // 3, 8)
    for number, name in enumerate(("uniform", "absorbing", "tree")):
        for categories in (1, 16, 37, 64, 255, 256):
            mode, rows = categories % 2 + 4 * (categories % 5), 12000 // categories if categories == 16 else 20
            front = address(number, categories, 7) + bytes([number, categories - 1, mode, 0x13])
            yield f"{name}_{categories}", front + 4 * third + little(1 << 30, 8) + little(rows, 2) + little(9, 2) + rest


def palette_nearest() -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(4)
    floats = rng.standard_normal(40).astype("<f4").tobytes()
    for number, (groups, channels, leaves) in enumerate(((1, 3, 16), (1, 1, 256), (3, 4, 7), (2, 33, 64))):
        mode = (0, 2, 9, 19)[number]
        front = bytes([groups - 1, channels - 1, leaves - 1, mode])
        yield f"{groups}x{channels}x{leaves}", front + little(50 + 20 * number, 2) + floats
    yield "infinite", bytes([0, 1, 3, 4]) + little(20, 2) + floats[:40] + np.float32(np.inf).tobytes()


def palette_tree() -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(5)
    floats = rng.standard_normal(60).astype("<f4").tobytes()
    yield "floats", bytes([2, 3, 0, 9, 10]) + floats
    yield "weighed", bytes([0, 8, 1, 15, 12]) + floats
    yield "small", bytes([4, 6, 2, 4]) + rng.integers(0, 256, 120).astype(np.uint8).tobytes()
    yield "alike", bytes([1, 5, 3, 3]) + 12 * bytes([7, 9, 1, 0, 0, 0])
    yield "off_the_grid", bytes([0, 1, 0, 1, 60]) + floats[:16]


def shift_operators() -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(7)

    def numbers(limit: int, count: int) -> bytes:
        return rng.integers(-limit, limit + 1, count).astype("<i2").tobytes()

    def places(count: int) -> bytes:
        return bytes([count]) + rng.integers(0, 256, 4 * count).astype(np.uint8).tobytes()

    for choice, (rows, columns, limit) in enumerate((
            (1, 1, 2000), (2, 3, 500), (4, 1, 400), (1, 4, 300), (3, 3, 300), (2, 2, 250), (1, 2, 150), (2, 1, 100))):
        yield f"channels_{choice}", (bytes([choice, rows, columns, 0]) + places(6) + bytes([250]) + numbers(limit, 251)
                                     + numbers(1024, 100))
    yield "no_cells", bytes([4, 2, 2, 0, 0, 10]) + numbers(99, 11) + numbers(1024, 9)
    yield "no_positions", bytes([1, 0, 3, 0]) + places(2) + bytes([10]) + numbers(99, 11)
    yield "too_heavy", bytes([5, 2, 2, 1]) + places(3) + bytes([20]) + numbers(8000, 21) + numbers(1024, 30)
    yield "too_large", bytes([2, 2, 2, 1]) + places(3) + bytes([20]) + numbers(32767, 21) + numbers(1024, 30)
    yield "beyond", bytes([3, 2, 2, 2]) + places(3) + bytes([20]) + numbers(99, 21) + numbers(32767, 30)
    yield "outside", bytes([3, 2, 2, 4]) + places(3) + bytes([20]) + numbers(99, 21) + numbers(1024, 30)


def vector_errors() -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(11)

    def floats(count: int) -> bytes:
        return rng.standard_normal(count).astype("<f4").tobytes()

    def weights(count: int) -> bytes:
        return bytes([count - 1]) + rng.integers(-3000, 3001, count).astype("<i4").tobytes()

    def pool(count: int) -> bytes:
        return bytes([count - 1]) + rng.integers(-64, 65, 2 * count).astype(np.int8).tobytes()

    def latents(count: int) -> bytes:
        return rng.integers(0, 256, count).astype(np.uint8).tobytes()

    for choice, (rows, columns, count) in enumerate(((1, 1, 2), (2, 3, 3), (3, 1, 4), (1, 3, 2), (2, 2, 3), (2, 1, 4),
                                                     (1, 2, 1))):
        yield f"channels_{choice}", (bytes([choice, rows, columns, count, 0, 256 - 6]) + weights(251) + pool(4)
                                     + latents(301))
    yield "as_they_come", bytes([3, 2, 2, 2, 1, 0, 49]) + floats(50) + pool(3) + floats(40)
    yield "not_finite", bytes([3, 2, 2, 2, 1, 0, 1]) + floats(1) + np.float32(np.nan).tobytes() + pool(3) + floats(40)
    yield "state_not_finite", (bytes([3, 2, 2, 2, 1, 0, 1]) + floats(2) + pool(3) + floats(7)
                               + np.float32(np.inf).tobytes() + floats(5))
    yield "outside", bytes([3, 2, 2, 2, 2, 0]) + weights(20) + bytes([1, 100, 3, 5, 156]) + latents(50)
    yield "heavy", bytes([5, 1, 1, 2, 0, 50]) + weights(20) + pool(2) + latents(50)
    yield "no_vectors", bytes([3, 2, 2, 0, 0, 0]) + weights(20) + pool(2) + latents(50)
    yield "no_cells", bytes([3, 0, 2, 3, 0, 0]) + weights(20) + pool(2) + latents(50)
    yield "nothing_but_zero", bytes([3, 2, 2, 2, 0, 0]) + weights(20) + bytes([0, 0, 0]) + latents(50)


def motion_choice() -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(12)
    prices = bytes([2, 5, 14, 8])

    def rest(count: int, most: int = 256) -> bytes:
        return rng.integers(0, most, count).astype(np.uint8).tobytes()

    for number, (rows, columns, count) in enumerate(((1, 1, 2), (5, 5, 5), (3, 4, 3), (1, 5, 4), (5, 1, 2))):
        yield f"field_{number}", bytes([rows, columns, count - 1, 0]) + little(256, 2) + prices + rest(301)
    yield "small", bytes([5, 5, 3, 0]) + little(60, 2) + prices + rest(97, 8)
    yield "as_they_come", bytes([3, 3, 1, 1]) + little(256, 2) + prices + rng.random(50).astype("<f4").tobytes()
    yield "not_a_number", bytes([2, 2, 1, 1]) + little(256, 2) + prices + np.float32(np.nan).tobytes()
    yield "infinite", bytes([2, 2, 1, 1]) + little(0, 2) + prices + np.float32(np.inf).tobytes()
    yield "first_not_zero", bytes([2, 2, 1, 2]) + little(256, 2) + prices + rest(31)
    yield "free", bytes([4, 4, 4, 0]) + little(256, 2) + bytes(4) + rest(131, 16)
    yield "no_cells", bytes([0, 3, 2, 0]) + little(256, 2) + prices + rest(31)


TARGETS = {
    "block_motion": block_motion,
    "checkerboard": checkerboard,
    "crc32c": crc32c,
    "motion_choice": motion_choice,
    "noise": noise,
    "palette_child": palette_child,
    "palette_nearest": palette_nearest,
    "palette_posterior": palette_posterior,
    "palette_tree": palette_tree,
    "picture_error": picture_error,
    "rans_decode": rans_decode,
    "rans_encode": rans_encode,
    "rans_warp_decode": rans_decode,
    "shift_operators": shift_operators,
    "vector_errors": vector_errors,
}


def main() -> None:
    for target, seeds in TARGETS.items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("seed-*"):
            old.unlink()
        for name, data in seeds():
            (folder / f"seed-{name}").write_bytes(data)


if __name__ == "__main__":
    main()
