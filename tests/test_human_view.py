"""The human view: its starts, its windows, and that a frame is the same however one comes to it."""

from __future__ import annotations

import json
import runpy
import shutil
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from duoview import Decoder, Encoder, FrameOrigin, Profile
from duoview.access_unit import Section, SectionType, parse, serialize
from duoview.backends import CpuBackend, Network
from duoview.backends.engine_shapes import input_shapes
from duoview.backends.signature import Signature, TensorSpec
from duoview.captions import Caption
from duoview.errors import LimitError, ProfileError
from duoview.generation import Generation, span_of
from duoview.human import Hints, HumanView
from duoview.picture import PictureReader
from duoview.seed_search import SeedSearch, spectra
from duoview.windows import OVERLAP, Windows

HERE = Path(__file__)
FILES = SimpleNamespace(**runpy.run_path(str(HERE.with_name("human_profile.py"))))
TEXTURE = SimpleNamespace(**runpy.run_path(str(HERE.with_name("texture_profile.py"))))
SAID, OTHER = Caption.parse("1 person left"), Caption.parse("many car right moving left")
Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """With texture, captions and all starts."""
    folder = tmp_path_factory.mktemp("human") / "profile"
    TEXTURE.write_profile(folder)
    found: Profile = FILES.add_human(folder, levels=(1.0, 0.9, 0.7, 0.5, 0.3))
    return found


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    found: Profile = FILES.first_generation(tmp_path_factory.mktemp("old") / "profile")
    return found


def view(profile: Profile, **options: Any) -> HumanView:
    given: dict[str, Any] = {"steps": 2} | options
    return HumanView(profile, CpuBackend(1), **given)


def latent(seed: int = 0, rows: int = 40, columns: int = 72) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((1, 48, rows, columns)).astype(np.float32)


def clip(count: int) -> list[av.VideoFrame]:
    """A square that moves over a photograph, 448x128 pixels: two windows."""
    background = np.ascontiguousarray(data.astronaut()[40:168, 20:468])
    frames = []
    for n in range(count):
        picture = background.copy()
        left = 20 + 6 * n
        picture[40:100, left:left + 60] = (230, 60, 40)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = n, Fraction(1, 10)
        frames.append(frame)
    return frames


def encode(profile: Profile, frames: list[av.VideoFrame], **options: Any) -> list[av.Packet]:
    encoder = Encoder(frames[0].width, frames[0].height, rate=10, profile=profile, threads=1, **options)
    return [packet for frame in frames for packet in encoder.encode(frame)]


def decoder(profile: Profile, **options: Any) -> Decoder:
    given: dict[str, Any] = {"view": "human", "steps": 2, "strict": True} | options
    return Decoder(profile=profile, threads=1, **given)


def shown(frames: list[av.VideoFrame]) -> Pixels:
    (frame,) = frames
    return frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)


# ---- windows


@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (48, 80), (96, 160), (64, 72), (136, 240)])
@pytest.mark.parametrize("tile", [0, 16, 32, 48])
def test_windows_of_one_size_cover_everything_and_overlap(rows: int, columns: int, tile: int) -> None:
    windows = Windows(rows, columns, tile)
    covered = np.zeros((rows, columns), int)
    for area in windows.areas:
        assert all(one.start % 4 == 0 and one.stop - one.start == side
                   for one, side in zip(area, windows.side, strict=True))
        covered[area] += 1
    assert covered.min() == 1
    for axis, length in ((0, rows), (1, columns)):
        starts = sorted({area[axis].start for area in windows.areas})
        assert starts[0] == 0 and starts[-1] + windows.side[axis] == length
        assert all(a + windows.side[axis] - b >= OVERLAP for a, b in pairwise(starts))
    whole = latent(1, rows, columns)
    assert np.allclose(windows.put_together([whole[:, :, *area] for area in windows.areas]), whole, atol=1e-5)


def test_neighbours_fade_into_each_other() -> None:
    windows = Windows(8, 64, 32)
    parts = [np.full((1, 1, *windows.side), value, np.float32) for value in (0, 1)]
    row = windows.put_together(parts)[0, 0, 0]
    assert row[0] == 0 and row[-1] == 1
    assert np.diff(row).min() >= 0 and np.diff(row).max() < 0.2


