"""What stands beside a file of generated pictures: every stretch of one provenance, and what a guard said of it."""

from __future__ import annotations

import dataclasses
import json
import tracemalloc
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from duoview.captions.caption import CLASSES, MAX_PHRASES, Caption
from duoview.detections import Detection
from duoview.findings import FrameFindings
from duoview.frame_origin import FrameOrigin
from duoview.human import Provenance
from duoview.pipelines import provenance
from duoview.pipelines.console import Console
from duoview.pipelines.errors import MediaError
from duoview.pipelines.outputs import OutputSettings
from duoview.pipelines.provenance import MOST_SEGMENTS, ProvenanceLog, comment
from duoview.pipelines.run.graph_output import EncodedFile
from duoview.plugins.links import link_of
from duoview.verdict import Difference, Kind, Verdict

MADE = Provenance("human", "guided", ("machine",), "all", 4, 7, "s", "ab" * 32)
OTHER = dataclasses.replace(MADE, seed=8)
PERSON = Detection((0, 0, 8, 8), 0.9, 0, "person")


def logged(opaques: Sequence[object]) -> ProvenanceLog:
    log = ProvenanceLog()
    for opaque in opaques:
        log.note(opaque)
    return log


def written(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_frames_of_one_provenance_are_one_segment_with_the_range_of_their_shares(tmp_path: Path) -> None:
    log = logged([FrameOrigin(False, MADE, 0.25), FrameOrigin(True, MADE, 0.75), FrameOrigin(False, OTHER, 0.5)])
    assert log.write(str(tmp_path / "out.mp4"), view="human")
    content = written(tmp_path / "out.mp4.json")
    assert content["view"] == "human" and content["frames"] == 3
    first, second = content["segments"]
    assert (first["first_frame"], first["frames"], first["concealed"]) == (0, 2, 1)
    assert first["generated_share"] == {"mean": 0.5, "least": 0.25, "greatest": 0.75}
    assert first["provenance"]["profile_sha256"] == "ab" * 32 and "guard" not in first
    assert (second["first_frame"], second["frames"], second["provenance"]["seed"]) == (2, 1, 8)


def test_what_a_guard_lost_invented_and_replaced_is_counted() -> None:
    lost, invented = (Difference(kind, PERSON) for kind in (Kind.LOST, Kind.INVENTED))
    said = [Verdict("human", "d"), Verdict("human", "d", (lost, invented)), Verdict("human", "d", (lost,))]
    found = [FrameFindings(provenance=MADE, verdict=verdict) for verdict in said]
    fallen_back = FrameFindings(verdict=Verdict("machine", "d", (lost,)))
    log = logged([*found, fallen_back])
    first, second = (segment.as_dict() for segment in log.segments)
    assert first["guard"] == {"frames": 3, "differing": 2, "replaced": 0, "lost": 2, "invented": 1}
    assert second["guard"]["replaced"] == 1 and second["provenance"] == {}


def test_pictures_of_which_nothing_was_generated_have_no_provenance() -> None:
    log = logged([FrameOrigin(False), None, "somebody's"])
    assert not log.generated and log.frames == 3
    assert comment(FrameOrigin(False)) is None and comment("somebody's") is None
    assert logged([FrameOrigin(False), FrameOrigin(False, MADE)]).generated


def test_a_pipe_has_no_place_beside_it_and_a_missing_folder_is_named(tmp_path: Path) -> None:
    log = logged([FrameOrigin(False, MADE)])
    assert not log.write("-") and not log.write("pipe:1")
    with pytest.raises(MediaError, match="cannot write the provenance"):
        log.write(str(tmp_path / "missing" / "out.mp4"))


def test_a_log_of_a_long_recording_takes_no_memory_for_every_frame() -> None:
    log = ProvenanceLog()
    tracemalloc.start()
    for number in range(20_000):
        log.note(FrameOrigin(False, MADE, number / 20_000))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    (segment,) = log.segments
    assert segment.as_dict()["generated_share"] == {"mean": 0.5, "least": 0, "greatest": 0.99995}
    assert held < 50_000


def fallen_back(number: int) -> FrameFindings:
    """Every other frame is the machine view, for a difference that was found."""
    lost = (Difference(Kind.LOST, PERSON),) if number % 2 else ()
    return FrameFindings(provenance=None if lost else MADE, generated_share=None if lost else 0.5,
                         verdict=Verdict("machine" if lost else "human", "d", lost))


def test_a_guard_that_falls_back_for_hours_takes_no_more_memory_and_no_longer_file(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "MOST_SEGMENTS", 64)
    held, logs = [], [ProvenanceLog(), ProvenanceLog()]
    for log, count in zip(logs, (1000, 8000), strict=True):
        tracemalloc.start()
        for number in range(count):
            log.note(fallen_back(number))
        held.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    size = []
    for log in logs:
        assert len(log.segments) == 64 and log.write(str(tmp_path / "out.mp4"))
        size.append((tmp_path / "out.mp4.json").stat().st_size)
    assert held[1] < held[0] * 1.2 and size[1] < size[0] * 1.2 and size[1] * MOST_SEGMENTS / 64 < 500_000


def test_the_file_stays_below_half_a_megabyte_with_the_longest_captions(tmp_path: Path) -> None:
    longest = sorted(CLASSES, key=len)[-MAX_PHRASES:]
    told = Caption.parse(", ".join(f"several {name} bottom-right moving right" for name in longest))
    made = dataclasses.replace(MADE, start="texture", coded_layers=("machine", "texture", "caption", "seed"),
                               generated="texture of depths that were not sent", seed=2**64 - 1, caption=str(told))
    random = np.random.default_rng(1)
    log = logged([dataclasses.replace(fallen_back(number), generated_share=float(random.random()),
                                      provenance=None if number % 2 else made) for number in range(3000)])
    assert log.write(str(tmp_path / "out.mp4"))
    assert (tmp_path / "out.mp4.json").stat().st_size < 500_000


def test_joined_stretches_lose_no_frame_and_no_count(tmp_path: Path) -> None:
    log = logged([fallen_back(number) for number in range(2001)])
    log.write(str(tmp_path / "out.mp4"))
    segments = written(tmp_path / "out.mp4.json")["segments"]
    starts = [segment["first_frame"] for segment in segments]
    assert starts == [sum(before["frames"] for before in segments[:index]) for index in range(len(segments))]
    assert sum(segment["frames"] for segment in segments) == 2001
    assert sum(segment.get("joined", 1) for segment in segments) == 2001
    totals = {name: sum(segment["guard"][name] for segment in segments) for name in segments[0]["guard"]}
    assert totals == {"frames": 2001, "differing": 1000, "replaced": 1000, "lost": 1000, "invented": 0}
    joined = [segment for segment in segments if "joined" in segment]
    assert max(segment["joined"] for segment in joined) <= 16  # all of the file is told as finely
    assert all(segment["provenance"] == json.loads(json.dumps(MADE.as_dict())) for segment in joined)
    assert sum(segment["generated_frames"] for segment in joined) + sum(
        segment["frames"] for segment in segments if "joined" not in segment and segment["provenance"]) == 1001
    assert all(segment["generated_share"]["mean"] == 0.5 and segment["varies"] == [] for segment in joined)


def test_joined_stretches_tell_what_is_not_the_same_in_all_of_them() -> None:
    log = logged([FrameOrigin(False, dataclasses.replace(MADE, seed=number % 251, caption=f"{number} cars"))
                  for number in range(MOST_SEGMENTS + 1)])
    told = next(segment.as_dict() for segment in log.segments if segment.joined > 1)
    assert told["varies"] == ["seed", "caption"] and told["generated_frames"] == told["frames"] == 2
    assert not {"caption", "seed"} & told["provenance"].keys() and told["provenance"]["profile"] == "s"


def test_a_frame_that_is_not_written_is_not_told_of(tmp_path: Path) -> None:
    path = tmp_path / "out.mkv"
    output = EncodedFile(OutputSettings(str(path)), Console(16))
    for pts, origin in ((0, MADE), (0, OTHER), (1, MADE)):
        frame = av.VideoFrame(64, 48, "yuv420p")
        frame.pts, frame.time_base, frame.opaque = pts, Fraction(1, 10), FrameOrigin(False, origin)
        output.write(frame, link_of(frame))
    output.close()
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 2
    content = written(Path(f"{path}.json"))
    assert content["frames"] == 2 and [segment["frames"] for segment in content["segments"]] == [2]


@pytest.mark.parametrize("origin", [FrameOrigin(False, MADE, 0.5), FrameOrigin(False)])
def test_an_encoded_output_of_a_graph_tells_what_was_generated(tmp_path: Path, origin: FrameOrigin) -> None:
    path = tmp_path / "out.mkv"
    output = EncodedFile(OutputSettings(str(path)), Console(16))
    for pts in range(2):
        frame = av.VideoFrame(64, 48, "yuv420p")
        frame.pts, frame.time_base, frame.opaque = pts, Fraction(1, 10), dataclasses.replace(origin)
        output.write(frame, link_of(frame))
    output.close()
    with av.open(str(path)) as container:
        told = container.metadata.get("COMMENT")
    if origin.provenance is None:
        assert told is None and not Path(f"{path}.json").exists()
    else:
        assert told is not None and json.loads(told)["generated"]["seed"] == 7
        (segment,) = written(Path(f"{path}.json"))["segments"]
        assert segment["frames"] == 2 and segment["generated_share"]["mean"] == 0.5
