"""What a pipelines.yaml may say: cameras, what is done with each, where recordings lie and for how long.

Each class is a section of the file, each field a key; ``duoview run -schema`` prints all of it as a JSON Schema.
Reading and checking a file is `configuration_file`'s.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from duoview.backends.batching import DEFAULT_WINDOW
from duoview.pipelines.retention.archive import Kind
from duoview.pipelines.segment_file import FORMATS
from duoview.pipelines.unit_recorder import UNIT_FORMATS
from duoview.plugins.analytics import SINKS
from duoview.plugins.device_streams import DeviceStreams
from duoview.plugins.stream_batch import StreamBatch

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_MULTIPLES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
              "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$"


def read_duration(value: Any) -> Any:
    """Seconds of ``90``, ``1.5s``, ``250ms``, ``10m``, ``2h``, ``3d``, ``1w``. Raises ValueError."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    pattern = r"(\d+(?:\.\d+)?|\.\d+)\s*(ms|s|min|m|h|d|w)"
    match = re.fullmatch(pattern, value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("expected a time like 90, 1.5s, 250ms, 10m, 2h, 3d or 1w")
    return float(match[1]) * _UNITS[match[2]]


def read_size(value: Any) -> Any:
    """Bytes of ``1000000``, ``500MB``, ``2GiB``. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    pattern = r"(\d+(?:\.\d+)?)\s*(|k|M|G|T|Ki|Mi|Gi|Ti)B"
    match = re.fullmatch(pattern, value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("expected bytes like 1000000, 500MB or 2GiB")
    return round(float(match[1]) * _MULTIPLES[match[2]])


_TIME_SCHEMA = {"anyOf": [{"type": "number", "minimum": 0},
                          {"type": "string", "pattern": r"^\s*(\d+(\.\d+)?|\.\d+)\s*(ms|s|min|m|h|d|w)\s*$"}]}
_SIZE_SCHEMA = {"anyOf": [{"type": "integer", "minimum": 0},
                          {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*(|k|M|G|T|Ki|Mi|Gi|Ti)B\s*$"}]}
Seconds = Annotated[float, BeforeValidator(read_duration), Field(ge=0), WithJsonSchema(_TIME_SCHEMA)]
Bytes = Annotated[int, BeforeValidator(read_size), Field(ge=0), WithJsonSchema(_SIZE_SCHEMA)]


def _numbers_as_texts(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: str(one) if isinstance(one, (int, float)) and not isinstance(one, bool) else one
            for key, one in value.items()}


#: Options of libav, whose values YAML takes for numbers.
LibavOptions = Annotated[dict[str, str], BeforeValidator(_numbers_as_texts)]


class Section(BaseModel):
    """A mapping of which every key is known; values are not changed after they were read."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Timeouts(Section):
    """How long a camera may be silent."""

    open: Seconds = Field(5.0, gt=0, description="to open; twice that at most, as streams are found out afterwards")
    read: Seconds = Field(10.0, gt=0, description="without video, after which the connection is lost")


class Stream(Section):
    """One stream of a camera, and how it is read."""

    url: SecretStr = Field(description="what FFmpeg opens: rtsp://, rtmp://, http://, a file, /dev/video0; ${NAME} "
                                       "stands for a variable of the environment")
    format: str | None = Field(None, description="libavformat's name of the format, where the URL does not tell it")
    options: LibavOptions = Field({}, description="libavformat's options, such as rtsp_transport")
    timeout: Timeouts = Field(Timeouts(), description="seconds")
    rate: float | None = Field(
        None, gt=0, description="frames a second for the graph at most, thinned before they wait for it; else all")
    backlog: int = Field(
        4, ge=1, le=64, description="frames that wait for the graph at most; then the oldest gives way to a newer one")


class Record(Section):
    """Continuous recording of the camera's packets, as they come."""

    segment: Seconds = Field(60.0, gt=0, description="length after which a file ends with the next key frame")
    format: Literal["mkv", "mp4", "mov", "ts", "nut"] = Field("mkv", description="of the files")
    audio: bool = Field(False, description="record the sound too")

    @field_validator("format")
    @classmethod
    def _is_crash_safe(cls, value: str) -> str:
        assert value in FORMATS  # the literal above and the recorder's list are one
        return value


class Clips(Section):
    """Recordings around events only, from the camera's packets."""

    pre: Seconds = Field(5.0, le=600, description="before an event")
    post: Seconds = Field(10.0, le=3600, description="after it, and then to the next key frame")
    memory: Bytes = Field(64 << 20, gt=0, description="of packets held for what comes before events")
    format: Literal["mkv", "mp4", "mov", "ts", "nut"] = Field("mkv", description="of the files")
    segment: Seconds = Field(300.0, gt=0, description="length after which a long event goes on in another file")


class MachineRecord(Section):
    """Access units into segments of their own, beside the camera's recording."""

    segment: Seconds = Field(600.0, gt=0, description="length after which a file ends with the next key frame")
    format: Literal["nut", "ts"] = Field("nut", description="of the files")

    @field_validator("format")
    @classmethod
    def _is_known(cls, value: str) -> str:
        assert value in UNIT_FORMATS
        return value


class Analytics(Section):
    """What was found in frames, written down."""

    url: SecretStr = Field(description="a file (.jsonl, .xml, .vtt, .ts, .mp4) or mqtt://user:password@host:port")
    format: Literal["jsonl", "mqtt", "onvif", "webvtt", "data", "klv"] | None = Field(
        None, description="where the name does not tell it")

    @field_validator("format")
    @classmethod
    def _is_a_sink(cls, value: str | None) -> str | None:
        assert value is None or value in SINKS  # the literal above and the sinks' names are one
        return value


class Encode(Section):
    """Frames through one of libavcodec's encoders into a file or to a server; access units as they are."""

    url: SecretStr = Field(description="a file, or what FFmpeg can publish to: udp://, rtsp://, srt://, ...")
    format: str | None = Field(None, description="libavformat's name, where the URL does not tell it")
    codec: str | None = Field(None, description="libavcodec's encoder, for frames; libx264 where the format takes it")
    options: LibavOptions = Field({}, description="of the encoder, such as crf")


class OutputSection(Section):
    """What is done with one output of a camera's graph: exactly one of the keys."""

    record: MachineRecord | None = Field(None, description="access units into segments of the storage folder")
    analytics: Analytics | None = Field(None, description="findings of frames")
    encode: Encode | None = Field(None, description="frames or access units into one file or to a server")
    discard: Literal[True] | None = Field(None, description="nothing; the filters' own work was what is wanted")

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            keys = ", ".join(type(self).model_fields)
            raise ValueError(f"{' and '.join(given) or 'nothing'} given: expected exactly one of {keys}")
        return self


class CameraSection(Stream):
    """One camera, and all that is done with it."""

    analysis: Stream | None = Field(None, description="a smaller stream of the same camera, which the graph reads "
                                                      "instead of the one that is recorded")
    record: Record | None = Field(None, description="continuous recording; {} for the defaults")
    clips: Clips | None = Field(None, description="recordings around the events that dv_trigger tells of")
    graph: str | None = Field(None, description="a filtergraph with one input; see docs/filtergraphs.md")
    outputs: dict[str, OutputSection] = Field({}, description="what is done with each open output of the graph")

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.outputs and self.graph is None:
            raise ValueError("outputs are given but no graph: expected a graph whose outputs these are")
        if self.clips is not None and self.graph is None:
            raise ValueError("clips are given but no graph: expected one with dv_trigger, which tells of events")
        if self.record is None and self.graph is None:
            raise ValueError("nothing is done with this camera: expected record, or graph with outputs")
        if self.analysis is not None and self.graph is None:
            raise ValueError("analysis is given but no graph: expected the graph that reads it")
        return self


class LimitSection(Section):
    """How much of a tier is kept."""

    age: Seconds | None = Field(None, description="older segments go; none: by age nothing goes")
    size: Bytes | None = Field(None, description="beyond so many bytes the oldest go")


class RetentionSection(Section):
    """What is kept for how long. Without limits all is kept until the disk is down to its reserve."""

    texture: LimitSection = Field(LimitSection(), description="texture of the machine layer while nothing happened; "
                                  "the machine layer stays")
    texture_of_events: LimitSection = Field(LimitSection(), description="texture of the machine layer around events")
    continuous: LimitSection = Field(LimitSection(), description="a camera's packets while nothing happened")
    motion: LimitSection = Field(LimitSection(), description="the same while dv_trigger=on=motion told of an event")
    events: LimitSection = Field(LimitSection(), description="the same around all other events, and clips")
    machine_only: LimitSection = Field(LimitSection(), description="the machine layer while nothing happened")
    machine_of_events: LimitSection = Field(
        LimitSection(), description="the machine layer around events; never removed for room, only by these limits")


class Storage(Section):
    """Where recordings lie."""

    folder: Path = Field(description="of all recordings; it exists")
    reserve: Bytes = Field(2 << 30, description="to keep free on its disk")
    when_full: Literal["delete_oldest", "stop"] = Field(
        "delete_oldest", description="at the reserve the oldest go, texture first, then continuous; or recording stops")
    check_every: Seconds = Field(10.0, gt=0, description="between two looks at ages, sizes and the disk")
    retention: RetentionSection = Field(RetentionSection(), description="limits by tier")


class Http(Section):
    """Where /health and /metrics are served."""

    host: str = Field("127.0.0.1", description="address to listen at; there is no password, so think before opening it")
    port: int = Field(9470, ge=0, le=65535, description="0 for any that is free")


class Detection(Section):
    """How dv_detect of all cameras shares networks: those with equal options are one."""

    batch: int = Field(8, ge=1, le=64, description="frames in one run of the network, at most")
    window: Seconds = Field(0.02, le=10, description="to wait for other cameras' frames")


class Networks(Section):
    """How dv_encode and the views of all cameras run the networks that they share."""

    batch: int = Field(1, ge=1, le=64, description="cameras in one run of a network, at most")
    window: Seconds = Field(DEFAULT_WINDOW, le=10, description="that a frame waits for those of other cameras")
    hwaccel: Literal["none", "cuda"] = Field("none", description="code the whole way of a frame on a GPU, which all "
                                             "cameras share")
    memory: Bytes | None = Field(None, gt=0, description="of the GPU that codecs of all cameras may have, with hwaccel")

    @model_validator(mode="after")
    def _counts_memory(self) -> Self:
        if self.memory is not None and self.hwaccel == "none":
            raise ValueError("memory counts that of a GPU; expected hwaccel: cuda with it")
        return self

    @property
    def shared(self) -> StreamBatch:
        """As stages take it; each time with networks of its own on a GPU."""
        return StreamBatch(self.batch, self.window, self.hwaccel, DeviceStreams(memory_limit=self.memory))


class Configuration(Section):
    """All of a pipelines.yaml."""

    version: Literal[1] = Field(1, description="of this format")
    storage: Storage | None = Field(None, description="needed where something is recorded")
    http: Http | None = Field(None, description="{} for the defaults; nothing is served without it")
    detection: Detection = Field(Detection(), description="of all cameras together")
    networks: Networks = Field(Networks(), description="of all cameras together")
    cameras: dict[Annotated[str, Field(pattern=NAME)], CameraSection] = Field(
        min_length=1, description="by name: letters, digits, '_', '-', '.'")

    @model_validator(mode="after")
    def _has_a_place(self) -> Self:
        for name, camera in self.cameras.items():
            stored = camera.record or camera.clips or any(one.record for one in camera.outputs.values())
            if stored and self.storage is None:
                raise ValueError(f"camera {name} records, but there is no storage: expected storage: with a folder")
        owners: dict[str, str] = {}
        for name, camera in self.cameras.items():
            for recording, _ in recording_names(name, camera):
                if recording in owners:
                    raise ValueError(f"cameras {owners[recording]} and {name} both record as {recording!r}: expected "
                                     "other names of the cameras or of outputs")
                owners[recording] = name
        return self


def clips_name(camera: str) -> str:
    """The name of a camera's recordings of events."""
    return f"{camera}.clips"


def machine_name(camera: str, pad: str) -> str:
    """The name of the recording of an output of a camera's graph."""
    return f"{camera}.{pad}"


def recording_names(camera: str, section: CameraSection) -> list[tuple[str, Kind]]:
    """All recordings that a camera's section asks for."""
    names = [(camera, Kind.CAMERA)] if section.record is not None else []
    names += [(clips_name(camera), Kind.CLIPS)] if section.clips is not None else []
    return names + [(machine_name(camera, pad), Kind.MACHINE)
                    for pad, output in section.outputs.items() if output.record is not None]
