"""D_h, the decoder of human views: what it shows, what it never touches, and when it runs."""

from __future__ import annotations

import dataclasses
import json
import runpy
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
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

from duoview import Decoder, Encoder, FrameOrigin, InnerSettings, Profile, ProfileError, kernels
from duoview.access_unit import Section, SectionType, parse, serialize
from duoview.backends import CpuBackend, DescribedNetwork
from duoview.backends.batching import batched_inputs
from duoview.backends.engine_shapes import BUILDABLE, drawn
from duoview.generated import generated_share
from duoview.human import Floats, Hints, HumanView
from duoview.picture import PictureReader
from duoview.pipelines.doctor import network_reports
from duoview.seed_search import SeedSearch, spectra

HERE = Path(__file__)
HUMAN = SimpleNamespace(**runpy.run_path(str(HERE.with_name("human_profile.py"))))
TEXTURE = SimpleNamespace(**runpy.run_path(str(HERE.with_name("texture_profile.py"))))
WIDTH, HEIGHT, COUNT = 150, 100, 3
STARTS = ("guided", "slim", "texture")
PHOTOGRAPH = data.astronaut()
Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """With texture, captions and all starts; D shows its human views."""
    folder = tmp_path_factory.mktemp("plain") / "profile"
    TEXTURE.write_profile(folder)
    found: Profile = HUMAN.add_human(folder, levels=(1.0, 0.9, 0.7, 0.5, 0.3))
    return found


@pytest.fixture(scope="module")
def profile(plain: Profile, tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """The same with a D_h."""
    folder = tmp_path_factory.mktemp("rich") / "profile"
    shutil.copytree(plain.folder, folder)
    found: Profile = HUMAN.add_human_decoder(folder)
    return found


def encode(profile: Profile, **options: Any) -> list[av.Packet]:
    """A photograph before which a part of itself moves."""
    given: dict[str, Any] = {"q": 20, "gop": 8, "texture": TEXTURE.DEPTH} | options
    encoder = Encoder(WIDTH, HEIGHT, rate=25, profile=profile, threads=1, **given)
    packets = []
    for number in range(COUNT):
        picture = PHOTOGRAPH[40:40 + HEIGHT, 130:130 + WIDTH].copy()
        picture[20:50, 4 * number:30 + 4 * number] = PHOTOGRAPH[300:330, 200:230]
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        packets += encoder.encode(frame)
    return packets + encoder.encode(None)


def encode_inner(profile: Profile) -> list[av.Packet]:
    return encode(profile, machine="inner", inner=InnerSettings(codec="hevc", simplify="off", background=0,
                                                                latency="zero", threads=1))


def decoder(profile: Profile, **options: Any) -> Decoder:
    given: dict[str, Any] = {"view": "human", "steps": 1, "strict": True} | options
    return Decoder(profile=profile, threads=1, **given)


def frames(made: Decoder, packets: list[av.Packet]) -> list[av.VideoFrame]:
    return [frame for packet in packets for frame in made.decode(packet)] + made.decode(None)


def pixels(frame: av.VideoFrame) -> Pixels:
    return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def latent(seed: int = 0, rows: int = 40, columns: int = 72) -> Floats:
    return np.random.default_rng(seed).standard_normal((1, 48, rows, columns)).astype(np.float32)


def normals(seed: int, rows: int, columns: int) -> Floats:
    """The noise that samplings of this seed begin with, as the stream's format says: row by row of 2048 columns."""
    found = [kernels.normals(seed, stream=0, offset=row * 2048 * 48, count=columns * 48) for row in range(rows)]
    return np.ascontiguousarray(np.stack(found).reshape(rows, columns, 48).transpose(2, 0, 1)[None])


class Counted:
    """A network that counts its calls, and fails at the next one where it is told to."""

    def __init__(self, network: Any) -> None:
        self.network, self.calls, self.failing = network, 0, False

    def __call__(self, **inputs: Any) -> list[Any]:
        if self.failing:
            self.failing = False
            raise MemoryError("as a device that is full does")
        self.calls += 1
        found: list[Any] = self.network(**inputs)
        return found


def counted(view: HumanView | None) -> Counted:
    """The network that shows a view, counted from now on."""
    assert view is not None
    view._decoder = Counted(view._decoder)
    return view._decoder


# ---- what it shows


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Floats, Floats, Pixels, Pixels]]]:
    """z_h, the noise for D_h, the machine picture and the human view of all pictures that are made within."""
    found: list[tuple[Floats, Floats, Pixels, Pixels]] = []
    latents: list[tuple[Floats, Floats]] = []
    sampled, coloured = HumanView.latent, HumanView.colour

    def sample(view: HumanView, z_m: Floats, q: int, hints: Hints | None = None) -> Floats:
        z_h, noise = sampled(view, z_m, q, hints), normals(0, *z_m.shape[2:])
        if view.start == "texture":
            assert hints is not None and hints.depth is not None and view.generation is not None
            noise = noise * np.array(view.generation.levels, np.float32)[hints.depth]
        latents.append((z_h, noise))
        return z_h

    def colour(view: HumanView, human: Pixels, machine: Pixels) -> Pixels:
        found.append((*latents[-1], machine, coloured(view, human, machine)))
        return found[-1][3]

    with monkeypatch.context() as patch:
        patch.setattr(HumanView, "latent", sample)
        patch.setattr(HumanView, "colour", colour)
        yield found


