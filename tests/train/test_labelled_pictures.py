"""Pictures to learn saliency from: which are taken, how large they are, backgrounds, what is held back."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from duoview.models.labelled_pictures import (
    LabelledPicture,
    Source,
    background_of,
    find_sources,
    hold_back,
    label,
    read_source,
    scaled,
)


def nothing(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels without objects."""
    return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)


def write_image(path: Path, width: int = 128, height: int = 96, grey: int = 90) -> Path:
    """Write a grey image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = {".png": "png", ".jpg": "mjpeg"}[path.suffix]
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.time_base = width, height, Fraction(1)
    encoder.pix_fmt = "rgb24" if codec == "png" else "yuvj420p"
    frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), grey, np.uint8), "rgb24")
    packets = [*encoder.encode(frame.reformat(format=encoder.pix_fmt)), *encoder.encode(None)]
    path.write_bytes(b"".join(bytes(packet) for packet in packets))
    return path


def write_video(path: Path, frames: int, width: int = 128, height: int = 96, still: bool = True) -> Path:
    """A bright square that passes before grey (still), or noise that is another in every frame."""
    random = np.random.default_rng(1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", 25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = width, height, "yuv420p", 4_000_000
        for at in range(frames):
            picture = np.full((height, width, 3), 60, np.uint8)
            if still:
                picture[20:36, (at * 4) % (width - 16):][:, :16] = 250
            else:
                picture[:] = random.integers(0, 2) * 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 40 frames; images in two folders, one with a label map."""
    place = tmp_path_factory.mktemp("material")
    (place / "clips").mkdir()
    write_video(place / "clips" / "street.mp4", 40)
    for at in range(6):
        write_image(place / "images" / "town" / f"{at}.jpg", grey=20 * at)
    write_image(place / "images" / "town" / "3.png")
    write_image(place / "images" / "sea" / "deep" / "a.png", 320, 240)
    return place


def test_sources_are_videos_and_folders_of_images_without_label_maps(folder: Path) -> None:
    found = find_sources([folder / "clips"], [folder / "images"])
    assert [(s.name, s.video, s.count, len(s.paths)) for s in found] == [
        ("street.mp4", True, 100, 1), ("images/sea/deep", False, 1, 1), ("images/town", False, 6, 6)]


def test_limits_bound_the_number_of_pictures(folder: Path) -> None:
    found = find_sources([folder / "clips"], [folder / "images"], frames=20, stills=4)
    assert [s.count for s in found] == [20, 1, 4]
    for limit in (3, 4, 5, 12, 24):
        counts = [s.count for s in find_sources([folder / "clips"], [folder / "images"], frames=20, stills=4,
                                                pictures=limit)]
        assert sum(counts) <= limit and min(counts) == 1
    with pytest.raises(ValueError, match="pictures=2: expected one or more for each of the 3 sources"):
        find_sources([folder / "clips"], [folder / "images"], pictures=2)
    with pytest.raises(ValueError, match="frames=0"):
        find_sources([folder / "clips"], [], frames=0)


def test_folders_that_are_missing_or_empty_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="gone"):
        find_sources([tmp_path / "gone"], [])
    with pytest.raises(FileNotFoundError, match="no video and no image"):
        find_sources([tmp_path], [tmp_path])


@pytest.mark.parametrize(("size", "expected"), [((1280, 720), (360, 640)), ((320, 241), (362, 480)),
                                                ((500, 1000), (640, 320)), ((640, 360), (360, 640))])
def test_pictures_are_scaled_to_a_side_and_enlarged_by_half_at_most(size: tuple[int, int],
                                                                  expected: tuple[int, int]) -> None:
    picture = scaled(av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), 77, np.uint8), "rgb24"), 640)
    assert picture.shape == (*expected, 3) and np.abs(picture.astype(int) - 77).max() <= 1


@pytest.mark.parametrize(("count", "expected"), [(100, 20), (20, 20), (5, 5), (6, 6), (1, 1)])
def test_frames_of_a_video_are_spread_over_all_of_it(folder: Path, count: int, expected: int) -> None:
    frames = list(read_source(Source("street", (folder / "clips" / "street.mp4",), True, count)))
    assert len(frames) == expected
    bright = [int(np.nonzero(one[42, :, 0] > 180)[0].min()) for one in frames]  # enlarged by a half
    if count == 5:  # every eighth frame; the square starts over after the 28th
        assert np.allclose(np.array(bright) / 6, [0, 8, 16, 24, 4], atol=0.7)


def test_images_are_spread_over_a_folder(folder: Path) -> None:
    paths = tuple(sorted((folder / "images" / "town").glob("*.jpg")))
    levels = [one.mean() for one in read_source(Source("town", paths, False, 3))]
    assert np.allclose(levels, [0, 40, 100], atol=3)


def test_the_background_of_a_fixed_camera_is_without_what_passes(folder: Path) -> None:
    frames = list(read_source(Source("street", (folder / "clips" / "street.mp4",), True, 100)))
    background = background_of(frames)
    assert background is not None and np.abs(background.astype(int) - 60).max() < 25


def test_there_is_no_background_of_a_scene_that_changes_or_of_few_pictures() -> None:
    dark, light = np.zeros((96, 128, 3), np.uint8), np.full((96, 128, 3), 200, np.uint8)
    assert background_of([dark, light] * 5) is None
    assert background_of([dark] * 4) is None
    assert background_of([dark] * 5 + [light[:90]]) is None
    assert background_of([dark] * 6) is not None


def test_pictures_come_with_labels_source_and_background(folder: Path) -> None:
    items = label(find_sources([folder / "clips"], [folder / "images"], frames=10), nothing)
    assert [item.source for item in items] == ["street.mp4"] * 10 + ["images/sea/deep"] + ["images/town"] * 6
    assert all((item.background is not None) == (item.source == "street.mp4") for item in items)


def test_files_that_cannot_be_read_are_named_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video" * 99)
    (tmp_path / "broken.jpg").write_bytes(b"no image" * 99)
    write_image(tmp_path / "small.png", 20, 20)
    with pytest.raises(FileNotFoundError, match="no picture that can be read"):
        label(find_sources([tmp_path], [tmp_path]), nothing)
    write_image(tmp_path / "good.png")
    assert len(label(find_sources([tmp_path], [tmp_path]), nothing)) == 1
    shown = capsys.readouterr().out
    assert "left out broken.mp4" in shown and "left out broken.jpg" in shown


def item(source: str, grey: int = 0) -> LabelledPicture:
    """A picture without objects."""
    return LabelledPicture(source, np.full((4, 4, 3), grey, np.uint8), *nothing(np.zeros(0)))


def test_whole_sources_are_held_back_by_parts_of_their_names() -> None:
    items = [item("night_1.mp4", n) for n in range(9)] + [item("day.mp4")] * 3 + [item("night_2.mp4")]
    train, held = hold_back(items, ["night"], check=4)
    assert {one.source for one in train} == {"day.mp4"} and len(train) == 3
    assert [int(one.picture[0, 0, 0]) for one in held] == [0, 3, 6, 0]
    assert hold_back(items, []) == (items, [])


def test_holding_back_what_is_not_there_or_everything_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'dusk'.*there are day\.mp4"):
        hold_back([item("day.mp4")], ["dusk"])
    with pytest.raises(ValueError, match="every source"):
        hold_back([item("day.mp4")], ["day"])
