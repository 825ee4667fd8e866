"""Texture in recorded files: how much there is, and the same file without it. Nothing is decoded."""

from __future__ import annotations

import shutil
from pathlib import Path

import duoview
from duoview.access_unit import parse, parse_header, serialize
from duoview.errors import BitstreamError, ContainerError
from duoview.pipelines.segment_file import sync_path
from duoview.plugins.containers.packet import with_payload
from duoview.plugins.filters.dv_encode import UNKNOWN_RATE
from duoview.sequence import PaletteGeometry
from duoview.texture import Depths
from duoview.texture.cutting import TextureCutter, texture_bytes
from duoview.unit_origin import is_discarded

_Times = tuple[int | None, int | None, int | None, bool, bool]


def texture_of(path: Path) -> int:
    """Bytes of texture in a file of access units, as far as it can be read; 0 in a file of anything else."""
    found = 0
    try:
        with duoview.open(str(path)) as container:
            for packet in container.demux():
                header = parse_header(bytes(packet))
                if header.sequence is not None and header.sequence.palette == PaletteGeometry():
                    return found  # the stream has no texture
                found += texture_bytes(header)
    except (ContainerError, BitstreamError):
        return found  # cut off, or no file of ours: what came before it counts
    return found


def write_without_texture(source: Path, target: Path) -> int:
    """Write the machine layer of `source` to the file `target`, see it onto the disk, and return its bytes of payload.

    The new file has the same packets at the same times; that is looked at before this returns. Raises BitstreamError
    for a unit that is damaged, ContainerError, OSError; `target` is not left then.
    """
    cutter = TextureCutter(Depths(0))
    size = 0
    try:
        with duoview.open(str(source)) as container:
            form = "mpegts" if source.suffix == ".ts" else source.suffix[1:]
            with duoview.open(str(target), "w", format=form) as output:
                for packet in container.demux():
                    unit = cutter.cut(parse(bytes(packet)))
                    sequence = cutter.sequence
                    if sequence is None:
                        raise BitstreamError("an access unit before the first key unit", offset=0)
                    if output.stream is None:
                        output.add_stream(rate=container.stream.average_rate or UNKNOWN_RATE, width=sequence.width,
                                          height=sequence.height, time_base=packet.time_base)
                    data = serialize(unit)
                    output.mux(with_payload(packet, data))
                    size += len(data)
        if _times(source) != _times(target):
            raise ContainerError(f"{source}: without texture its packets would have other times or marks",
                                 name=str(source))
        shutil.copystat(source, target)
        sync_path(target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return size


def _times(path: Path) -> list[_Times]:
    with duoview.open(str(path)) as container:
        return [(packet.pts, packet.dts, packet.duration, packet.is_keyframe, is_discarded(packet))
                for packet in container.demux()]