@pytest.mark.parametrize("steps", [0, 1])
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("coded", [encode, encode_inner])
def test_it_shows_the_human_view_of_both_machine_codecs_and_colours_are_put_right_after_it(
        profile: Profile, monkeypatch: pytest.MonkeyPatch, coded: Any, start: str, steps: int) -> None:
    with watched(monkeypatch) as seen:
        shown = frames(decoder(profile, start=start, steps=steps), coded(profile))
    assert len(seen) == len(shown) == COUNT
    backend = CpuBackend(1)
    for frame, (z_h, noise, machine, picture) in zip(shown, seen, strict=True):
        (human,) = profile.load("human_decoder", backend)(z=z_h, noise=noise)
        made = human
        if coded is encode_inner:  # what it changes in D's picture of the coded picture's latent is put on that
            (z_m,) = profile.load("encoder", backend)(picture=machine)
            (own,) = profile.load("decoder", backend)(z=z_m)
            made = np.clip(machine.astype(int) + human - own, 0, 255).astype(np.uint8)
        (expected,) = profile.load("colour", backend)(human=made, machine=machine)
        assert np.array_equal(picture, expected)
        assert np.array_equal(pixels(frame), expected[0, :, :HEIGHT, :WIDTH].transpose(1, 2, 0))
        (other,) = profile.load("decoder", backend)(z=z_h)
        assert not np.array_equal(human, other)


def test_without_one_the_decoder_of_the_machine_view_shows_it(plain: Profile) -> None:
    z_m, backend = latent(), CpuBackend(1)
    view = HumanView(plain, backend, steps=1)
    (expected,) = plain.load("decoder", backend)(z=view.latent(z_m, 24))
    assert np.array_equal(view.picture(z_m, 24), expected)


@pytest.mark.parametrize("options", [{"view": "machine"}, {"view": "texture"}, {"view": "texture", "fill": "sample"}])
@pytest.mark.parametrize("coded", [encode, encode_inner])
def test_machine_and_texture_views_and_streams_are_the_same_to_the_byte_with_and_without_it(
        plain: Profile, profile: Profile, coded: Any, options: dict[str, Any]) -> None:
    streams = [coded(one) for one in (plain, profile)]
    sections = [[(section.type, section.payload) for packet in stream for section in parse(bytes(packet)).sections]
                for stream in streams]
    assert sections[0] == sections[1]
    shown = [[pixels(frame) for frame in frames(Decoder(profile=one, threads=1, strict=True, **options), stream)]
             for one, stream in zip((plain, profile), streams, strict=True)]
    assert all(np.array_equal(a, b) for a, b in zip(*shown, strict=True))


def test_it_is_told_the_noise_that_the_sampling_began_with(profile: Profile) -> None:
    view, z_m = HumanView(profile, CpuBackend(1), steps=1, seed=None, tile=0), latent()
    noises: list[Floats] = []

    class Watched(Counted):
        def __call__(self, **inputs: Any) -> list[Any]:
            noises.append(inputs["noise"] if "noise" in inputs else inputs["state"])
            return super().__call__(**inputs)

    view._denoiser, view._decoder = Watched(view._denoiser), Watched(view._decoder)
    for seed in (3, 2**64 - 1):
        view.picture(z_m, 24, Hints(seed=seed))
        started, shown = noises[-2:]
        assert np.array_equal(shown, normals(seed, 40, 72)) and np.array_equal(shown, started)
    assert len(noises) == 4


