"""Human views of no steps: D_h shows the machine layer, and what is known of the texture, without any sampling."""

from __future__ import annotations

import json
import runpy
import shutil
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from duoview import Decoder, Encoder, FrameOrigin, Profile, ProfileError
from duoview.backends import CpuBackend
from duoview.captions import Caption
from duoview.detections import Detections
from duoview.human import Floats, Hints, HumanView, Provenance
from duoview.pipelines.command import main
from duoview.plugins.filters.dv_human import Human

HERE = Path(__file__)
HUMAN = SimpleNamespace(**runpy.run_path(str(HERE.with_name("human_profile.py"))))
TEXTURE = SimpleNamespace(**runpy.run_path(str(HERE.with_name("texture_profile.py"))))
WIDTH, HEIGHT = 150, 100
SAID = Caption.parse("1 person left")


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


@pytest.fixture(scope="module")
def packets(profile: Profile) -> list[av.Packet]:
    """Two units of a photograph that moves, with texture and a caption."""
    encoder = Encoder(WIDTH, HEIGHT, rate=25, profile=profile, threads=1, q=20, texture=TEXTURE.DEPTH, caption=SAID)
    found, photograph = [], data.astronaut()
    for number in range(2):
        picture = np.ascontiguousarray(photograph[40:40 + HEIGHT, 130 + 8 * number:130 + 8 * number + WIDTH])
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        found += encoder.encode(frame)
    return found + encoder.encode(None)


def view(profile: Profile, **options: Any) -> HumanView:
    return HumanView(profile, CpuBackend(1), **({"steps": 0} | options))


