"""Captions: their texts, their bytes, and how they come from detections."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from duoview.captions import Caption, Captioner, Phrase
from duoview.captions.caption import CLASSES, COUNTS, MAX_PHRASES, MOTIONS, PLACES, count_index
from duoview.captions.places import lay_out, phrase_indices, place_masks
from duoview.captions.section import MAX_BYTES, CaptionHistory, read_caption, write_caption
from duoview.detections import Detections
from duoview.errors import BitstreamError, LimitError

PHRASES = st.builds(Phrase, st.integers(0, len(CLASSES) - 1), st.integers(0, len(PLACES) - 1),
                    st.integers(0, len(MOTIONS) - 1), st.integers(0, len(COUNTS) - 1))
CAPTIONS = st.lists(PHRASES, max_size=MAX_PHRASES, unique_by=lambda phrase: phrase.subject).map(Caption.of)
NAMES = ("person", "car", "robot")
#: What the format is today: text and payload.
GOLDEN = {
    "nothing": "",
    "1 person top-left": "01",
    "1 car centre still": "f920",
    "2 person left moving right, 1 car centre still": "727e8a14",
}


def seen(*objects: tuple[str, tuple[float, float, float, float]], tracks: list[int] | None = None,
         score: float = 0.9) -> Detections:
    """Objects by name and box in a picture of 300x300."""
    return Detections(np.array([box for _, box in objects], np.float32).reshape(-1, 4),
                      np.full(len(objects), score), np.array([NAMES.index(name) for name, _ in objects], np.int32),
                      NAMES, "tests", 300, 300, None if tracks is None else np.array(tracks))


def box(x: float, y: float, side: float = 40) -> tuple[float, float, float, float]:
    return x - side / 2, y - side / 2, x + side / 2, y + side / 2


@given(CAPTIONS)
def test_a_caption_comes_back_from_its_text(caption: Caption) -> None:
    assert Caption.parse(str(caption)) == caption


@given(CAPTIONS)
def test_a_caption_comes_back_from_at_most_twelve_bytes(caption: Caption) -> None:
    payload = write_caption(caption)
    assert len(payload) <= MAX_BYTES == 12
    assert read_caption(payload) == caption


def test_the_largest_caption_fits() -> None:
    last = Caption.of(Phrase(len(CLASSES) - 1, len(PLACES) - 1, len(MOTIONS) - 1 - n, len(COUNTS) - 1)
                      for n in range(MAX_PHRASES))
    assert len(write_caption(last)) == MAX_BYTES


@given(st.binary(max_size=16))
@example(b"\x07")
@example(b"\x00")
def test_any_bytes_are_a_caption_of_that_very_payload_or_an_error(payload: bytes) -> None:
    try:
        caption = read_caption(payload)
    except BitstreamError:
        return
    assert write_caption(caption) == payload


@pytest.mark.parametrize(("payload", "told"), [
    (bytes(11) + b"\1\0", "13 bytes, at most 12"),
    (b"\1\0", "not in its shortest form"),
    (b"\x07", "7 phrases, at most 6"),
    (b"\x08", "goes on behind its 0 phrases"),
    ((1 + 8 * (81 * 9 * 8 * 7)).to_bytes(3, "little"), "goes on behind its 1 phrases"),
    (b"\x02", "expected phrases by class, place and motion"),
])
def test_a_payload_that_no_writer_makes_is_refused(payload: bytes, told: str) -> None:
    with pytest.raises(BitstreamError, match=told):
        read_caption(payload)


@pytest.mark.parametrize(("text", "payload"), GOLDEN.items())
def test_the_bytes_of_known_captions_stay(text: str, payload: str) -> None:
    assert write_caption(Caption.parse(text)).hex() == payload


@pytest.mark.parametrize(("text", "told"), [
    ("", "expected phrases as in"),
    ("2 dgo left", "expected a class.*did you mean 'dog'"),
    ("1 car middle", "expected a place behind the class"),
    ("1 car left running", "'running' is no motion"),
    ("1 car left, 2 car left", "no two on the same"),
    (", ".join(f"1 {name} top" for name in CLASSES[:7]), "7 phrases, at most 6"),
])
def test_a_text_that_is_no_caption_is_told_what_is_wrong(text: str, told: str) -> None:
    with pytest.raises(LimitError, match=told):
        Caption.parse(text)


def test_people_may_write_plurals_capitals_and_any_order() -> None:
    assert str(Caption.parse("3 Cars right,  Person  LEFT")) == "1 person left, 3 car right"


def test_numbers_of_objects_have_words() -> None:
    assert [COUNTS[count_index(n)] for n in (1, 5, 6, 9, 10, 400)] == ["1", "5", "several", "several", "many", "many"]


def test_nothing_is_sent_twice_but_in_key_units() -> None:
    history, first, second = CaptionHistory(), Caption.parse("1 car left"), Caption.parse("1 car right")
    sent = []
    for caption, key in ((first, True), (first, False), (second, False), (second, True), (None, False), (None, False),
                         (None, True), (None, False)):
        payload = history.payload(caption, key=key)
        history.tell(payload, key=key)
        sent.append(payload)
    one, two = write_caption(first), write_caption(second)
    assert sent == [one, None, two, two, b"", None, None, None]


def test_what_was_not_told_is_sent_again() -> None:
    history, caption = CaptionHistory(), Caption.parse("1 car left")
    assert history.payload(caption, key=False) == history.payload(caption, key=False) == write_caption(caption)


# ---- from detections


def test_objects_of_one_class_and_place_are_counted_together() -> None:
    found = seen(("person", box(30, 150)), ("person", box(60, 160)), ("car", box(280, 280)), ("robot", box(150, 20)))
    assert str(Captioner().look(found)) == "2 person left, 1 car bottom-right, 1 object top"


def test_unsure_objects_are_not_told_of() -> None:
    assert str(Captioner().look(seen(("car", box(30, 30)), score=0.3))) == "nothing"


def test_motion_is_told_from_where_objects_were() -> None:
    captioner = Captioner(patience=1)
    for n in range(12):
        found = seen(("person", box(60 + 6 * n, 150)), ("car", box(250, 250)), ("robot", box(150, 30, 20 + 2 * n)))
        caption = captioner.look(found, n / 10)
    assert str(caption) == "1 person centre moving right, 1 car bottom-right still, 1 object top coming"


def test_tracks_tell_who_is_who_where_boxes_do_not_overlap() -> None:
    captioner = Captioner(patience=1)
    for n in range(5):
        caption = captioner.look(seen(("person", box(250 - 60 * n, 20)), tracks=[7]), n / 10)
    assert "moving left" in str(caption)


def test_without_times_no_motion_is_told() -> None:
    captioner = Captioner(patience=1)
    said = {str(captioner.look(seen(("car", box(60 + n, 150))))) for n in range(5)}
    assert said == {"1 car left"}


def test_a_caption_changes_only_after_as_many_frames_as_asked_for() -> None:
    captioner = Captioner(patience=3)
    empty, car = seen(), seen(("car", box(150, 150)))
    said = [str(captioner.look(found)) for found in (car, empty, car, empty, empty, empty)]
    assert said == ["1 car centre"] * 5 + ["nothing"]


def test_where_every_frame_says_something_else_the_most_frequent_is_told() -> None:
    captioner = Captioner(patience=4)
    empty, one = seen(), seen(("car", box(150, 150)))
    two = seen(("car", box(150, 150)), ("car", box(140, 140)))
    said = [str(captioner.look(found)) for found in (empty, one, two, one, seen(("person", box(30, 30))))]
    assert said == ["nothing"] * 4 + ["1 car centre"]


def test_the_largest_subjects_are_kept_where_too_many_are_seen() -> None:
    places = [(50, 50), (150, 50), (250, 50), (50, 150), (150, 150), (250, 150), (50, 250), (150, 250)]
    found = seen(*[("person", box(x, y, 20 + n)) for n, (x, y) in enumerate(places)])
    caption = Captioner().look(found)
    assert [phrase.place for phrase in caption.phrases] == [2, 3, 4, 5, 6, 7]


# ---- laid out for the denoiser


def test_places_cover_the_picture_and_reach_their_own_thirds() -> None:
    masks = place_masks(12, 24, 768, 384)
    assert masks.shape == (9, 12, 24)
    assert masks.max(0).min() > 0
    for place in range(9):
        row, column = 2 + 4 * (place // 3), 4 + 8 * (place % 3)
        assert masks[place, row, column] == 1
        assert np.sort(masks[:, row, column])[-2] < 0.3


def test_vectors_stand_where_their_phrases_say() -> None:
    caption = Caption.parse("1 person left, 1 car right")
    vectors = np.array([[1, 0], [0, 5]], np.float32)
    planes = lay_out(caption, vectors, 6, 12, 384, 192)
    assert planes.shape == (1, 2, 6, 12)
    assert planes[0, :, 3, 1].tolist() == [1, 0] and planes[0, :, 3, 10].tolist() == [0, 5]
    assert phrase_indices(caption).tolist() == [[0, 0, 3, 0], [2, 0, 5, 0]]
