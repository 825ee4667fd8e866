"""What the README shows works as it stands there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import av
import pytest

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a short in.mp4, as the README assumes one."""
    with av.open(str(tmp_path / "in.mp4"), "w") as output, av.open(
            "testsrc=size=192x128:rate=10:duration=0.4", format="lavfi") as source:
        stream = output.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 192, 128, "yuv420p"
        for frame in source.decode(video=0):
            frame.pict_type = 0
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return tmp_path


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_python_example_runs(folder: Path) -> None:
    (program,) = blocks("python")
    program += "\nassert [picture.width for picture in pictures] == [320] * 4\n"
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("\n")
    assert len(lines) == 6  # four frames, the hash, the end
    assert lines[0].endswith("192 128 False")
    assert re.fullmatch("[0-9a-f]{64}", lines[4])


def test_every_command_of_the_readme_runs(folder: Path) -> None:
    commands = [line for block in blocks("") for line in block.splitlines() if line.startswith("duoview ")]
    assert [line.split()[1] for line in commands] == [
        "encode", "encode", "encode", "decode", "decode", "run", "run", "cut", "probe", "filters", "doctor"]
    (folder / "pipelines.yaml").write_text(
        "cameras: {gate: {url: in.mp4, graph: 'dv_encode [m]', outputs: {m: {encode: {url: gate.nut}}}}}")
    program = str(Path(sys.executable).with_name("duoview"))
    for line in commands:
        command = shlex.split(line.replace("duoview", program, 1).replace("rtsp://camera/stream", "in.mp4"))
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    assert {path.name for path in folder.iterdir()} >= {
        "out.nut", "machine.mp4", "human.mp4", "human.mp4.json", "camera.nut", "gate.nut"}
