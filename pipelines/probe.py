"""``duoview probe``: what is in a duoview file, read without any network."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import duoview
from duoview.access_unit import SectionType, UnitHeader, parse, parse_header
from duoview.errors import BitstreamError, ContainerError
from duoview.inner.payload import read_key
from duoview.sequence import SequenceHeader
from duoview.texture.geometry import depth_and_tile

from .console import LEVELS, Console
from .cut import item_time
from .errors import MediaError, UsageError
from .filters import OUTPUT_FORMAT
from .options import ANYWHERE, COMMON_OPTIONS, FORMAT_OPTION, CommandOption, help_lines, split

TABLE = (
    *COMMON_OPTIONS,
    OUTPUT_FORMAT,
    FORMAT_OPTION,
    CommandOption("show_units", "", "list every access unit", ANYWHERE, aliases=("show_packets", "show_frames")),
    CommandOption("device", "name", "accepted as everywhere; probing runs no network", ANYWHERE),
)


def usage() -> str:
    """The help of the command."""
    return "\n".join(("duoview probe [-of json] [-show_units] file", "", *help_lines(TABLE)))


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    line = split(arguments, TABLE)
    files = (*line.inputs, *line.outputs)
    if len(files) != 1:
        raise UsageError(f"probe: expected one file, as in duoview probe out.nut; {len(files)} were given")
    console = Console(line.globals.get("loglevel", LEVELS["info"]))
    report = probe(files[0].url, files[0].get("f"), console, units=bool(line.globals.get("show_units")))
    if line.globals.get("of") == "json":
        print(json.dumps(report, indent=1))
    else:
        print(as_text(report))
    return 0


def probe(url: str, format: str | None, console: Console, *, units: bool = False) -> dict[str, Any]:
    """Read all access units of a file. Raises MediaError or a container error when there is not one."""
    count = _Count()
    with duoview.open(url, format=format) as container:
        stream = container.stream
        packets = container.demux()
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except ContainerError as error:
                console.warning(f"reading stopped here: {error}")
                break
            count.add(packet, keep=units)
        report: dict[str, Any] = {
            "file": url,
            "format": container.format_name,
            "duration": _seconds(stream.duration, stream.time_base) or count.duration,
            "start_time": _seconds(stream.start_time, stream.time_base),
            "time_base": str(stream.time_base),
            "unreadable": container.damaged,
            "other_streams": [{"index": other.index, "type": other.type} for other in container.other_streams],
        }
    if not count.units and not count.damaged:
        raise MediaError(f"{url}: holds no access unit; expected a stream made by `duoview encode`")
    for text in count.complaints[:5]:
        console.warning(f"{url}: {text}")
    return report | count.report()


def as_text(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = [f"{report['file']}: {report['format']}, {report['units']} access units, {report['key_units']} key"]
    for sequence in report["sequences"]:
        rate = sequence["rate"]
        lines.append(
            f"  {sequence['width']}x{sequence['height']}, {rate} frames/s, profile {sequence['profile']} "
            f"({sequence['profile_hash'][:12]}...), machine codec {_codec_words(sequence)}, "
            f"source {sequence['pixel_format'] or 'unknown'}, from unit {sequence['first_unit']}"
        )
    if report["duration"] is not None:
        kilobits = report["bytes"] * 8 / 1000 / report["duration"] if report["duration"] else 0.0
        lines.append(f"  {report['duration']:.3f} s, {kilobits:.1f} kbit/s, {report['bits_per_pixel']:.4f} bit/pixel")
    for name, size in report["bytes_by_layer"].items():
        lines.append(f"  {name:<10} {size:>10} bytes  {size / max(report['bytes'], 1):6.1%}")
        if name == "texture":
            for depth, part in report["texture_bytes_by_depth"].items():
                lines.append(f"    depth {depth:<3}{part:>10} bytes  {part / max(report['bytes'], 1):6.1%}")
    if report["damaged_units"] or report["damaged_sections"] or report["unreadable"]:
        lines.append(
            f"  damaged: {report['damaged_units']} units, {report['damaged_sections']} sections, "
            f"{report['unreadable']} unreadable stretches"
        )
    for other in report["other_streams"]:
        lines.append(f"  stream {other['index']}: {other['type']}")
    for unit in report.get("list", ()):
        sections = ", ".join(f"{name} {size}" for name, size in unit["sections"])
        time = "N/A" if unit["time"] is None else f"{unit['time']:.3f}"
        lines.append(
            f"  {unit['unit']:6d} {time:>10} s {'key' if unit['key'] else '   '} {unit['bytes']:8d} bytes: {sections}"
        )
    return "\n".join(lines)


class _Count:
    """Sums over the access units of a file."""

    def __init__(self) -> None:
        self.units = self.keys = self.bytes = self.damaged = self.damaged_sections = 0
        self.layers: Counter[str] = Counter()
        self.depths: Counter[int] = Counter()
        self.sequences: list[dict[str, Any]] = []
        self.complaints: list[str] = []
        self.pixels = 0
        self.duration: float | None = None
        self._first: Fraction | None = None
        self._header: SequenceHeader | None = None
        self._inner: dict[str, Any] = {}
        self._list: list[dict[str, Any]] | None = None

    def add(self, packet: Any, *, keep: bool) -> None:
        """Count one packet."""
        data = bytes(packet)
        number = self.units + self.damaged
        self.bytes += len(data)
        at = item_time(packet)
        if at is not None:
            self._first = at if self._first is None else self._first
            length = packet.duration * Fraction(packet.time_base) if packet.duration else Fraction(0)
            self.duration = max(self.duration or 0.0, float(at + length - self._first))
        try:
            header, unit = parse_header(data), parse(data)
        except BitstreamError as error:
            self.damaged += 1
            self.complaints.append(f"access unit {number}: {error}")
            return
        self.damaged_sections += len(unit.damaged)
        for fault in unit.damaged:
            self.complaints.append(f"access unit {number}: section {layer_name(fault.type)}: {fault.reason}")
        self._count(header, len(data), number, unit.payload(SectionType.INNER))
        if keep:
            sections = [(layer_name(entry.type), entry.length) for entry in header.entries]
            self._list = self._list if self._list is not None else []
            self._list.append(
                {
                    "unit": number,
                    "time": float(at) if at is not None else None,
                    "key": header.key,
                    "bytes": len(data),
                    "sections": sections,
                }
            )

    def report(self) -> dict[str, Any]:
        """The sums, by name."""
        found = {
            "units": self.units,
            "key_units": self.keys,
            "bytes": self.bytes,
            "bits_per_pixel": self.bytes * 8 / self.pixels if self.pixels else 0.0,
            "bytes_by_layer": dict(self.layers),
            "texture_bytes_by_depth": {str(depth): self.depths[depth] for depth in sorted(self.depths)},
            "sequences": self.sequences,
            "damaged_units": self.damaged,
            "damaged_sections": self.damaged_sections,
        }
        return found | ({"list": self._list} if self._list is not None else {})

    def _count(self, unit: UnitHeader, size: int, number: int, inner: bytes | None) -> None:
        self.units += 1
        self.keys += unit.key
        for entry in unit.entries:
            self.layers[layer_name(entry.type)] += entry.length
            if entry.type == SectionType.TEXTURE:
                self.depths[depth_and_tile(entry.sub_index or 0)[0]] += entry.length
        self.layers["headers"] += max(0, size - sum(entry.length for entry in unit.entries))
        if unit.sequence is not None:
            found = _inner(unit.sequence, inner) if inner is not None else {}
            if unit.sequence != self._header or found != self._inner:
                self._header, self._inner = unit.sequence, found
                self.sequences.append(_sequence(unit.sequence, number) | found)
        if self._header is not None:
            self.pixels += self._header.width * self._header.height


def layer_name(kind: int) -> str:
    """The name of a section type, in lower case; its number where it is private."""
    try:
        return SectionType(kind).name.lower()
    except ValueError:
        return f"private {kind}"


def _inner(sequence: SequenceHeader, payload: bytes) -> dict[str, Any]:
    """What a key unit tells of the codec inside; nothing where it is damaged, which the decoder will tell."""
    try:
        header, _ = read_key(payload, sequence.width, sequence.height)
    except BitstreamError:
        return {}
    return {"inner_codec": header.codec.name.lower(), "coded_width": header.width, "coded_height": header.height}


def _codec_words(sequence: dict[str, Any]) -> str:
    if "inner_codec" not in sequence:
        return str(sequence["machine_codec"])
    return f"inner ({sequence['inner_codec']}, {sequence['coded_width']}x{sequence['coded_height']})"


def _sequence(header: SequenceHeader, number: int) -> dict[str, Any]:
    return {
        "first_unit": number,
        "width": header.width,
        "height": header.height,
        "rate": str(header.rate),
        "profile": header.profile,
        "profile_hash": header.profile_hash.hex(),
        "machine_codec": header.machine_codec.name.lower(),
        "texture": {"groups": header.palette.groups, "depth": header.palette.depth,
                    "tile_log2": header.palette.tile_log2} if header.palette.groups else None,
        "pixel_format": header.pixel_format,
        "sample_aspect_ratio": str(header.sample_aspect_ratio),
        "colour": {
            "primaries": header.colour.primaries,
            "transfer": header.colour.transfer,
            "matrix": header.colour.matrix,
            "range": header.colour.range,
        },
    }


def _seconds(ticks: int | None, time_base: Any) -> float | None:
    return float(ticks * Fraction(time_base)) if ticks is not None and time_base else None