@pytest.mark.parametrize("arguments", [(8, 8, 12), (8, 8, -1), (6, 8, 32), (0, 8, 0)])
def test_windows_that_cannot_be_are_refused(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(LimitError, match="expected"):
        Windows(*arguments)


def test_windows_differ_from_the_whole_only_near_their_edges(profile: Profile) -> None:
    z_m = latent()
    # One step sees 4 positions around each; so far inside of a window nothing tells it from the whole.
    parts, whole = (view(profile, tile=tile, steps=1).latent(z_m, 24) for tile in (32, 0))
    far = np.abs(parts - whole).max((0, 1)) > 1e-3
    assert far.any() and not far[:, :32].any() and not far[:, 44:].any()


# ---- starts and conditions


def test_every_start_gives_another_picture(profile: Profile) -> None:
    hints = Hints(texture=latent(1), depth=np.full((40, 72), 2, np.uint8), caption=SAID)
    found = [view(profile, start=start).latent(latent(), 24, hints) for start in ("guided", "slim", "texture")]
    assert all(not np.array_equal(a, b) for a, b in ((found[0], found[1]), (found[0], found[2]), (found[1], found[2])))


def test_guided_is_made_of_the_machine_layer_alone(profile: Profile) -> None:
    hints = Hints(texture=latent(1), depth=np.full((40, 72), 2, np.uint8), caption=SAID, sent=True)
    made = view(profile)
    assert np.array_equal(made.latent(latent(), 24, hints), made.latent(latent(), 24))
    assert made.provenance.coded_layers == ("machine",) and made.provenance.caption == ""


@pytest.mark.parametrize("change", [
    {"seed": 1}, {"steps": 3}, {"noise": 0.7}, {"caption": OTHER}, {"caption": None}, {"caption": Caption()}, {"q": 30},
])
def test_what_slim_is_asked_for_matters(profile: Profile, change: dict[str, Any]) -> None:
    def made(caption: Caption | None = SAID, q: int = 24, **options: Any) -> NDArray[np.float32]:
        return view(profile, start="slim", **options).latent(latent(), q, Hints(caption=caption, picture=(576, 320)))

    assert not np.array_equal(made(), made(**change))


def test_texture_depths_matter_where_they_are(profile: Profile) -> None:
    depth = np.full((40, 72), 2, np.uint8)
    deeper = depth.copy()
    deeper[:, :8] = 4
    first, second = (view(profile, start="texture", steps=1).latent(latent(), 24, Hints(texture=latent(1), depth=one))
                     for one in (depth, deeper))
    changed = np.abs(first - second).max((0, 1, 2)) > 1e-4
    assert changed[:8].all() and not changed[44:].any()


def test_more_noise_less_of_the_known(profile: Profile) -> None:
    made = [view(profile, start="slim", noise=noise, tile=0) for noise in (0.2, 1.0)]
    spread = []
    for one in made:
        network = one._denoiser
        states: list[NDArray[np.float32]] = []

        def watched(network: Network = network, states: list[NDArray[np.float32]] = states, /,
                    **inputs: Any) -> list[NDArray[Any]]:
            states.append(inputs["state"])
            return network(**inputs)

        one._denoiser = watched
        one.latent(latent(), 24)
        spread.append(states[0].std())
    assert 4.9 < spread[1] / spread[0] < 5.1


def test_few_steps_are_told_their_length_and_many_follow_the_flow() -> None:
    assert [span_of(steps) for steps in (1, 2, 4, 8, 9, 50)] == [1, 0.5, 0.25, 0.125, 0, 0]


@pytest.mark.parametrize("steps", [1, 2, 4, 50])
def test_all_numbers_of_steps_work(profile: Profile, steps: int) -> None:
    assert np.isfinite(view(profile, steps=steps).latent(latent(0, 8, 8), 24)).all()


def test_steps_may_be_left_to_the_profile(profile: Profile, old: Profile) -> None:
    assert view(profile, steps=None).steps == 2 and view(old, steps=None).steps == 4


# ---- what a profile cannot do


@pytest.mark.parametrize("start", ["slim", "texture"])
def test_a_denoiser_of_the_first_generation_refuses_other_starts(old: Profile, start: str) -> None:
    with pytest.raises(ProfileError, match=f"start='{start}': profile 's': its denoiser is of the first generation.*"
                                           "human_command"):
        decoder(old, start=start)


def test_a_denoiser_without_texture_refuses_its_start(tmp_path: Path, old: Profile) -> None:
    shutil.copytree(old.folder, tmp_path / "profile")
    plain = FILES.add_human(tmp_path / "profile", captions=False)
    with pytest.raises(ProfileError, match="its denoiser knows no texture"):
        decoder(plain, start="texture")
    with pytest.raises(ProfileError, match="caption '1 person left': the denoiser of profile 's' takes none"):
        decoder(plain, start="slim", caption=SAID)
    assert not view(plain, start="slim").takes_captions


def test_a_denoiser_for_texture_of_another_depth_refuses_to_start_there(profile: Profile, tmp_path: Path) -> None:
    shutil.copytree(profile.folder, tmp_path / "profile")
    other = FILES.add_human(tmp_path / "profile", levels=(1.0, 0.5))
    with pytest.raises(ProfileError, match="its texture goes 4 deep, its denoiser was trained for 1"):
        view(other, start="texture")
    assert view(other, start="slim").takes_captions


def test_a_stream_without_texture_refuses_its_start(profile: Profile) -> None:
    packets = encode(profile, clip(1))
    with pytest.raises(LimitError, match="start='texture': this stream has no texture layer"):
        decoder(profile, start="texture").decode(packets[0])


@pytest.mark.parametrize("options", [
    {"start": "slimmer"}, {"steps": 51}, {"seed": -1}, {"noise": 0.5}, {"start": "slim", "noise": 0},
])
def test_values_out_of_range_are_refused(profile: Profile, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{list(options)[-1]}="):
        view(profile, **options)


def changed(folder: Path, source: Profile, **entries: Any) -> Path:
    """A copy of a profile with other entries in its manifest."""
    shutil.copytree(source.folder, folder)
    manifest = json.loads((folder / "profile.json").read_text()) | entries
    (folder / "profile.json").write_text(json.dumps(manifest))
    return folder


TEXTS = {"control": "latent", "guidance": 1, "tokenizer": {"file": "tokenizer.json", "sha256": "0"}}


def test_a_profile_reads_texts_or_captions_and_not_both(profile: Profile, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="'latent_diffusion' beside 'human' or network 'caption'"):
        Profile(changed(tmp_path / "both", profile, latent_diffusion=TEXTS))


def test_a_text_where_captions_are_read_is_refused(profile: Profile) -> None:
    with pytest.raises(ProfileError, match=r"text='a dog': profile .* has no text encoder; expected no text, a caption "
                                           "with start='slim'"):
        decoder(profile, text="a dog")


def test_a_caption_where_texts_are_read_is_refused(old: Profile, tmp_path: Path) -> None:
    texts = Profile(changed(tmp_path / "texts", old, latent_diffusion=TEXTS))
    with pytest.raises(ProfileError, match="start='slim': profile 's': its denoiser is that of a latent diffusion "
                                           "model and knows start='guided' only; it takes a text in place of captions"):
        decoder(texts, start="slim", caption=SAID)
    with pytest.raises(ProfileError, match=r"tile=32: .* sees whole pictures; expected tile=0"):
        decoder(texts, tile=32)


def test_inputs_of_every_kind_of_denoiser_have_their_shapes() -> None:
    rows, columns = 3, 4
    whole, windows = (8 * rows, 8 * columns), Windows(8 * rows, 8 * columns, 32).side
    for names, side in ((("state", "z_m"), whole), (("state", "z_m", "condition"), whole),
                        (("state", "z_m", "known", "level", "caption"), windows)):
        scales = {"condition": (8, 1), "caption": (1, 4)}
        inputs = tuple(TensorSpec(name, (1, 3, None, None), "float32") for name in names)
        found = input_shapes("denoiser", Signature(inputs, ()), rows, columns)
        assert found == {name: (1, 3, *(one * scales.get(name, (1, 1))[0] // scales.get(name, (1, 1))[1]
                                        for one in side)) for name in names}


@pytest.mark.parametrize("options", [
    {"caption": SAID}, {"caption": "none"}, {"view": "machine", "noise": 0.5}, {"view": "texture", "tile": 16},
    {"caption": "1 person left", "start": "slim"}, {"texture": 2},
])
def test_options_that_do_not_go_together_are_refused(profile: Profile, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"belong|expected one of"):
        decoder(profile, **options)


@pytest.mark.parametrize("entry", [
    {"channels": [1, 2]}, {"blocks": [0, 1, 1]}, {"levels": [0.5]}, {"levels": [1, 0]}, {"noise": 0}, {"steps": 0},
    {"caption": -1},
])
def test_a_manifest_entry_that_no_denoiser_can_have_is_refused(entry: dict[str, Any]) -> None:
    good = Generation((8, 8, 8), (1, 1, 1)).as_dict()
    assert Generation.read(good).as_dict() == good
    with pytest.raises(ValueError, match="expected"):
        Generation.read(good | entry)


# ---- time


def test_windows_in_which_nothing_changed_are_not_computed_again(profile: Profile) -> None:
    made, z_m = view(profile, tile=32), latent()
    first = made.latent(z_m, 24)
    assert (made.computed, made.kept) == (2, 0)
    moved = z_m.copy()
    moved[:, :, 5, 3] += 1
    second = made.latent(moved, 24)
    assert (made.computed, made.kept) == (3, 1)
    assert np.array_equal(second[..., 44:], first[..., 44:]) and not np.array_equal(second, first)
    made.latent(moved, 25)
    assert (made.computed, made.kept) == (5, 1)


def test_the_same_again_gives_the_same_bytes_and_other_threads_the_same_up_to_rounding(profile: Profile) -> None:
    first, again = (HumanView(profile, CpuBackend(1), steps=4).latent(latent(), 24) for _ in range(2))
    assert np.array_equal(first, again)
    other = HumanView(profile, CpuBackend(2), steps=4).latent(latent(), 24)
    assert np.abs(first - other).max() < 1e-3 * np.abs(first).max()


def test_what_was_shown_before_changes_nothing(profile: Profile) -> None:
    made = view(profile, start="slim")
    for seed in range(3):
        made.latent(latent(seed), 24, Hints(caption=OTHER if seed else SAID))
    fresh = view(profile, start="slim")
    hints = Hints(caption=SAID)
    assert np.array_equal(made.latent(latent(7), 24, hints), fresh.latent(latent(7), 24, hints))


@pytest.fixture(scope="module")
def group(profile: Profile) -> list[av.Packet]:
    """Six units, the first and the fifth key units, with all that a stream may tell."""
    return encode(profile, clip(6), q=30, gop=4, texture=4, caption=SAID, seeds=2)


@pytest.mark.parametrize("options", [{}, {"start": "slim"}, {"start": "texture"}])
def test_seeking_to_a_frame_gives_what_playing_to_it_gives(profile: Profile, group: list[av.Packet],
                                                           options: dict[str, Any]) -> None:
    packets = group
    played = decoder(profile, **options)
    frames = [shown(played.decode(packet)) for packet in packets]
    for target in (3, 5):
        sought = decoder(profile, **options)
        begin = 4 * (target // 4)
        for packet in packets[begin:target]:
            assert sought.decode(packet, discard=True) == []
        assert np.array_equal(shown(sought.decode(packets[target])), frames[target])


def test_a_moving_object_leaves_the_other_windows_alone(profile: Profile) -> None:
    packets = encode(profile, clip(3), q=30)
    playing = decoder(profile)
    before, after = (shown(playing.decode(packet)) for packet in packets[:2])
    assert playing._human is not None
    assert (playing._human.computed, playing._human.kept) == (3, 1)
    # The windows fade up to column 256; beyond, as far as the decoder's own field and the colour controller reach.
    assert np.array_equal(before[:, 330:], after[:, 330:]) and not np.array_equal(before, after)


# ---- what the stream tells


def test_a_caption_that_was_sent_is_used_and_told(profile: Profile) -> None:
    packets = encode(profile, clip(1), caption=SAID)
    plain = encode(profile, clip(1))
    (frame,) = decoder(profile, start="slim").decode(packets[0])
    assert isinstance(frame.opaque, FrameOrigin) and frame.opaque.provenance is not None
    assert frame.opaque.provenance.coded_layers == ("machine", "caption")
    assert frame.opaque.provenance.caption == "1 person left"
    given = shown(decoder(profile, start="slim", caption=SAID).decode(plain[0]))
    assert np.array_equal(shown([frame]), given)
    without = shown(decoder(profile, start="slim", caption="none").decode(packets[0]))
    assert not np.array_equal(without, given)
    assert np.array_equal(without, shown(decoder(profile, start="slim").decode(plain[0])))


def test_texture_that_was_sent_is_used_and_told(profile: Profile) -> None:
    packets = encode(profile, clip(1), texture=4)
    pictures = []
    for depth in (None, 2, 0):
        (frame,) = decoder(profile, start="texture", texture=depth).decode(packets[0])
        assert isinstance(frame.opaque, FrameOrigin) and frame.opaque.provenance is not None
        assert frame.opaque.provenance.coded_layers == (("machine",) if depth == 0 else ("machine", "texture"))
        pictures.append(shown([frame]))
    assert not np.array_equal(pictures[0], pictures[1]) and not np.array_equal(pictures[1], pictures[2])


def with_section(packet: av.Packet, type_: SectionType, payload: bytes) -> bytes:
    unit = parse(bytes(packet))
    return serialize(type(unit)(key=unit.key, index=unit.index, key_count=unit.key_count, sequence=unit.sequence,
                                sections=(*unit.sections, Section(type_, None, payload))))


@pytest.mark.parametrize(("type_", "payload"), [
    (SectionType.CAPTION, b"\x07"), (SectionType.CAPTION, bytes(13)), (SectionType.SEED, b""),
    (SectionType.SEED, b"12"),
])
def test_a_hint_that_breaks_a_rule_costs_the_hint_alone(profile: Profile, type_: SectionType, payload: bytes) -> None:
    (packet,) = encode(profile, clip(1))
    lenient = decoder(profile, start="slim", strict=False)
    assert np.array_equal(shown(lenient.decode(with_section(packet, type_, payload))),
                          shown(decoder(profile, start="slim").decode(packet)))
    assert lenient.stats.hints_refused == 1 and lenient.stats.last_hint_fault and not lenient.stats.damaged
    strict = decoder(profile, start="slim")
    with pytest.raises(ValueError, match=r"caption|seed"):
        strict.decode(with_section(packet, type_, payload))
    assert len(strict.decode(None)) == 1


def test_the_machine_view_does_not_look_at_hints(profile: Profile) -> None:
    (packet,) = encode(profile, clip(1))
    machine = Decoder(profile=profile, threads=1, strict=True)
    again = Decoder(profile=profile, threads=1, strict=True)
    assert np.array_equal(shown(machine.decode(with_section(packet, SectionType.CAPTION, b"\x07"))),
                          shown(again.decode(packet)))


def test_a_caption_holds_until_another_one_and_up_to_the_next_key_unit(profile: Profile) -> None:
    frames = clip(5)
    packets = encode(profile, frames, gop=3, caption=SAID)
    told = [parse(bytes(packet)).payload(SectionType.CAPTION) for packet in packets]
    assert [payload is not None for payload in told] == [True, False, False, True, False]
    playing = decoder(profile, start="slim")
    origins: list[Any] = [frame.opaque for packet in packets for frame in playing.decode(packet)]
    assert [origin.provenance.caption for origin in origins] == ["1 person left"] * 5


# ---- the best seed


def test_the_best_seed_is_sent_in_a_byte_and_used(profile: Profile) -> None:
    frames = clip(2)
    packets = encode(profile, frames, seeds=5)
    sent = [parse(bytes(packet)).payload(SectionType.SEED) for packet in packets]
    assert sent[0] is not None and len(sent[0]) == 1 and sent[0][0] < 5 and sent[1] is None
    (frame,) = decoder(profile).decode(packets[0])
    assert isinstance(frame.opaque, FrameOrigin) and frame.opaque.provenance is not None
    assert frame.opaque.provenance.seed == sent[0][0]
    assert np.array_equal(shown([frame]), shown(decoder(profile, seed=sent[0][0]).decode(packets[0])))
    other = (sent[0][0] + 1) % 5
    assert not np.array_equal(shown([frame]), shown(decoder(profile, seed=other).decode(packets[0])))


def test_the_seed_that_is_sent_is_that_of_the_least_distance(profile: Profile) -> None:
    search = SeedSearch(profile, CpuBackend(1), 4)
    picture = PictureReader().read(clip(1)[0])
    z_m = latent(3, 16, 56)
    distances = search.distances(picture, z_m, 24)
    assert len(set(distances)) == 4 and search.best(picture, z_m, 24) == int(np.argmin(distances))


def test_grain_elsewhere_is_nearer_than_no_grain() -> None:
    smooth = np.full((1, 3, 128, 128), 90.0)
    grain, other = np.random.default_rng(0).normal(0, 12, (2, 128, 128))
    spectrum, moved, none = (spectra(np.clip(smooth + one, 0, 255).astype(np.uint8)) for one in (grain, other, 0))
    assert np.abs(spectrum - moved).mean() < 0.5 * np.abs(spectrum - none).mean()


@pytest.mark.parametrize(("options", "told"), [
    ({"seeds": 257}, "seeds=257: expected 1 to 256"), ({"caption": "auto"}, "no detector looked at this frame"),
])
def test_hints_that_cannot_be_sent_are_refused(profile: Profile, options: dict[str, Any], told: str) -> None:
    with pytest.raises(LimitError, match=told):
        encode(profile, clip(1), **options)


def test_seeds_belong_to_the_neural_codec(profile: Profile) -> None:
    with pytest.raises(ValueError, match="seeds=3: belongs to machine='neural'"):
        Encoder(64, 64, profile=profile, machine="inner", seeds=3)
