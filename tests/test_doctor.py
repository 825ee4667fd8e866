"""``duoview doctor``: what this machine can do and why not more, with an exit code for scripts."""

from __future__ import annotations

import json
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duoview.backends import CpuBackend, Network, nvidia
from duoview.kernels.cuda import Device
from duoview.pipelines import device_speed, doctor
from duoview.pipelines.command import main
from duoview.profile import EXACT, TEXTURE, Profile


@pytest.fixture(autouse=True)
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests are about machines without a GPU, wherever they run."""
    monkeypatch.setattr(nvidia, "driver", lambda index=0: nvidia.Driver(0, "", "present, but there is no GPU"))


def test_doctor_reports_every_device_and_the_profile_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "-of", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    devices = {item["name"]: item for item in document["devices"]}
    assert devices["cpu"]["usable"] and devices.keys() == {"cpu", "cuda", "tensorrt"}
    assert all(item["facts"] for item in devices.values())
    (profile,) = (item for item in document["profiles"] if item["name"] == "s")
    assert profile["usable"] and profile["golden"] == profile["passed"] > 0 and len(profile["sha256"]) == 64


def test_doctor_fails_with_exit_code_1_when_the_profile_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "-profile", "nowhere"]) == 1
    assert "no such bundled profile" in capsys.readouterr().out


def test_doctor_tells_of_every_network_where_it_runs_and_why_not_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "-of", "json"]) == 0
    networks = [item for item in json.loads(capsys.readouterr().out)["networks"] if item["profile"] == "s"]
    assert {item["network"] for item in networks} == set(Profile("s").manifest["networks"])
    assert {item["network"] for item in networks if item["exact"]} == {*EXACT, *TEXTURE}
    for item in networks:
        assert item["device"] == "cpu"
        assert item["why_not"].keys() == {"cuda", "tensorrt"}
        assert "device 'tensorrt': NVIDIA driver: present, but there is no GPU" in item["why_not"]["tensorrt"]


def test_doctor_names_a_network_that_no_device_computes_exactly(monkeypatch: pytest.MonkeyPatch,
                                                                capsys: pytest.CaptureFixture[str]) -> None:
    load = CpuBackend.load

    def wrong(self: CpuBackend, path: Path) -> Network:
        network = load(self, path)
        return (lambda **inputs: [output + 1 for output in network(**inputs)]) if path.stem == "key_hyper" else network

    monkeypatch.setattr(CpuBackend, "load", wrong)
    assert main(["doctor"]) == 1
    assert "on no device: key_hyper" in capsys.readouterr().out


@pytest.mark.parametrize(("does", "said"), [
    (lambda network, inputs: [output * np.float32("nan") for output in network(**inputs)], "is off by inf"),
    (lambda network, inputs: [output * np.float32(1.05) for output in network(**inputs)],
     "is off by 5.0e-02 (at most 1e-02)"),
    (lambda network, inputs: 1 / 0, "division by zero"),
])
def test_doctor_runs_float_networks_and_tells_whatever_happens(does: Callable[..., Any], said: str,
                                                               monkeypatch: pytest.MonkeyPatch,
                                                               capsys: pytest.CaptureFixture[str]) -> None:
    class Wrong(CpuBackend):
        name = "cuda"

        def load(self, path: Path) -> Any:
            network = super().load(path)
            return (lambda **inputs: does(network, inputs)) if path.stem == "encoder" else network

    backend = doctor.open_backend
    monkeypatch.setattr(doctor, "open_backend", lambda name: Wrong(1) if name == "cuda" else backend(name))
    assert main(["doctor", "-device", "cuda", "-of", "json"]) == 1
    document = json.loads(capsys.readouterr().out)
    (encoder,) = (item for item in document["networks"] if (item["profile"], item["network"]) == ("s", "encoder"))
    assert encoder["device"] == "cpu" and said in encoder["why_not"]["cuda"]


@pytest.mark.parametrize(("wrong", "said"), [
    (lambda output: output[:, 1:], "gives z of shape"), (lambda output: output * np.float32("nan"), "not finite"),
])
def test_doctor_looks_at_what_float_networks_give_on_the_cpu(wrong: Callable[..., Any], said: str,
                                                             monkeypatch: pytest.MonkeyPatch,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    load = CpuBackend.load

    class Wrong:
        def __init__(self, network: Any) -> None:
            self.network, self.signature = network, network.signature

        def __call__(self, **inputs: Any) -> Any:
            return [wrong(output) for output in self.network(**inputs)]

    monkeypatch.setattr(CpuBackend, "load", lambda self, path: Wrong(load(self, path)) if path.stem == "encoder"
                        else load(self, path))
    assert main(["doctor", "-of", "json"]) == 1
    networks = json.loads(capsys.readouterr().out)["networks"]
    (encoder,) = (item for item in networks if (item["profile"], item["network"]) == ("s", "encoder"))
    assert encoder["device"] == "" and said in encoder["why_not"]["cpu"]


def test_doctor_measures_the_device_when_it_is_asked_to(monkeypatch: pytest.MonkeyPatch,
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "measure", lambda profile, device: device_speed.measure(profile, device, seconds=.2))
    assert main(["doctor", "-bench", "-of", "json"]) == 0
    found = json.loads(capsys.readouterr().out)["bench"]
    assert (found["device"], found["profile"]) == ("cpu", "s")
    assert min(found["encoded"], found["decoded"]) >= 1
    assert min(found["encode_fps"], found["decode_fps"], found["first_frame"]) > 0


def test_doctor_does_not_measure_a_device_that_cannot_be_had(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "-bench", "-device", "tensorrt"]) == 1
    assert "bench: not run" in capsys.readouterr().out


def engines_fact(capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["doctor", "-of", "json"]) == 0
    (device,) = (item for item in json.loads(capsys.readouterr().out)["devices"] if item["name"] == "tensorrt")
    (fact,) = (fact for fact in device["facts"] if fact.startswith("engines: "))
    return str(fact)


def test_doctor_goes_on_where_the_folder_of_engines_cannot_be_read(monkeypatch: pytest.MonkeyPatch,
                                                                   capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DUOVIEW_ENGINES", "/" + 300 * "x")  # also root gets an error here
    assert "cannot be read (File name too long)" in engines_fact(capsys)


def test_doctor_goes_on_for_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
                                                  ) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "DUOVIEW_ENGINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: {}[uid])
    assert "has no home folder to keep engines in; set DUOVIEW_ENGINES" in engines_fact(capsys)


def test_doctor_tells_whether_pictures_can_stay_on_the_device_and_why_not(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "-of", "json"])
    (device,) = (item for item in json.loads(capsys.readouterr().out)["devices"] if item["name"] == "cuda")
    (fact,) = (fact for fact in device["facts"] if fact.startswith("pictures on the device: "))
    assert fact.startswith("pictures on the device: no: device 'cuda': NVIDIA driver: present, but there is no GPU")


def test_doctor_names_the_gpu_on_which_pictures_can_stay(monkeypatch: pytest.MonkeyPatch,
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("duoview.device.networks.CudaBackend", lambda index, graphs=False: CpuBackend(1))
    monkeypatch.setattr("duoview.device.networks.Device", lambda index: Device.on_cpu())
    main(["doctor"])
    assert "pictures on the device: duoview.device can, on CPU, lane by lane" in capsys.readouterr().out
