"""One stream, the same integers: whatever threads, graph optimisations, paths of kernels or process code it."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from duoview import Decoder, Encoder, Profile, kernels
from duoview import profile as profile_module
from duoview.access_unit import SectionType, parse
from duoview.backends import CpuBackend
from duoview.backends.onnxruntime_cpu import OPTIMISATIONS
from duoview.errors import ProfileError
from duoview.golden import integers
from duoview.machine import MachineLayer

WIDTH, HEIGHT, COUNT, Q = 200, 136, 5, 30
PHOTOGRAPH = data.chelsea()


#: 8-bit steps by which a sample of the human view may differ from device to device.
MOST_STEPS = 2


def frames(count: int = COUNT) -> list[av.VideoFrame]:
    """A panning photograph with noise, so that every P frame has symbols."""
    generator = np.random.default_rng(3)
    out = []
    for index in range(count):
        part = PHOTOGRAPH[60:60 + HEIGHT, 100 + 3 * index:100 + 3 * index + WIDTH]
        noisy = np.clip(part + generator.normal(0, 4, part.shape), 0, 255).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(noisy, format="rgb24")
        frame.pts, frame.time_base = index, Fraction(1, 25)
        out.append(frame)
    return out


@pytest.fixture(scope="module")
def profile() -> Profile:
    return Profile("s")


def encode(profile: Profile, threads: int = 1) -> tuple[list[bytes], str]:
    encoder = Encoder(WIDTH, HEIGHT, rate=25, q=Q, gop=4, profile=profile, threads=threads)
    units = [bytes(packet) for frame in frames() for packet in encoder.encode(frame)]
    return units, encoder.symbols_sha256()


@pytest.fixture(scope="module")
def coded(profile: Profile) -> tuple[list[bytes], str]:
    """Access units of five frames (two of them key), and the encoder's digest of its symbols."""
    return encode(profile)


def decoded_digest(profile: Profile, units: Iterable[bytes], *, threads: int = 1, view: str = "machine") -> str:
    decoder = Decoder(profile=profile, threads=threads, view=view, strict=True)
    for unit in units:
        decoder.decode(unit)
    return decoder.symbols_sha256()


def layer_digest(layer: MachineLayer, units: Iterable[bytes]) -> str:
    for data_ in units:
        unit = parse(data_)
        payload = unit.payload(SectionType.MACHINE)
        assert payload is not None
        layer.decode(payload, key=unit.key, q=Q, width=WIDTH, height=HEIGHT)
    return layer.digest.hexdigest()


def test_the_stream_holds_symbols_worth_comparing(profile: Profile, coded: tuple[list[bytes], str]) -> None:
    units, digest = coded
    assert [parse(unit).key for unit in units] == [True, False, False, False, True]
    assert min(len(unit) for unit in units) > 40
    assert len(digest) == 64
    other = decoded_digest(profile, units[:4])
    assert other != digest


def test_the_decoder_gets_the_encoders_symbols(profile: Profile, coded: tuple[list[bytes], str]) -> None:
    units, digest = coded
    assert decoded_digest(profile, units) == digest


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_changes_no_symbol(
        profile: Profile, coded: tuple[list[bytes], str], threads: int) -> None:
    units, digest = coded
    assert decoded_digest(profile, units, threads=threads) == digest


def test_a_stream_encoded_with_two_threads_decodes_with_one(profile: Profile) -> None:
    units, digest = encode(profile, threads=2)
    assert decoded_digest(profile, units, threads=1) == digest


@pytest.mark.parametrize("optimise", OPTIMISATIONS)
def test_graph_optimisations_change_no_symbol(profile: Profile, coded: tuple[list[bytes], str], optimise: str) -> None:
    units, digest = coded
    layer = MachineLayer(profile, CpuBackend(1, optimise=optimise), encode=False)
    assert layer_digest(layer, units) == digest


