"""The texture layer's training: what is exported is what was trained, and one command makes a whole profile."""

from __future__ import annotations

import dataclasses
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
from duoview.models.texture_command import main, stored_palettes
from duoview.models.texture_palettes import STEP, Palettes, cluster, transform
from duoview.models.texture_samples import TextureSamples, at_texture_levels, code, inner_levels, prepare
from duoview.models.texture_synthesis import DepthSynthesis, node_components
from duoview.models.train_texture import (
    Nodes,
    TextureTraining,
    class_bits,
    halves,
    log_odds,
    logits_of,
    make_batch,
    overruled,
    static_bits,
    train,
    validate,
)
from duoview.profile import BUNDLED
from duoview.texture.block_means import MEANS
from duoview.texture.prior import Prior
from duoview.texture.view import Seen

LATENT, SYMBOLS = 48, 128
SHAPE = TextureShape(groups=3, depth=3, embedding=4, features=8, width=16)


@pytest.fixture(scope="module")
def palettes() -> Palettes:
    random = np.random.default_rng(0)
    # An error is worth so much that rates hardly count.
    return cluster(random.standard_normal((12, LATENT, 8, 8)).astype(np.float32), np.arange(12) * 5,
                   np.full(64, 5, np.float32), np.full(64, 10, np.float32), groups=3, depth=3)


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
    return Nodes(leaves.astype(np.uint8), decoded, random.integers(-128, 128, (count, MEANS, 4, 4)).astype(np.int16),
                 np.zeros(count, np.bool_), random.integers(0, 64, count))


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
    means = random.integers(-128, 128, (1, MEANS, 4, 6)).astype(np.float32)
    (seen,) = session(texture_networks.means(network).SerializeToString()).run(
        None, {"means": means, "q": np.array([37])})
    with torch.no_grad():
        own = network.means(torch.from_numpy(means) / 16, torch.tensor([37])) * 16
    assert np.array_equal(seen, own.numpy()) and seen.shape == features.shape and len(np.unique(seen)) > 8
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
    add_texture(network, TextureAnalysis(LATENT), DepthSynthesis(LATENT, 3), palettes, error,
                np.arange(64, dtype=np.uint8), tmp_path / "p")
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
            seen = Seen(key, nodes.decoded[:1].astype(np.float32), None, np.ones((8, 8), np.bool_), int(nodes.q[0]))
            context = prior.frame(seen, (8, 8))
            parents = (nodes.leaves[0] >> SHAPE.depth - depth)
            children = nodes.leaves[0] >> SHAPE.depth - depth - 1 & 1
            previous = batch.previous[0].numpy().astype(np.int8)
            decided = np.where(first, children.astype(np.int8) * 2 - 1, 0).astype(np.int8)
            given = prior.at(context, parents, depth, previous)
            early, late = given.decisions(np.zeros_like(decided), 0), given.decisions(decided, 1)
            assert np.array_equal(np.where(first, early.classes, late.classes), expected)


def test_the_class_table_holds_the_nearest_probabilities() -> None:
    classes = class_table(None).numpy().astype(float)
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
    leaves = palettes.leaves(found, np.arange(12) * 5)
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


def test_a_prior_of_other_palettes_is_refused_by_name(palettes: Palettes, tmp_path: Path) -> None:
    nodes, held = new_nodes(palettes, 64), new_nodes(palettes, 16, seed=9)
    options = TextureTraining(minutes=0.001, batch=8)
    train(palettes, SHAPE, SYMBOLS, nodes, held, options, tmp_path)
    other = dataclasses.replace(palettes, rate=palettes.rate + 1)
    with pytest.raises(ValueError, match=rf"texture\.pt: its palettes: {palettes.sha256}; expected {other.sha256}"):
        train(other, SHAPE, SYMBOLS, nodes, held, options, tmp_path)


def test_palettes_of_components_that_were_trained_on_are_refused(palettes: Palettes, tmp_path: Path) -> None:
    path = tmp_path / "texture_palettes.npz"
    made = stored_palettes(path, "one", lambda: palettes)
    again = stored_palettes(path, "one", lambda: pytest.fail("they are there"))
    assert made.sha256 == again.sha256 == palettes.sha256
    with pytest.raises(ValueError, match=r"texture_palettes\.npz: palettes of other components .* remove it, "):
        stored_palettes(path, "other", lambda: palettes)


