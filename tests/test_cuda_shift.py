"""The CUDA programs that move latents and measure vectors beside the CPU's kernels, and the errors of callers."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from duoview.kernels import ErrorForms, ShiftOperators
from duoview.kernels.cuda import Device
from duoview.kernels.cuda_driver import HostDriver

DEVICES = st.sampled_from([Device.on_cpu(), Device.on(HostDriver(backwards=True))])
CHANNELS = (1, 2, 3, 13, 31, 33, 48, 128)  # pairs and what is left of them, one to four blocks of lanes
COMPONENTS = st.one_of(st.integers(-64, 64), st.sampled_from([-64, -9, -8, -1, 0, 0, 0, 1, 7, 8, 64]))


@functools.cache
def operators(channels: int) -> tuple[ShiftOperators, NDArray[np.uint32]]:
    """Operators as large as the proof allows random ones to be, and what a device has of them."""
    limit = min(4000, 40000 // channels)
    weights = np.random.default_rng(channels).integers(-limit, limit + 1, (9, 9, 9 * channels, channels))
    made = ShiftOperators(weights.astype(np.int16))
    return made, made.summed()


@functools.cache
def forms(channels: int) -> tuple[ErrorForms, NDArray[np.int16]]:
    made = ErrorForms(np.random.default_rng(channels).normal(0, 20, (2, channels, channels)).astype(np.float32))
    return made, made.integers()


def latent(seed: int, shape: tuple[int, ...], spread: float) -> NDArray[np.float32]:
    return (spread * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def compensated(device: Device, state: NDArray[np.float32], vectors: NDArray[np.int8]) -> NDArray[np.float32]:
    shape, found, status = state.shape[1:], np.full_like(state, np.nan), np.zeros(2, np.uint64)
    scratch = np.full(device.compensate_scratch_bytes(*shape) // 16, np.nan, np.complex128)
    device.compensate(state, vectors, operators(shape[0])[1], found, scratch, status)
    device.check(status)
    return found


def measured(device: Device, wanted: NDArray[np.float32], state: NDArray[np.float32], offered: NDArray[np.int8]
             ) -> NDArray[np.float32]:
    shape, status = state.shape[1:], np.zeros(2, np.uint64)
    found = np.full(offered.shape[:3], np.nan, np.float32)
    scratch = np.full(device.vector_errors_scratch_bytes(*shape) // 16 + 1, np.nan, np.complex128)
    device.vector_errors(wanted, state, offered, operators(shape[0])[1], forms(shape[0])[1], found, scratch, status,
                         unit_bits=forms(shape[0])[0].unit_bits)
    device.check(status)
    return found


@st.composite
def fields(draw: st.DrawFn, count: int) -> NDArray[np.int8]:
    """(count, rows, columns, 2) vectors of any size, few of which are alike, or many."""
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    some = draw(st.lists(st.tuples(COMPONENTS, COMPONENTS), min_size=1, max_size=8))
    taken = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).integers(0, len(some), (count, rows, columns))
    return np.array(some, np.int8)[taken]


@settings(deadline=None)  # the first example of each number of channels packs its operators
@given(DEVICES, st.sampled_from(CHANNELS), fields(1), st.integers(0, 2**32 - 1), st.sampled_from([0.01, 0.5, 40.0]))
def test_a_device_moves_a_latent_as_the_cpu_does(device: Device, channels: int, field: NDArray[np.int8], seed: int,
                                                 spread: float) -> None:
    state = latent(seed, (1, channels, 2 * field.shape[1], 2 * field.shape[2]), spread)
    np.testing.assert_array_equal(compensated(device, state, field[0]),
                                  operators(channels)[0].compensate(state[0], field[0])[None])


@settings(deadline=None)
@given(DEVICES, st.sampled_from(CHANNELS), st.integers(1, 5).flatmap(fields), st.integers(0, 2**32 - 1),
       st.sampled_from([0.01, 0.5, 40.0]))
def test_a_device_measures_vectors_as_the_cpu_does(device: Device, channels: int, offered: NDArray[np.int8], seed: int,
                                                   spread: float) -> None:
    shape = 1, channels, 2 * offered.shape[1], 2 * offered.shape[2]
    wanted, state = latent(seed, shape, spread), latent(seed + 1, shape, spread)
    expected = forms(channels)[0].errors(operators(channels)[0], wanted[0], state[0], offered)
    np.testing.assert_array_equal(measured(device, wanted, state, offered), expected)


@pytest.mark.parametrize("spread", [1e-6, 1e3, 1e30])
def test_errors_are_in_the_units_of_the_cpu_however_large_forms_are(spread: float) -> None:
    form = ErrorForms((spread * np.random.default_rng(2).standard_normal((2, 3, 3))).astype(np.float32))
    device, state, wanted = Device.on_cpu(), latent(3, (1, 3, 4, 4), 1.0), latent(4, (1, 3, 4, 4), 1.0)
    offered = np.stack([np.zeros((2, 2, 2), np.int8), np.full((2, 2, 2), 9, np.int8)])
    found, scratch = np.zeros((2, 2, 2), np.float32), np.zeros(64, np.complex128)
    device.vector_errors(wanted, state, offered, operators(3)[1], form.integers(), found, scratch,
                         np.zeros(2, np.uint64), unit_bits=form.unit_bits)
    np.testing.assert_array_equal(found, form.errors(operators(3)[0], wanted[0], state[0], offered))


def test_halves_are_rounded_to_even_and_latents_kept_within_their_limits() -> None:
    device, channels = Device.on_cpu(), 3
    state = np.resize(np.array([0.5, 1.5, -0.5, -2.5, 1e-3, -1e30, 3e38, 1023.5, -1024.5, 2.0**-149]) / 64,
                      (1, channels, 8, 8)).astype(np.float32)
    field = np.full((4, 4, 2), (16, -16), np.int8)
    np.testing.assert_array_equal(compensated(device, state, field),
                                  operators(channels)[0].compensate(state[0], field)[None])
    offered = np.stack([np.zeros_like(field), field])
    np.testing.assert_array_equal(measured(device, 3 * state, state, offered),
                                  forms(channels)[0].errors(operators(channels)[0], 3 * state[0], state[0], offered))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_an_error_that_names_its_place(wrong: float) -> None:
    device, good, field = Device.on_cpu(), np.zeros((1, 3, 4, 4), np.float32), np.ones((2, 2, 2), np.int8)
    bad = good.copy()
    bad[0, 2, 1, 3] = wrong
    with pytest.raises(ValueError, match="state holds a number that is not finite at flat index 39"):
        compensated(device, bad, field)
    with pytest.raises(ValueError, match="state holds a number that is not finite at flat index 39"):
        measured(device, good, bad, field[None])
    with pytest.raises(ValueError, match="wanted holds a number that is not finite at flat index 39"):
        measured(device, bad, good, field[None])


def test_vectors_out_of_range_are_an_error_that_names_their_place() -> None:
    device, state, field = Device.on_cpu(), np.zeros((1, 3, 4, 4), np.float32), np.zeros((2, 2, 2), np.int8)
    field[1, 0] = 3, -65
    with pytest.raises(ValueError, match=r"vectors holds a component beyond \+-64 half pixels at cell 2"):
        compensated(device, state, field)
    with pytest.raises(ValueError, match=r"offered holds a component beyond \+-64 half pixels at flat vector 6"):
        measured(device, state, state, np.stack([np.zeros_like(field), field]))


def test_what_a_caller_got_wrong_is_named() -> None:
    device, state, field = Device.on_cpu(), np.zeros((1, 3, 4, 4), np.float32), np.zeros((2, 2, 2), np.int8)
    table, status = operators(3)[1], np.zeros(2, np.uint64)
    scratch = np.zeros(device.vector_errors_scratch_bytes(3, 4, 4) // 16, np.complex128)

    def compensate(**wrong: Any) -> None:
        given: dict[str, Any] = {"state": state, "vectors": field, "operators": table, "output": state.copy(),
                                 "scratch": scratch, "status": status} | wrong
        device.compensate(**given)

    compensate()
    for name, array, message in (
            ("state", np.zeros((1, 3, 3, 4), np.float32), "state has shape .*h and w even"),
            ("vectors", np.zeros((2, 3, 2), np.int8), "vectors has shape"),
            ("vectors", np.zeros((2, 2, 2), np.int16), "int8 is needed"),
            ("operators", operators(2)[1], r"operators has shape \(256, 1, 9, 2\); \(256, 2, 9, 3\) is needed"),
            ("output", np.zeros((1, 3, 4, 6), np.float32), "output has shape"),
            ("scratch", np.zeros(2, np.complex128), "scratch has 32 bytes; 128 are needed")):
        with pytest.raises((TypeError, ValueError), match=message):
            compensate(**{name: array})
    wide = np.zeros((1, 129, 2, 2), np.float32)
    with pytest.raises(ValueError, match="state has 129 channels; up to 128 are measured on a device"):
        device.vector_errors(wide, wide, field[None, :1, :1], table, table, state, scratch, status, unit_bits=20)


def test_what_devices_have_of_operators_and_forms_is_what_the_cpu_multiplies_by() -> None:
    weights = np.random.default_rng(4).integers(-99, 100, (9, 9, 27, 3)).astype(np.int16)
    table = ShiftOperators(weights).summed()
    assert table.shape == (256, 2, 9, 3) and table.dtype == np.uint32
    for dy, dx in ((-8, -8), (0, 0), (-3, 5), (7, 7), (4, -1)):
        four = sum(weights[4 + y, 4 + x].astype(int) for y in (dy >> 1, dy + 1 >> 1) for x in (dx >> 1, dx + 1 >> 1))
        inputs = np.concatenate([np.asarray(four).reshape(3, 9, 3), np.zeros((1, 9, 3), int)])
        halves = table[16 * (dy + 8) + dx + 8].view(np.int16).reshape(2, 9, 3, 2)
        np.testing.assert_array_equal(halves.transpose(0, 3, 1, 2).reshape(4, 9, 3), inputs)
    form = np.random.default_rng(5).normal(0, 1, (2, 3, 3)).astype(np.float32)
    made = ErrorForms(form)
    np.testing.assert_array_equal(made.integers(), np.rint(form.astype(np.float64) * 2.0**made.fraction_bits))
