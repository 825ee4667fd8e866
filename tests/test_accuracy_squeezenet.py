"""SqueezeNet of `bench accuracy` in numpy: its convolutions and poolings are those of the definition."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import correlate2d

BENCH = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("accuracy_bench.py"))))
squeezenet = BENCH.module("bench.accuracy.squeezenet")
RANDOM = np.random.default_rng(3)


def weights(classes: int = 5) -> dict[str, NDArray[Any]]:
    """Of a narrow one: 4 channels squeezed, 6 expanded."""
    shapes = {"conv1": (8, 3, 3, 3), "conv10": (classes, 12, 1, 1)}
    for number in squeezenet.FIRES:
        shapes |= {f"fire{number}/squeeze1x1": (4, 8 if number == 2 else 12, 1, 1),
                   f"fire{number}/expand1x1": (6, 4, 1, 1), f"fire{number}/expand3x3": (6, 4, 3, 3)}
    return {f"{name}.{part}": RANDOM.normal(0.1, 0.4, shape if part == "w" else shape[:1]).astype(np.float16)
            for name, shape in shapes.items() for part in "wb"}


def written(path: Path, arrays: dict[str, Any]) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "a.npz", weights())


def test_convolutions_are_those_of_the_definition(file: Path) -> None:
    network = squeezenet.SqueezeNet(file)
    with np.load(file) as content:
        kernel, bias = content["conv1.w"].astype(float), content["conv1.b"].astype(float)
    picture = RANDOM.normal(size=(3, 11, 14)).astype(np.float32)
    expected = np.stack([sum(correlate2d(picture[depth], kernel[out, depth], "valid") for depth in range(3)) + bias[out]
                         for out in range(8)])[:, ::2, ::2]
    assert np.allclose(network._convolved("conv1", picture, stride=2), np.maximum(expected, 0), atol=1e-4)
    around = network._convolved("conv1", picture, around=1)
    assert around.shape == (8, 11, 14)


@settings(deadline=None)
@given(st.integers(3, 20), st.integers(3, 20))
def test_the_last_window_of_a_pooling_may_hang_over_the_edge(height: int, width: int) -> None:
    values = RANDOM.normal(size=(2, height, width)).astype(np.float32)
    pooled = squeezenet._pooled(values)
    assert pooled.shape == (2, -(-(height - 3) // 2) + 1, -(-(width - 3) // 2) + 1)  # rounded up
    for y in range(pooled.shape[1]):
        for x in range(pooled.shape[2]):
            window = values[:, 2 * y:2 * y + 3, 2 * x:2 * x + 3]
            assert np.array_equal(pooled[:, y, x], window.max(axis=(1, 2)))


def test_a_picture_gets_a_score_per_class(file: Path) -> None:
    network = squeezenet.SqueezeNet(file)
    scores = network(RANDOM.normal(size=(3, 63, 47)).astype(np.float32))
    assert network.classes == 5 and scores.shape == (5,) and np.isfinite(scores).all() and scores.std() > 0
    assert network(np.zeros((3, 31, 31))).shape == (5,)
    for shape in ((3, 30, 64), (1, 64, 64), (64, 64)):
        with pytest.raises(ValueError, match=r"expected \(3, H, W\), sides of at least 31"):
            network(np.zeros(shape))


def test_files_of_something_else_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    (tmp_path / "text.npz").write_text("text")
    wrong = weights()
    wrong["fire5/expand3x3.w"] = np.zeros((6, 5, 3, 3), np.float16)
    written(tmp_path / "wrong.npz", wrong)
    for name, message in (("other", "not the weights of SqueezeNet"), ("text", "not the weights of SqueezeNet"),
                          ("wrong", r"fire5/expand3x3 of shape \(6, 5, 3, 3\).*expected \(N, 4, 3, 3\)")):
        with pytest.raises(ValueError, match=message):
            squeezenet.SqueezeNet(tmp_path / f"{name}.npz")
