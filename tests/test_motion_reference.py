"""Motion fields are read as the documentation of the stream says: by a second reader that was written from it."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duoview import kernels
from duoview.errors import BitstreamError
from duoview.motion_field import LIMIT, MotionField

HERE = Path(__file__).parent
REFERENCE = SimpleNamespace(**runpy.run_path(str(HERE / "reference_motion.py")))
SHAPES = [(4, 4), (4, 8), (8, 4), (8, 12)]
components = st.integers(-LIMIT, LIMIT)


def reference(data: bytes, before: MotionField) -> MotionField | None:
    """What the second reader makes of bytes; None where it refuses them, as for bytes that end too early."""
    decoder = kernels.Decoder(data)
    rows = [[tuple(vector) for vector in row] for row in before.vectors.tolist()]
    try:
        found = REFERENCE.read(lambda kind: int(decoder.decode(np.array([kind], np.uint8))[0]), rows)
        decoder.finish()
    except (BitstreamError, REFERENCE.Refused):
        return None
    return MotionField(np.array(found, np.int8))


def ours(data: bytes, before: MotionField) -> MotionField | None:
    try:
        decoder = kernels.Decoder(data)
        found = MotionField.read(decoder, before)
        decoder.finish()
    except BitstreamError:
        return None
    return found


def same(a: MotionField | None, b: MotionField | None) -> bool:
    if a is None or b is None:
        return a is b
    return bool(np.array_equal(a.vectors, b.vectors))


@st.composite
def fields(draw: st.DrawFn, rows: int, columns: int) -> MotionField:
    """Of few different vectors, so that expected ones and medians come up, some of them as far as it goes."""
    some = [(0, 0), *draw(st.lists(st.tuples(components, components), min_size=1, max_size=4))]
    drawn = draw(st.lists(st.sampled_from(some), min_size=rows * columns, max_size=rows * columns))
    return MotionField(np.array(drawn, np.int8).reshape(rows, columns, 2))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[MotionField, MotionField]:
    shape = draw(st.sampled_from(SHAPES))
    return draw(fields(*shape)), draw(fields(*shape))


@given(pairs())
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_what_the_documentation_reads(pair: tuple[MotionField, MotionField]) -> None:
    field, before = pair
    symbols, classes = zip(*field.write(before), strict=True)
    data = kernels.encode(np.concatenate(symbols), np.concatenate(classes))
    assert same(reference(data, before), field)
    assert same(ours(data, before), field)


def plausible(seed: int, before: MotionField) -> tuple[bytes, list[int]]:
    """Decisions at random, half of them as their class has them, through the second reader until it ends."""
    random = np.random.default_rng(seed)
    symbols: list[int] = []
    classes: list[int] = []
    even = random.random() < 0.5

    def decide(kind: int) -> int:
        likely = 0.5 if even else (kind - 63.5) / 128
        symbols.append(int(random.random() < likely))
        classes.append(kind)
        return symbols[-1]

    try:
        REFERENCE.read(decide, [[tuple(vector) for vector in row] for row in before.vectors.tolist()])
        ended = [1]
    except REFERENCE.Refused:
        ended = []
    return kernels.encode(np.array(symbols, np.int16), np.array(classes, np.uint8)), ended


@given(st.integers(0, 2**32), st.sampled_from(SHAPES), st.data())
@settings(max_examples=80, deadline=None)
def test_decisions_of_any_kind_are_taken_or_refused_by_both_readers_alike(
        seed: int, shape: tuple[int, int], data: st.DataObject) -> None:
    before = data.draw(fields(*shape))
    payload, ended = plausible(seed, before)
    found = ours(payload, before)
    assert (found is not None) == bool(ended)
    assert same(found, reference(payload, before))


def test_those_decisions_are_refused_and_taken_both_often_enough_to_tell() -> None:
    before = MotionField.still(4, 4)
    taken = sum(bool(plausible(seed, before)[1]) for seed in range(100))
    assert 20 < taken < 98


@pytest.mark.parametrize("component", range(-LIMIT, LIMIT + 1))
def test_every_difference_is_written_in_as_many_bits_as_it_has(component: int) -> None:
    before = MotionField.still(4, 4)
    vectors = before.vectors.copy()
    vectors[1, 1], vectors[1, 2] = (component, 1), (-component, 2)
    field = MotionField(vectors)
    symbols, classes = zip(*field.write(before), strict=True)
    data = kernels.encode(np.concatenate(symbols), np.concatenate(classes))
    assert same(reference(data, before), field)
