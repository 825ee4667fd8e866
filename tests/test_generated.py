"""How much of a picture was generated: counted right, told by every human frame, and shown pixel by pixel."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

import duoview
from duoview import Decoder, Encoder
from duoview.detections import Detections
from duoview.findings import FrameFindings
from duoview.frame_origin import FrameOrigin
from duoview.generated import generated_map, generated_share
from duoview.human import Provenance
from duoview.plugins.errors import FrameError, OptionError
from duoview.plugins.filters.dv_generated import Generated
from duoview.plugins.filters.dv_mark import Mark
from duoview.plugins.testing import check_stage

RANDOM = np.random.default_rng(5)
PICTURE: NDArray[np.uint8] = np.ascontiguousarray(data.astronaut()[:64, 200:296].transpose(2, 0, 1))
MADE = Provenance("human", "guided", ("machine",), "all", 4, 7, "s", "00")


def noisy(picture: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    return np.clip(picture + RANDOM.normal(0, sigma, picture.shape), 0, 255).astype(np.uint8)


def frame(picture: NDArray[np.uint8], pts: int = 0, opaque: object = None, form: str = "rgb24") -> av.VideoFrame:
    made = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture.transpose(1, 2, 0)), "rgb24")
    made = made if form == "rgb24" else made.reformat(format=form)
    made.pts, made.time_base, made.opaque = pts, Fraction(1, 10), opaque
    return made


def test_a_picture_that_is_as_it_was_coded_has_nothing_generated() -> None:
    assert generated_share(PICTURE, PICTURE) == 0
    assert not generated_map(PICTURE, PICTURE).any()


def test_all_detail_over_a_flat_picture_is_generated() -> None:
    flat = np.full_like(PICTURE, 100)
    assert generated_share(PICTURE, flat) > 0.98
    assert generated_map(PICTURE, flat).mean() > 250


def test_the_share_of_a_place_is_that_of_the_energies_of_what_was_added_and_what_was_coded() -> None:
    coded = np.full((3, 32, 32), 100, np.uint8)
    coded[:, ::2] = 110  # 25 a sample against the mean of its cell, and 1 that nobody sees
    shown = coded + np.uint8(5)  # 25 a sample again
    assert generated_share(shown, coded) == pytest.approx(25 / 51, abs=1e-4)
    assert generated_share(coded + np.uint8(10), coded) == pytest.approx(100 / 126, abs=1e-4)


def test_every_place_counts_the_same_however_much_detail_is_elsewhere() -> None:
    coded = np.full((3, 64, 64), 100, np.uint8)
    coded[:, :32] = RANDOM.integers(0, 256, (3, 32, 64))
    shown = coded.copy()
    shown[:, 32:] += RANDOM.integers(0, 40, (3, 32, 64), dtype=np.uint8)
    assert generated_share(shown, coded) == pytest.approx(0.5, abs=0.01)
    assert generated_map(shown, coded).mean() / 255 == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("size", [(1, 1), (15, 40), (17, 33)])
def test_pictures_of_any_size_have_a_share_and_a_map(size: tuple[int, int]) -> None:
    coded = RANDOM.integers(0, 256, (3, *size), dtype=np.uint8)
    assert 0 <= generated_share(noisy(coded, 9), coded) <= 1
    assert generated_map(noisy(coded, 9), coded).shape == size


def test_the_map_tells_where() -> None:
    shown = PICTURE.copy()
    shown[:, 20:40, 50:80] = noisy(shown[:, 20:40, 50:80], 40)
    found = generated_map(shown, PICTURE)
    assert found[24:36, 54:76].mean() > 100
    apart = np.ones_like(found, bool)
    apart[15:45, 45:85] = False
    assert not found[apart].any()


def test_pictures_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, 64, 96\) and \(3, 32, 96\)"):
        generated_share(PICTURE, PICTURE[:, :32])


def test_every_human_frame_tells_its_share_and_a_machine_frame_none() -> None:
    encoder = Encoder(96, 64, rate=10, q=30, gop=4, threads=1)
    packets = [packet for pts in range(2) for packet in encoder.encode(frame(PICTURE, pts))]
    pictures: dict[str, list[NDArray[Any]]] = {}
    shares: dict[str, list[Any]] = {}
    for view in ("machine", "human"):
        decoder = Decoder(view=view, threads=1, steps=1)
        frames: list[Any] = [one for packet in packets for one in decoder.decode(packet)]
        pictures[view] = [one.to_ndarray(format="rgb24").transpose(2, 0, 1) for one in frames]
        shares[view] = [one.opaque.generated_share for one in frames]
    assert shares["machine"] == [None, None]
    assert shares["human"] == [generated_share(h, m) for h, m in
                               zip(pictures["human"], pictures["machine"], strict=True)]
    assert all(share is not None and 0 < share < 1 for share in shares["human"])


def test_findings_keep_the_share_of_their_frame() -> None:
    found = Detections(np.array([[0, 0, 8, 8]], np.float32), np.array([0.9], np.float32), np.array([0], np.int32),
                       ("person",), "test", 96, 64)
    findings = FrameFindings.over(FrameOrigin(False, MADE, 0.25), found)
    assert (findings.generated_share, findings.provenance, len(findings.detections)) == (0.25, MADE, 1)


def paired(stage: Any, first: av.VideoFrame, second: av.VideoFrame) -> list[Any]:
    stage.feed(first, 0)
    stage.feed(second, 1)
    stage.push(None)
    return list(stage.ready())


@pytest.mark.parametrize("make", [Mark, lambda: Mark(text="none", border=4), Generated, lambda: Generated("overlay")])
def test_marks_and_maps_keep_all_rules_of_stages(make: Any) -> None:
    check_stage(make)


def test_the_map_of_two_views_has_the_format_time_and_origin_of_the_generated_one() -> None:
    shown = noisy(PICTURE, 30)
    origin = FrameOrigin(False, MADE, 0.5)
    (out,) = paired(Generated(), frame(PICTURE, 4), frame(shown, 4, origin))
    assert (out.format.name, out.pts, out.time_base, out.opaque) == ("rgb24", 4, Fraction(1, 10), origin)
    assert np.array_equal(out.to_ndarray(), np.repeat(generated_map(shown, PICTURE)[..., None], 3, 2))


def test_the_overlay_tints_what_was_generated_and_nothing_else() -> None:
    shown = PICTURE.copy()
    shown[:, 20:40, 50:80] = 0
    (out,) = paired(Generated("overlay"), frame(PICTURE), frame(shown))
    found = out.to_ndarray(format="rgb24").transpose(2, 0, 1)
    assert np.array_equal(found[:, :, :40], PICTURE[:, :, :40])
    assert found[0, 30, 65] > 100 and found[2, 30, 65] == 0


def test_views_of_two_sizes_are_refused_by_their_sizes() -> None:
    stage = Generated()
    stage.feed(frame(PICTURE), 0)
    stage.feed(frame(PICTURE[:, :32]), 1)
    with pytest.raises(FrameError, match="the coded picture is 96x64, the generated one 96x32"):
        stage.pull()


@pytest.mark.parametrize("form", ["rgb24", "gbrp", "yuv420p"])
def test_a_generated_frame_is_marked_at_its_edges_and_any_other_is_not(form: str) -> None:
    plain, made = frame(PICTURE, form=form), frame(PICTURE, 1, FrameOrigin(False, MADE), form)
    passed, marked = Mark(text="none").process([plain, made])
    assert np.array_equal(passed.to_ndarray(), plain.to_ndarray())
    before, after = (one.to_ndarray(format="rgb24").astype(int) for one in (made, marked))
    assert np.array_equal(made.to_ndarray(), frame(PICTURE, form=form).to_ndarray())  # what came in is as it was
    assert np.abs(after[:2] - (255, 165, 0)).max() < 12
    assert np.abs(after[6:-6, 6:-6] - before[6:-6, 6:-6]).max() <= 1


def test_the_label_stands_in_its_corner_and_may_tell_the_share() -> None:
    def changed(**options: Any) -> Any:
        (out,) = Mark(border=0, **options).process([frame(PICTURE, 0, FrameOrigin(False, MADE, 0.37))])
        return (out.to_ndarray() != frame(PICTURE).to_ndarray()).any(-1)

    place = changed(size=8)
    rows, columns = place.any(1).nonzero()[0], place.any(0).nonzero()[0]
    assert rows.min() > 40 and rows.max() == 63 and columns.min() > 20 and columns.max() == 95
    corner = changed(size=8, corner="top-left")
    assert corner[0].any() and not corner[32:].any()
    assert changed(size=8, share=True).sum() > place.sum()


def test_a_mark_that_nobody_sees_is_refused() -> None:
    with pytest.raises(OptionError, match="neither text nor border"):
        Mark(text="none", border=0)
    with pytest.raises(OptionError, match="share=1 is told by the label"):
        Mark(text="none", share=True)


def test_map_and_mark_stand_in_graphs() -> None:
    encoder = Encoder(96, 64, rate=10, q=30, gop=4, threads=1)
    units = list(encoder.encode(frame(PICTURE)))
    text = ("[u] dv_machine=threads=1 [m]; [u] dv_human=steps=1:threads=1, split [h][g]; "
            "[m][h] dv_generated [map]; [g] dv_mark=text=none [marked]")
    outs = dict(duoview.Graph.parse(text).run({"u": units}))
    assert outs["map"].format.name == "gbrp" and outs["map"].to_ndarray().any()
    assert outs["marked"].opaque.provenance.view == "human"