def test_from_texture_it_is_told_as_much_of_the_noise_as_the_depth_of_a_place_leaves_unknown(profile: Profile) -> None:
    assert profile.generation is not None
    made, z_m, noises = HumanView(profile, CpuBackend(1), steps=0, start="texture"), latent(1, 16, 24), list[Floats]()
    shows = made._decoder

    def watch(**inputs: Any) -> list[Any]:
        noises.append(inputs["noise"])
        found: list[Any] = shows(**inputs)
        return found

    made._decoder = watch
    depth = np.zeros((16, 24), np.uint8)
    depth[:, 8:] = len(profile.generation.levels) - 1
    for there in (depth, np.zeros_like(depth)):
        made.picture(z_m, 24, Hints(texture=latent(2, 16, 24), depth=there))
    whole = normals(0, 16, 24)
    assert np.array_equal(noises[0][..., :8], whole[..., :8])
    assert np.array_equal(noises[0][..., 8:], whole[..., 8:] * np.float32(profile.generation.levels[-1]))
    assert np.array_equal(noises[1], whole)


def test_seeds_are_chosen_by_what_it_shows(profile: Profile) -> None:
    backend, z_m = CpuBackend(1), latent(3, 16, 24)
    source = PictureReader().read(av.VideoFrame.from_ndarray(PHOTOGRAPH[:128, :192].copy(), format="rgb24"))
    view, expected = HumanView(profile, backend, steps=2, seed=None), []
    (machine,) = profile.load("decoder", backend)(z=z_m)
    for seed in range(3):
        z_h = view.latent(z_m, 24, Hints(seed=seed))
        (human,) = profile.load("human_decoder", backend)(z=z_h, noise=normals(seed, 16, 24))
        expected.append(float(np.abs(spectra(view.colour(human, machine)) - spectra(source)).mean()))
    assert SeedSearch(profile, backend, 3).distances(source, z_m, 24) == expected
    assert len(set(expected)) == 3


@pytest.mark.parametrize(("start", "view"), [("guided", "machine"), ("texture", "texture")])
def test_what_it_adds_counts_as_generated_beside_what_the_decoder_shows(profile: Profile, start: str,
                                                                        view: str) -> None:
    packets = encode(profile)
    (frame, *_), (coded, *_) = (frames(decoder(profile, start=start), packets),
                                frames(Decoder(profile=profile, view=view, threads=1), packets))
    assert isinstance(frame.opaque, FrameOrigin)
    assert frame.opaque.generated_share == generated_share(*(pixels(one).transpose(2, 0, 1) for one in (frame, coded)))


def test_its_pictures_tell_that_they_are_generated_and_by_which_profile(profile: Profile) -> None:
    (frame, *_) = frames(decoder(profile), encode(profile))
    assert isinstance(frame.opaque, FrameOrigin) and frame.opaque.provenance is not None
    assert frame.opaque.provenance.generated == "all detail above the machine view"
    assert frame.opaque.provenance.profile_sha256 == profile.sha256.hex()


# ---- when it runs


@pytest.mark.parametrize("steps", [0, 1])
def test_where_nothing_changed_it_is_not_run_again(profile: Profile, steps: int) -> None:
    view, z_m = HumanView(profile, CpuBackend(1), steps=steps), latent()
    network = counted(view)
    first = view.picture(z_m, 24)
    assert np.array_equal(view.picture(z_m.copy(), 24), first) and network.calls == 1


@pytest.mark.parametrize("steps", [0, 1])
@pytest.mark.parametrize("change", ["one position", "quality", "seed", "size"])
def test_where_anything_changed_it_is_run_on_the_whole(profile: Profile, change: str, steps: int) -> None:
    view, z_m, q, hints = HumanView(profile, CpuBackend(1), steps=steps, seed=None), latent(), 24, Hints(seed=1)
    network = counted(view)
    before = view.picture(z_m, q, hints)
    z_m = z_m.copy()
    if change == "one position":
        z_m[:, :, 5, 3] += 1
    elif change == "quality":
        q = 25
    elif change == "seed":
        hints = Hints(seed=2)
    else:
        z_m = latent(0, 40, 64)
    shown = view.picture(z_m, q, hints)
    fresh = HumanView(profile, CpuBackend(1), steps=steps, seed=None)
    assert network.calls == 2 and np.array_equal(shown, fresh.picture(z_m, q, hints))
    # Without steps the quality is told to nobody.
    assert np.array_equal(shown, before) == (change == "quality" and steps == 0)


@pytest.mark.parametrize("failing", ["denoiser", "human_decoder"])
def test_a_view_that_failed_is_not_taken_for_the_one_before(profile: Profile, failing: str) -> None:
    view, first, second = HumanView(profile, CpuBackend(1), steps=1), latent(), latent()
    second[:, :, 5, 3] += 1  # of two windows, the first
    second[:, :, 5, 70] += 1
    networks = {"human_decoder": counted(view), "denoiser": Counted(view._denoiser)}
    view._denoiser = networks["denoiser"]
    view.picture(first, 24)
    networks[failing].failing = True
    with pytest.raises(MemoryError):
        view.picture(second, 24)
    for z_m in (second, first):
        assert np.array_equal(view.picture(z_m, 24), HumanView(profile, CpuBackend(1), steps=1).picture(z_m, 24))