@pytest.mark.parametrize("path", kernels.paths())
def test_every_path_of_the_entropy_coder_decodes_the_same_symbols(
        profile: Profile, coded: tuple[list[bytes], str], path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    units, digest = coded
    monkeypatch.setattr(kernels, "Decoder", functools.partial(kernels.Decoder, path=path))
    assert decoded_digest(profile, units) == digest


def test_every_path_of_the_entropy_coder_writes_the_same_bytes(
        profile: Profile, coded: tuple[list[bytes], str], monkeypatch: pytest.MonkeyPatch) -> None:
    units, _ = coded
    for path in kernels.paths():
        with monkeypatch.context() as patch:
            patch.setattr(kernels, "encode", functools.partial(kernels.encode, path=path))
            assert encode(profile)[0] == units


@pytest.mark.parametrize("path", kernels.noise.paths())
def test_every_path_of_the_kernels_of_latents_decides_for_the_same_units(
        profile: Profile, coded: tuple[list[bytes], str], path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile_module, "_MOTION", {})  # operators that are loaded keep their path
    used = []

    def on_path(name: str) -> Callable[..., object]:
        function = getattr(kernels, name)

        def call(*given: object, **named: object) -> object:
            used.append(name)
            return function(*given, path=path, **named)
        return call

    for name in ("ShiftOperators", "ErrorForms", "picture_gain"):
        monkeypatch.setattr(kernels, name, on_path(name))
    units, _ = coded
    assert encode(profile, threads=2)[0] == units
    assert set(used) == {"ShiftOperators", "ErrorForms", "picture_gain"}


def test_another_process_decodes_the_same_symbols(coded: tuple[list[bytes], str], tmp_path: Path) -> None:
    units, digest = coded
    for index, unit in enumerate(units):
        (tmp_path / f"{index}.unit").write_bytes(unit)
    program = (
        "import sys, pathlib, duoview\n"
        "decoder = duoview.Decoder(threads=2, strict=True)\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).glob('*.unit')):\n"
        "    decoder.decode(path.read_bytes())\n"
        "print(decoder.symbols_sha256())\n")
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest


def test_the_human_view_reads_the_same_symbols(profile: Profile, coded: tuple[list[bytes], str]) -> None:
    units, digest = coded
    assert decoded_digest(profile, units, view="human") == digest


def test_a_seek_gives_what_playing_gives(profile: Profile, coded: tuple[list[bytes], str]) -> None:
    units, _ = coded
    for view in ("machine", "human"):
        decoder = Decoder(profile=profile, threads=1, view=view, strict=True)
        played = [decoder.decode(unit)[0].to_ndarray() for unit in units]
        decoder.reset()
        (sought,) = decoder.decode(units[4])
        assert np.array_equal(sought.to_ndarray(), played[4])


def test_the_same_machine_settings_give_the_same_pictures_bit_by_bit(
        profile: Profile, coded: tuple[list[bytes], str]) -> None:
    units, _ = coded
    runs = []
    for _ in range(2):
        decoder = Decoder(profile=profile, threads=1, view="human", seed=9, strict=True)
        runs.append([decoder.decode(unit)[0].to_ndarray() for unit in units[:2]])
    assert all(np.array_equal(a, b) for a, b in zip(*runs, strict=True))


def test_elsewhere_the_human_view_is_the_same_up_to_rounding(profile: Profile, coded: tuple[list[bytes], str]) -> None:
    """Other threads and no graph optimisations: other orders of summation, as on another device."""
    units = coded[0][:2]

    def shown(backend: CpuBackend) -> NDArray[np.int16]:
        decoder = Decoder(profile=profile, device=backend, view="human", seed=9, strict=True)
        return np.stack([decoder.decode(unit)[0].to_ndarray().astype(np.int16) for unit in units])

    here = shown(CpuBackend(1))
    for other in (CpuBackend(2), CpuBackend(1, optimise="none")):
        assert np.abs(here - shown(other)).max() <= MOST_STEPS


def test_another_seed_gives_another_human_view_of_the_same_symbols(
        profile: Profile, coded: tuple[list[bytes], str]) -> None:
    units, _ = coded
    shown = [Decoder(profile=profile, threads=1, view="human", seed=seed).decode(units[0])[0].to_ndarray()
             for seed in (1, 2)]
    assert not np.array_equal(shown[0], shown[1])


def test_the_bundled_profile_passes_its_golden_vectors_at_every_level_of_optimisation(profile: Profile) -> None:
    for optimise in OPTIMISATIONS:
        results = profile.verify(CpuBackend(1, optimise=optimise))
        assert len(results) == 28  # four cases of each exact network, three of which are of the texture layer
        assert all(result.passed for result in results)


class Deviating(CpuBackend):
    """A backend whose arithmetic is off by one in the last output of every exact network."""

    name = "deviating"

    def load(self, path: Path) -> Any:
        network = super().load(path)
        return self.off(network) if path.stem.endswith(("_hyper", "_context")) else network

    @staticmethod
    def off(network: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
        def wrong(**inputs: Any) -> list[Any]:
            outputs = [np.array(output) for output in network(**inputs)]
            outputs[-1].flat[-1] += 1
            return outputs

        return wrong


def test_a_backend_that_computes_one_integer_wrongly_is_refused(profile: Profile) -> None:
    with pytest.raises(ProfileError, match=r"deviating.*key_hyper.*golden case 1x1"):
        MachineLayer(profile, Deviating(1), encode=False)


def test_an_unknown_level_of_optimisation_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="optimise='most': expected one of none, basic"):
        CpuBackend(1, optimise="most")


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 2.0**31, -3e9, 0.5])
def test_numbers_that_no_integer_holds_have_bytes_of_their_own(value: float) -> None:
    found = integers(np.array([value], np.float32))
    assert found.startswith(b"no integers") and len(found) == len(b"no integers") + 4
    assert integers(np.array([2.0**31 - 128], np.float32)) == np.array([2**31 - 128], "<i4").tobytes()