def latent(seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal((1, 48, 16, 24), np.float32)


def shown(profile: Profile, packets: list[av.Packet], **options: Any) -> list[tuple[NDArray[Any], Provenance]]:
    """Pictures of the human view of no steps, and what they say of themselves."""
    given: dict[str, Any] = {"steps": 0} | options
    decoder = Decoder(profile=profile, threads=1, view="human", strict=True, **given)
    found = []
    for frame in [one for packet in packets for one in decoder.decode(packet)] + decoder.decode(None):
        assert isinstance(frame.opaque, FrameOrigin) and frame.opaque.provenance is not None
        found.append((frame.to_ndarray(format="rgb24"), frame.opaque.provenance))
    return found


@pytest.mark.parametrize("start", ["guided", "slim"])
def test_the_latent_is_that_of_the_machine_view(profile: Profile, start: str) -> None:
    z_m = latent()
    assert np.array_equal(view(profile, start=start).latent(z_m, 24), z_m)


def test_from_texture_the_latent_is_what_is_known_where_anything_is(profile: Profile) -> None:
    z_m, texture, depth = latent(), latent(1), np.zeros((16, 24), np.uint8)
    depth[4:9, 3:] = TEXTURE.DEPTH
    found = view(profile, start="texture").latent(z_m, 24, Hints(texture=texture, depth=depth))
    assert np.array_equal(found[:, :, depth == 0], z_m[:, :, depth == 0])
    assert np.abs(found - (z_m + texture))[:, :, depth > 0].max() < 1e-5
    with pytest.raises(ValueError, match="expected hints with texture and its depth"):
        view(profile, start="texture").latent(z_m, 24)


def test_no_denoiser_is_loaded(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    loaded = Profile.load

    def load(self: Profile, name: str, backend: Any) -> Any:
        asked.append(name)
        return loaded(self, name, backend)

    monkeypatch.setattr(Profile, "load", load)
    assert view(profile, start="slim").picture(latent(), 24, Hints(caption=SAID)).shape == (1, 3, 128, 192)
    assert sorted(asked) == ["colour", "human_decoder"]


def test_the_seed_still_decides_the_picture(profile: Profile) -> None:
    z_m = latent()
    pictures = [view(profile, seed=seed).picture(z_m, 24) for seed in (3, 3, 4)]
    assert np.array_equal(pictures[0], pictures[1]) and not np.array_equal(pictures[0], pictures[2])


def test_windows_do_not_count(profile: Profile) -> None:
    z_m = latent()
    views = [view(profile, tile=tile) for tile in (None, 0, 16)]
    assert [one.provenance.tile for one in views] == [0, 0, 0]
    assert len({one.picture(z_m, 24).tobytes() for one in views}) == 1
    with pytest.raises(ValueError, match="tile=4"):
        view(profile, tile=4)


@pytest.mark.parametrize(("start", "layers", "generated"), [
    ("guided", ("machine",), "all detail above the machine view"),
    ("slim", ("machine",), "all detail above the machine view"),
    ("texture", ("machine", "texture"), "all detail above the texture that was sent")])
def test_pictures_tell_that_they_are_generated_in_no_steps(profile: Profile, packets: list[av.Packet], start: str,
                                                           layers: tuple[str, ...], generated: str) -> None:
    # The stream has a caption, which is told to nobody.
    for _, told in shown(profile, packets, start=start, seed=5):
        assert (told.steps, told.seed, told.tile, told.caption) == (0, 5, 0, "")
        assert (told.start, told.coded_layers, told.generated) == (start, layers, generated)


@pytest.mark.parametrize("start", ["slim", "texture"])
@pytest.mark.parametrize("caption", [SAID, Caption.parse("2 dog top"), "none"])
def test_captions_may_be_given_and_change_nothing(profile: Profile, packets: list[av.Packet], start: str,
                                                  caption: Caption | str) -> None:
    for (one, told), (other, _) in zip(shown(profile, packets, start=start, caption=caption),
                                       shown(profile, packets, start=start), strict=True):
        assert np.array_equal(one, other) and told.caption == ""


def test_a_detector_is_not_asked(profile: Profile, packets: list[av.Packet]) -> None:
    def find(frame: av.VideoFrame) -> Detections:
        raise AssertionError("nobody is told what it finds")

    bare = Encoder(WIDTH, HEIGHT, rate=25, profile=profile, threads=1, q=20)
    frame = av.VideoFrame.from_ndarray(np.full((HEIGHT, WIDTH, 3), 90, np.uint8), format="rgb24")
    assert len(shown(profile, bare.encode(frame), start="slim", detector=find)) == 1


def test_a_caption_that_the_profile_cannot_read_is_refused_as_with_steps(plain: Profile, packets: list[av.Packet],
                                                                         tmp_path: Path) -> None:
    shutil.copytree(plain.folder, tmp_path / "profile")
    HUMAN.add_human(tmp_path / "profile", captions=False, levels=(1.0, 0.9, 0.7, 0.5, 0.3))
    silent: Profile = HUMAN.add_human_decoder(tmp_path / "profile")
    for steps in (0, 1):
        with pytest.raises(ProfileError, match="expected a profile that was trained with captions"):
            shown(silent, packets, start="texture", caption=SAID, steps=steps)


def test_a_text_that_nobody_reads_is_refused_as_with_steps(profile: Profile) -> None:
    with pytest.raises(ProfileError, match="has no text encoder"):
        view(profile, text="a dog")


def test_without_a_decoder_of_human_views_it_would_be_the_machine_view(plain: Profile, tmp_path: Path) -> None:
    told = (r"steps=0: profile '\w+' has no decoder of human views \(network 'human_decoder'\), without which that "
            r"would be the machine view; expected 1 to 50, or a profile that has one: train it with python -m "
            r"duoview\.models\.human_decoder_command")
    for one in (plain, HUMAN.first_generation(tmp_path / "old")):
        with pytest.raises(ProfileError, match=told):
            view(one)
        assert view(one, steps=1).steps == 1


def test_a_first_denoiser_beside_a_decoder_of_human_views_is_left_out_too(tmp_path: Path) -> None:
    HUMAN.first_generation(tmp_path / "old")
    old, z_m = HUMAN.add_human_decoder(tmp_path / "old"), latent()
    made = view(old)
    (expected,) = old.load("human_decoder", CpuBackend(1))(z=z_m, noise=made.noise(16, 24))
    assert np.array_equal(made.picture(z_m, 24), expected)


@pytest.mark.parametrize("steps", [-1, 51])
def test_other_numbers_of_steps_are_refused(profile: Profile, steps: int) -> None:
    with pytest.raises(ValueError, match=f"steps={steps}: expected 0 to 50"):
        view(profile, steps=steps)


def test_the_filter_and_the_command_take_no_steps(profile: Profile, packets: list[av.Packet], tmp_path: Path) -> None:
    (one, *_) = Human(steps=0, threads=1, profile=str(profile.folder)).process(packets)
    assert np.array_equal(one.to_ndarray(format="rgb24"), shown(profile, packets)[0][0])
    source, coded, target = (str(tmp_path / name) for name in ("in.mkv", "in.nut", "out.mkv"))
    with av.open(source, "w") as container:
        stream: Any = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 80, "bgr0"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(data.astronaut()[:80, :96].copy(), format="rgb24")))
        container.mux(stream.encode(None))
    chosen = ["-profile", str(profile.folder)]
    assert main(["encode", "-loglevel", "error", "-i", source, *chosen, coded]) == 0
    words = ["decode", "-y", "-loglevel", "error", *chosen, "-i", coded, "-view", "human", "-steps"]
    assert main([*words, "0", target]) == 0
    assert json.loads(Path(target + ".json").read_text())["segments"][0]["provenance"]["steps"] == 0
    assert main([*words, "51", target]) == 2
