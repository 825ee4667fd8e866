"""The texture layer's training: what is exported is what was trained, and one command makes a whole profile."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from skimage import data

from duoview import Decoder, Encoder, Profile
from duoview.backends import open_backend
from duoview.export import texture_networks
from duoview.export.profile import add_texture
from duoview.models.fixed_point import accumulator_share, keep_accumulators_in_range
from duoview.models.texture import Texture, TextureShape, class_table, float_teacher
from duoview.models.texture_analysis import TextureAnalysis, TextureSynthesis
from duoview.models.texture_command import main
from duoview.models.texture_palettes import STEP, Palettes, cluster, transform
from duoview.models.texture_samples import TextureSamples, prepare
from duoview.models.texture_synthesis import DepthSynthesis, node_components
from duoview.models.train_texture import (
    Nodes,
    TextureTraining,
    class_bits,
    halves,
    log_odds,
    logits_of,
    make_batch,
    static_bits,
    train,
    validate,
)
from duoview.profile import BUNDLED
from duoview.texture.prior import Prior

LATENT, SYMBOLS = 48, 128
SHAPE = TextureShape(groups=3, depth=3, embedding=4, features=8, width=16)


@pytest.fixture(scope="module")
def palettes() -> Palettes:
    random = np.random.default_rng(0)
    return cluster(random.standard_normal((12, LATENT, 8, 8)).astype(np.float32), np.arange(12) * 5, groups=3, depth=3)


def vectors(palettes: Palettes) -> list[torch.Tensor]:
    return [torch.from_numpy(one.astype(np.float32) * np.float32(STEP)) for one in palettes.nodes]


def new_network(palettes: Palettes, seed: int = 1) -> Texture:
    torch.manual_seed(seed)
    network = Texture(SHAPE, SYMBOLS, vectors(palettes),
                      [torch.randn(SHAPE.groups, 1 << depth) for depth in range(SHAPE.depth)])
    with torch.no_grad():
        network.prior.head.weight.mul_(20)
    keep_accumulators_in_range(network)
    return network.eval()


def new_nodes(palettes: Palettes, count: int = 6, seed: int = 2) -> Nodes:
    """Leaves whose first decision the sign of the machine layer's symbols tells."""
    random = np.random.default_rng(seed)
    sides = random.choice(np.array([-200, 200]), (count, 1, 4, 4))
    decoded = (sides + random.integers(-90, 91, (count, SYMBOLS, 4, 4))).astype(np.int16)
    sign = (decoded[:, :1] > 0).repeat(2, 2).repeat(2, 3)
    leaves = random.integers(0, 4, (count, SHAPE.groups, 8, 8)) + 4 * sign
    return Nodes(leaves.astype(np.uint8), decoded, random.integers(0, 64, count))