@pytest.mark.parametrize("steps", [0, 1])
def test_a_frame_that_repeats_the_one_before_and_a_key_frame_of_the_same_picture_run_it_once(profile: Profile,
                                                                                             steps: int) -> None:
    packets = encode(profile, texture=0)
    made = decoder(profile, steps=steps)
    (first,) = made.decode(packets[0])
    network = counted(made._human)
    repeating = (Section(SectionType.MACHINE, None, b""),)
    (again,) = made.decode(serialize(dataclasses.replace(parse(bytes(packets[1])), sections=repeating)))
    (anew,) = made.decode(packets[0])
    assert network.calls == 0
    assert np.array_equal(pixels(again), pixels(first)) and np.array_equal(pixels(anew), pixels(first))
    made.decode(packets[1])
    assert network.calls == 1


def test_an_inner_stream_runs_it_where_the_decoded_picture_is_another(profile: Profile) -> None:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(PHOTOGRAPH[40:140, 130:280]), format="rgb24")
    settings = InnerSettings(codec="hevc", simplify="off", background=0, latency="zero", threads=1)
    encoder = Encoder(WIDTH, HEIGHT, rate=25, profile=profile, threads=1, q=20, machine="inner", inner=settings)
    packets = [packet for _ in range(4) for packet in encoder.encode(frame)] + encoder.encode(None)
    made = decoder(profile)
    assert len(made.decode(packets[0])) == 1
    network = counted(made._human)
    assert len(frames(made, packets[1:])) == 3
    machine = [pixels(one) for one in frames(Decoder(profile=profile, threads=1), packets)]
    others = [not np.array_equal(one, other) for one, other in pairwise(machine)]
    # The standard codec codes a still picture a little better in its second frame, and then repeats it.
    assert network.calls == sum(others) < 3


@pytest.mark.parametrize("options", [{}, {"steps": 0}, {"steps": 0, "start": "texture"}])
def test_seeking_to_a_frame_gives_what_playing_to_it_gives(profile: Profile, options: dict[str, Any]) -> None:
    packets = encode(profile)
    played = [pixels(frame) for frame in frames(decoder(profile, **options), packets)]
    sought = decoder(profile, **options)
    assert [sought.decode(packet, discard=True) for packet in packets[:-1]] == [[]] * (COUNT - 1)
    assert np.array_equal(pixels(sought.decode(packets[-1])[0]), played[-1])


# ---- the profile


def changed(source: Profile, folder: Path, **entries: Any) -> Path:
    """A copy of a profile with other entries in its manifest."""
    shutil.copytree(source.folder, folder)
    manifest = json.loads((folder / "profile.json").read_text()) | entries
    (folder / "profile.json").write_text(json.dumps(manifest))
    return folder


def test_its_file_is_checked_with_the_others(profile: Profile, tmp_path: Path) -> None:
    assert all(result.passed for result in profile.verify())
    folder = changed(profile, tmp_path / "copy")
    (folder / "human_decoder.onnx").write_bytes(b"another")
    with pytest.raises(ProfileError, match=r"human_decoder\.onnx has sha256"):
        Profile(folder).verify()


def test_a_latent_diffusion_model_has_a_decoder_of_its_own(profile: Profile, tmp_path: Path) -> None:
    manifest = json.loads((profile.folder / "profile.json").read_text())
    manifest["networks"].pop("caption")
    manifest.pop("human")
    folder = changed(profile, tmp_path / "copy")
    manifest["latent_diffusion"] = {"control": "latent", "guidance": 1,
                                    "tokenizer": {"file": "tokenizer.json", "sha256": "0"}}
    (folder / "profile.json").write_text(json.dumps(manifest))
    with pytest.raises(ProfileError, match="'latent_diffusion' beside network 'human_decoder'"):
        Profile(folder)


def test_engines_doctor_and_batches_know_it(profile: Profile) -> None:
    network = CpuBackend(1).load(profile.path("human_decoder"))
    assert "human_decoder" in BUILDABLE and isinstance(network, DescribedNetwork)
    assert batched_inputs(network.signature) == ("z", "noise")
    (inputs,) = drawn("human_decoder", network.signature, 2, 3, exact=False).inputs()
    assert inputs["z"].shape == inputs["noise"].shape == (1, 48, 16, 24)
    assert network(**inputs)[0].shape == (1, 3, 128, 192)
    (report,) = [one for one in network_reports(str(profile.folder), "cpu") if one.network == "human_decoder"]
    assert report.device == "cpu"