def test_what_is_certain_costs_no_bits_and_overrules_other_children() -> None:
    logits = torch.tensor([-128, -127, -126, 126, 127]) / 16
    for child in (0.0, 1.0):
        children = torch.full_like(logits, child)
        assert (class_bits(logits, children) == 0).tolist() == [True, True, False, False, True]
        assert overruled(logits, children).tolist() == [child == 1, child == 1, False, False, child == 0]
    assert (class_table() == 0).sum() == 3 and class_table(90).count_nonzero() == 179


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
    for field in ("pictures", "z", "base", "decoded", "means", "inner", "q"):
        assert np.array_equal(getattr(made[0], field), getattr(again[0], field))
    assert isinstance(again[1], TextureSamples)
    (path,) = tmp_path.glob("texture_samples_*.npz")
    with np.load(path) as stored:
        np.savez(path, **{name: stored[name] for name in stored.files if not name.endswith("base")})
    with pytest.raises(ValueError, match="earlier version, without base"):
        prepare(Profile("s"), material, tmp_path, count=3, size=64, held=2)


def test_the_base_is_e_of_the_machine_view_of_either_codec() -> None:
    profile = Profile("s")
    picture = np.ascontiguousarray(data.astronaut()[:128, :192])
    samples = code(profile, [picture], 8, 64, 3, inner=0.5)
    assert samples.inner.any() and not samples.inner.all()
    encoder = profile.load("encoder", open_backend("cpu", 1))
    for number in range(8):
        (z,) = encoder(picture=np.ascontiguousarray(samples.pictures[number].transpose(2, 0, 1)[None]))
        assert np.abs(z[0] - samples.z[number]).max() < 0.02 < np.abs(z[0] - samples.base[number]).max()
        # The block means of a picture that E sees are those of what it was coded to, nearly.
        assert samples.means[number].any() == samples.inner[number] != samples.decoded[number].any()


def test_an_inner_quality_has_the_level_of_the_neural_one_that_is_as_far_away() -> None:
    random = np.random.default_rng(3)
    count = 200
    q, inner = random.integers(0, 44, count), random.random(count) < 0.5
    # Beside the inner codec as much is left as at 15 more.
    spread = np.exp(-0.05 * (q + 15 * inner))[:, None, None, None]
    z = (random.standard_normal((count, 4, 8, 8)) * spread).astype(np.float16)
    samples = TextureSamples(np.zeros((count, 1), np.uint8), z, np.zeros_like(z), np.zeros((count, 1), np.int16),
                             np.zeros((count, 1), np.int16), inner, q)
    levels = inner_levels(samples)
    assert np.abs(levels[:40].astype(int) - np.arange(15, 55)).max() <= 2
    assert np.array_equal(at_texture_levels(samples, levels).q[inner], levels[q[inner]])
    assert np.array_equal(at_texture_levels(samples, levels).q[~inner], q[~inner])


def test_leaves_that_cost_bits_are_chosen_where_they_are_worth_them() -> None:
    random = np.random.default_rng(6)
    # Most positions have next to nothing, some have much: as residuals are.
    busy = random.random((20, 1, 8, 8)) < 0.2
    components = (random.standard_normal((20, LATENT, 8, 8)) * np.where(busy, 3, 0.3)).astype(np.float32)
    q = np.full(20, 30)
    found = {}
    for worth in (1e-6, 0.001, 0.1):
        made = cluster(components, q, np.ones(64, np.float32), np.full(64, worth, np.float32), groups=3, depth=4)
        vectors = made.vectors(components, q)
        leaves = made.leaves(vectors, q)
        table = made.nodes[-1].astype(np.float32) * np.float32(STEP)
        error = float(np.square(vectors - table[np.arange(3), leaves]).sum(2).mean())
        counts = [np.bincount(leaves[:, group], minlength=16) / len(leaves) for group in range(3)]
        bits = -sum(float((one[one > 0] * np.log2(one[one > 0])).sum()) for one in counts)
        found[worth] = (bits, error)
        assert (made.rate >= 0).all() and made.rate.shape == (3, 16)
    assert found[1e-6][0] < found[0.001][0] < found[0.1][0]
    assert found[1e-6][1] > found[0.001][1] > found[0.1][1]


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
    assert main([*words, "--minutes", "0.02,0.02,0.02", "--groups", "6"]) == 2
    assert "asked for 6" in capsys.readouterr().err
    assert main([*words, "--minutes", "1,1"]) == 2
