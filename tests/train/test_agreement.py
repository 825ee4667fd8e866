"""What counts as seen again, and bits at equal agreement."""

from __future__ import annotations

import runpy
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from duoview.detections import Detections
from duoview.models.agreement import (
    AgreementValidation,
    Curve,
    PseudoClasses,
    agreement,
    rate_change,
    through_yuv,
    x265_intra,
)

SHUFFLE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_shufflenet.py"))))
Picture = NDArray[np.uint8]


def seen(*objects: tuple[float, float, float, float, float, int]) -> Detections:
    """Objects as x0, y0, x1, y1, score, class."""
    rows = np.array(objects, np.float32).reshape(-1, 6)
    return Detections(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int32), ("person", "car"), "judge", 100, 100)


def scene(seed: int, height: int = 96, width: int = 128) -> Picture:
    """A smooth picture with a bright square in it."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    base = 90 + 50 * np.sin(rows / 17 + seed) + 30 * np.cos(columns / 11)
    picture = np.stack([base, base * 0.8, base * 0.6], 2) + random.normal(0, 3, (height, width, 3))
    top, left = random.integers(8, 40, 2)
    picture[top:top + 32, left:left + 32] = 230
    return picture.clip(0, 255).astype(np.uint8)


def bright(pictures: Sequence[Picture]) -> list[Detections]:
    """A judge that finds what is bright."""
    found = []
    for picture in pictures:
        rows, columns = np.nonzero(picture.min(2) > 200)
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if len(rows) else None
        found.append(seen((*box, 0.9, 0)) if box else seen())
    return found


def test_agreement_counts_what_is_lost_and_what_is_made_up() -> None:
    source = [seen((10, 10, 30, 30, 0.9, 0), (50, 50, 80, 80, 0.8, 1))]
    assert agreement(source, source, 0.5) == 1
    lost = [seen((10, 10, 30, 30, 0.9, 0))]
    assert agreement(lost, source, 0.5) == pytest.approx((0.5 + 1) / 2)
    made_up = [seen((10, 10, 30, 30, 0.9, 0), (50, 50, 80, 80, 0.8, 1), (0, 0, 8, 8, 0.7, 0))]
    assert agreement(made_up, source, 0.5) == pytest.approx((1 + 2 / 3) / 2)
    assert agreement([seen()], source, 0.5) == 0


def test_agreement_wants_the_class_and_the_place() -> None:
    source = [seen((10, 10, 30, 30, 0.9, 0))]
    assert agreement([seen((10, 10, 30, 30, 0.9, 1))], source, 0.5) == 0
    moved = [seen((10, 10, 30, 36, 0.9, 0))]  # of an overlap of 20 / 26
    assert agreement(moved, source, 0.75) == 1 and agreement(moved, source, 0.8) == 0


def test_a_faint_find_answers_for_a_sure_object_but_a_fainter_one_does_not() -> None:
    source = [seen((10, 10, 30, 30, 0.9, 0))]
    assert agreement([seen((10, 10, 30, 30, 0.35, 0))], source, 0.5) == 0.5  # found, but itself no answer
    assert agreement([seen((10, 10, 30, 30, 0.25, 0))], source, 0.5) == 0


def test_nothing_in_the_source_cannot_be_agreed_with() -> None:
    with pytest.raises(ValueError, match="no sure object in the source"):
        agreement([seen()], [seen((1, 1, 9, 9, 0.35, 0))], 0.5)


def test_rates_at_equal_values_are_read_between_points_on_a_log_scale() -> None:
    curve = Curve({"ap": ((0.1, 0.4), (0.4, 0.8), (0.8, 0.75))})
    assert curve.rate_at("ap", 0.6) == pytest.approx(0.2)
    assert curve.rate_at("ap", 0.3) is None and curve.rate_at("ap", 0.9) is None


def test_the_change_of_rate_is_a_mean_over_what_can_be_compared() -> None:
    theirs = Curve({"ap": ((0.1, 0.4), (0.4, 0.8))})
    ours = Curve({"ap": ((0.01, 0.1), (0.1, 0.6), (0.2, 0.8))})
    assert rate_change(ours, theirs, "ap") == pytest.approx(-0.5)
    assert rate_change(Curve({"ap": ((0.01, 0.1),)}), theirs, "ap") is None


def test_x265_gives_its_own_picture_and_fewer_bytes_for_a_coarser_one() -> None:
    picture = through_yuv(scene(1))
    fine, many = x265_intra(picture, 18)
    coarse, few = x265_intra(picture, 44)
    assert fine.shape == coarse.shape == picture.shape
    assert 20 < few < many / 3
    error = [float(np.square(one.astype(float) - picture).mean()) for one in (fine, coarse)]
    assert error[0] < 12 < error[1]


def test_pictures_of_odd_sides_lose_their_last_row_and_column() -> None:
    assert through_yuv(scene(2, 97, 131)).shape == (96, 130, 3)


def test_the_validation_sets_a_codec_against_x265() -> None:
    network = SHUFFLE.backbone()
    classes = PseudoClasses(network, [scene(n) for n in range(20)], clusters=4)
    validation = AgreementValidation([scene(30), scene(31)], [scene(32), scene(33)], {"bright": bright}, classes,
                                     factors=(24, 34, 44))
    rates = [rate for rate, _ in validation.peer.points["psnr"]]
    assert rates == sorted(rates) and rates[0] > 0
    untouched = validation.measure(lambda picture: (picture, 8.0 * picture.shape[0] * picture.shape[1]))
    assert untouched["bright50"] == (8.0, 1.0) and untouched["bright75"] == (8.0, 1.0)
    assert untouched["clusters"] == (8.0, 1.0) and untouched["cosine"][1] == pytest.approx(1)

    def half_of_x265(picture: Picture) -> tuple[Picture, float]:
        decoded, size = x265_intra(picture, 34)
        return decoded, 4.0 * size

    change = validation.against_peer(Curve.of([validation.measure(half_of_x265)]))
    assert change["psnr"] == pytest.approx(-0.5, abs=1e-3) and change["cosine"] == pytest.approx(-0.5, abs=1e-3)


def test_clusters_need_pictures() -> None:
    with pytest.raises(ValueError, match="4 clusters of 2 points: expected two points for each"):
        PseudoClasses(SHUFFLE.backbone(), [scene(1), scene(2)], clusters=4)