def session(data_: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(data_, providers=["CPUExecutionProvider"])


def test_the_exported_networks_give_the_integers_of_training(palettes: Palettes) -> None:
    network = new_network(palettes)
    random = np.random.default_rng(3)
    decoded = random.integers(-2000, 2001, (1, SYMBOLS, 4, 6)).astype(np.float32)
    (features,) = session(texture_networks.features(network).SerializeToString()).run(
        None, {"decoded": decoded, "q": np.array([37])})
    with torch.no_grad():
        own = network.features(torch.from_numpy(decoded) / 16, torch.tensor([37])) * 16
    assert np.array_equal(features, own.numpy()) and len(np.unique(features)) > 8
    inputs = {"features": features,
              "nodes": random.integers(-128, 128, (1, SHAPE.groups * SHAPE.embedding, 8, 12)).astype(np.float32),
              "decided": random.integers(-1, 2, (1, SHAPE.groups, 8, 12)).astype(np.float32) * 64,
              "previous": random.integers(-1, 2, (1, SHAPE.groups, 8, 12)).astype(np.float32) * 64,
              "conditions": random.integers(0, 64, (1, 14, 1, 1)).astype(np.float32)}
    (logits,) = session(texture_networks.prior(network).SerializeToString()).run(None, inputs)
    with torch.no_grad():
        own = network.prior(*(torch.from_numpy(array) / 16 for array in inputs.values())) * 16
    assert np.array_equal(logits, own.numpy()) and len(np.unique(logits)) > 8


def test_a_profile_gives_the_classes_that_training_counted(palettes: Palettes, tmp_path: Path) -> None:
    shutil.copytree(BUNDLED / "s", tmp_path / "p")
    network, nodes = new_network(palettes), new_nodes(palettes, 1)
    error = np.ones(64, np.float32)
    add_texture(network, TextureAnalysis(LATENT), DepthSynthesis(LATENT, 3), palettes, error, tmp_path / "p")
    profile = Profile(tmp_path / "p")
    assert all(result.passed for result in profile.verify())
    prior = Prior(profile, open_backend("cpu", 1))
    first = halves(SHAPE.groups, 8, 8)[0].numpy() > 0.5
    random = np.random.default_rng(4)
    for depth in range(SHAPE.depth):
        for key in (True, False):
            batch = make_batch(nodes, palettes, np.array([0]), np.array([depth]), np.array([not key]), random,
                               torch.device("cpu"))
            with torch.no_grad():
                logits = logits_of(network, batch)
            expected = class_table()[(logits * 16).round().long() + 128][0].numpy()
            context = prior.frame(nodes.decoded[:1].astype(np.float32), (8, 8), int(nodes.q[0]), key)
            parents = (nodes.leaves[0] >> SHAPE.depth - depth)
            children = nodes.leaves[0] >> SHAPE.depth - depth - 1 & 1
            previous = batch.previous[0].numpy().astype(np.int8)
            decided = np.where(first, children.astype(np.int8) * 2 - 1, 0).astype(np.int8)
            given = prior.at(context, parents, depth, previous)
            early, late = given.classes(np.zeros_like(decided), 0), given.classes(decided, 1)
            assert np.array_equal(np.where(first, early, late), expected)


def test_the_class_table_holds_the_nearest_probabilities() -> None:
    classes = class_table().numpy().astype(float)
    wanted = 1 / (1 + np.exp(-np.arange(-128, 128) / 16))
    assert np.abs((classes - 63.5) / 128 - wanted).max() <= 0.5 / 128 + 1e-9
    assert (np.diff(classes) >= 0).all()


def test_counts_are_what_the_static_model_is(palettes: Palettes) -> None:
    nodes = new_nodes(palettes, 40)
    odds = log_odds(nodes, 3)
    share = (nodes.leaves[:, 0] >= 4).mean()
    assert abs(odds[0][0, 0] - np.log(share / (1 - share))) < 0.01
    bits = static_bits(nodes, nodes, 3)
    assert len(bits) == 3 and all(0.99 < one <= 1.001 for one in bits)


def test_an_inner_node_is_the_mean_of_what_is_below(palettes: Palettes) -> None:
    random = np.random.default_rng(0)
    components = random.standard_normal((12, LATENT, 8, 8)).astype(np.float32)
    found = palettes.vectors(components, np.arange(12) * 5)
    leaves = palettes.leaves(found)
    for depth in range(3):
        for node in range(1 << depth):
            inside = found[leaves[:, 0] >> 3 - depth == node, 0]
            assert np.abs(inside.mean(0) - palettes.nodes[depth][0, node] * STEP).max() < 0.25


def test_the_first_transform_is_the_pictures_metric() -> None:
    random = np.random.default_rng(5)
    residual = random.standard_normal((500, 12)).astype(np.float32)
    root = random.standard_normal((12, 12)).astype(np.float32)
    weight = root @ root.T
    forward = transform(residual, weight, 3)
    expected = np.einsum("nc,cd,nd->n", residual, weight, residual)
    assert np.allclose(((residual @ forward.T) ** 2).sum(1), expected, rtol=0.05)


def test_training_learns_what_the_machine_layer_tells_and_goes_on(palettes: Palettes, tmp_path: Path) -> None:
    nodes, held = new_nodes(palettes, 64), new_nodes(palettes, 16, seed=9)
    options = TextureTraining(minutes=0.25, batch=8, rate=1e-2)
    network = train(palettes, SHAPE, SYMBOLS, nodes, held, options, tmp_path)
    found = validate(network, nodes, held, palettes)
    assert found["bits_1"] < 0.9 * found["static_1"] and accumulator_share(network) < 1
    assert abs(found["bits"] - found["teacher"]) < 0.02 * found["teacher"]
    again = train(palettes, SHAPE, SYMBOLS, nodes, held, options, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))


def test_the_teacher_is_the_network_without_rounding(palettes: Palettes) -> None:
    network = new_network(palettes)
    batch = make_batch(new_nodes(palettes), palettes, np.arange(4), np.array([0, 1, 2, 2]), np.zeros(4, np.bool_),
                       np.random.default_rng(1), torch.device("cpu"))
    with torch.no_grad():
        exact, free = logits_of(network, batch), logits_of(float_teacher(network), batch)
    assert (exact * 16 == (exact * 16).round()).all() and not torch.equal(exact, free)
    assert float((exact - free).abs().mean()) < 0.3
    assert float(class_bits(exact, batch.children).min()) > 0


def test_every_depth_has_its_own_way_back_and_begins_with_the_trained_one(palettes: Palettes) -> None:
    torch.manual_seed(2)
    start = TextureSynthesis(LATENT)
    synthesis = DepthSynthesis(LATENT, 3, start)
    leaves = np.random.default_rng(3).integers(0, 8, (3, 8, 8)).astype(np.uint8)
    found = node_components(palettes, leaves, 2, 30)[None]
    expected = palettes.nodes[2][1, leaves[1, 4, 5] >> 1].astype(np.float32) * np.float32(STEP) * palettes.scale[30, 1]
    assert np.allclose(found[0, 16:32, 4, 5], expected)
    with torch.no_grad():
        shown = synthesis(found, torch.tensor([2]), torch.tensor([30]))
        assert torch.allclose(shown, start(found, torch.tensor([30])), atol=1e-4)
        synthesis.matrix[1] *= 2
        assert torch.allclose(synthesis(found, torch.tensor([2]), torch.tensor([30])), 2 * shown, atol=1e-4)


def test_samples_are_made_once_for_the_weights_that_code_them(tmp_path: Path) -> None:
    from duoview.models.data import Material

    picture = np.ascontiguousarray(data.astronaut()[:128, :192])
    material = Material(pictures=[picture], held_pictures=[picture])
    made = prepare(Profile("s"), material, tmp_path, count=3, size=64, held=2)
    assert [len(part) for part in made] == [3, 2] and made[0].z.shape == (3, LATENT, 8, 8)
    again = prepare(Profile("s"), Material(), tmp_path, count=3, size=64, held=2)
    for field in ("pictures", "z", "z_m", "decoded", "q"):
        assert np.array_equal(getattr(made[0], field), getattr(again[0], field))
    assert isinstance(again[1], TextureSamples)


def test_one_command_makes_a_profile_that_codes_texture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pictures").mkdir()
    for number, picture in enumerate((data.astronaut(), data.chelsea(), data.coffee())):
        for part in range(4):
            Image.fromarray(picture[part * 40:part * 40 + 160, :200]).save(
                tmp_path / "pictures" / f"{number}_{part}.png")
    shutil.copytree(BUNDLED / "s", tmp_path / "p")
    words = ["-i", str(tmp_path / "pictures"), "--profile", str(tmp_path / "p"), "--out", str(tmp_path / "runs"),
             "--samples", "12", "--check", "0", "--crop", "64", "--groups", "4", "--depth", "2", "--threads", "1"]
    assert main([*words, "--minutes", "0.02,0.02,0.02"]) == 0
    profile = Profile(tmp_path / "p")
    assert profile.texture().depth == 2 and "## The texture layer" in (tmp_path / "p" / "MODEL_CARD.md").read_text()
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(data.astronaut()[:96, :96]), format="rgb24")
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    (packet,) = Encoder(96, 96, profile=profile, threads=1, texture=2).encode(frame)
    decoder = Decoder(profile=profile, threads=1, view="texture", strict=True)
    assert len(decoder.decode(packet)) == 1
    assert main([*words, "--minutes", "0.02,0.02,0.02", "--groups", "6"]) == 1
    assert "asked for 6" in capsys.readouterr().err
    assert main([*words, "--minutes", "1,1"]) == 1
