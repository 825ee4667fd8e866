"""Networks in 8 bits, tuned: weights, biases and steps of activations learn to give what the float network gives.

Of exact networks, whose steps stay powers of two, scales of channels between convolutions learn in place of steps.

Rounding is passed by gradients as if it were not there (straight-through estimator, Bengio et al., 2013,
arXiv:1308.3432), and the step of a tensor of activations is learned with the weights (Esser et al., 2020, Learned Step
Size Quantization, arXiv:1902.08153). There are no labels: what is to be given is what the float network gives.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from duoview.export import equalisation
from duoview.export.equalisation import Sample
from duoview.export.exact_synthesis import GRIDS_KEY, UNITS_KEY
from duoview.export.precision import folded
from duoview.export.proof import SIGNIFICAND, Grid, proof, proven
from duoview.export.torch_backend import OPERATORS, Attributes, TorchNetwork

#: Largest magnitude of a weight: of 7 bits, which sums of pairs in 16 bits hold, and of 8.
NARROW, WIDE = 64, 127
#: One sample of so many is kept back, at most so many: what is best on them is taken. Whether it is good for other
#: pictures is for who has others to say.
HELD_EVERY, MOST_HELD = 10, 48
#: Samples of a step, and how often in a tuning those kept back are looked at.
BATCH, LOOKS = 6, 10
#: An error below this share of an output's mean square is taken for as much: what 8 bits hit by chance, as symbols that
#: are nearly always 0, would outweigh all else with the first that they miss.
LEAST_ERROR = 1e-5
#: The same of a sample's error, as a share of the mean of all.
LEAST_SHARE = 0.2
#: Learning rates of biases and of logarithms of steps and of channels' scales, in those of weights.
_RATES = {"weight": 1.0, "bias": 2.0, "step": 5.0, "scale": 1.0}


@dataclass(frozen=True)
class Tuning:
    """steps: of Adam, BATCH samples each; 0 tunes nothing. rate: of learning, at its height. seed: of their order.

    Raises ValueError for steps below 0 and for a rate that is not positive and finite.
    """

    steps: int = 2000
    rate: float = 2e-4
    seed: int = 1

    def __post_init__(self) -> None:
        if self.steps < 0 or not 0 < self.rate < math.inf:
            raise ValueError(f"{self}: expected steps of 0 or more, and a positive rate")


class _Straight(torch.autograd.Function):
    """A step function whose gradient is taken to be one."""

    @staticmethod
    def forward(context: object, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        return function(x)

    @staticmethod
    def backward(context: object, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def _straight(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    found: Tensor = _Straight.apply(x, function)
    return found


@dataclass(frozen=True)
class _Convolution:
    """Names of initializers: of the integers, steps and float values of its weights, its bias, and its input's step.

    bias_steps: of a bias in integers; empty for one in float32.
    """

    weight: str
    weight_steps: str
    weight_value: str
    bias: str
    bias_steps: str
    bias_value: str
    input_step: str


class QuantisedNetwork(nn.Module):
    """A graph of ``precision.quantised`` or ``exact_synthesis.exact``, its rounding in it, with gradients.

    Of the second kind steps stay powers of two, and weights that are on a grid are learned as well and stay on it, a
    row within what its sums leave it. limit: largest magnitude of a weight in 8 bits. Raises ValueError for a
    convolution in 8 bits that is built in another way, and for a network of the second kind that is not exact.
    """

    def __init__(self, model: onnx.ModelProto, limit: int) -> None:
        super().__init__()
        self.model, self.limit = model, limit
        self.outputs = [output.name for output in model.graph.output]
        self._stored: dict[str, NDArray[np.generic]] = {
            c.name: numpy_helper.to_array(c) for c in model.graph.initializer}
        self._constants = {name: torch.from_numpy(value.copy()) for name, value in self._stored.items()}
        self._nodes: list[tuple[str, Attributes, list[str], list[str]]] = [
            (node.op_type, {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}, list(node.input),
             list(node.output)) for node in model.graph.node]
        made_by = {name: (kind, inputs) for kind, _, inputs, outputs in self._nodes for name in outputs}
        self.weights, self.biases, self.steps = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        #: Logarithms of what channels between convolutions are multiplied by.
        self.scales = nn.ParameterList()
        #: By name of a weight or bias: its scales, their axis, and 1 where it is multiplied by them, -1 where divided.
        self._scaled: dict[str, list[tuple[int, int, int]]] = {}
        self._values: dict[str, tuple[nn.ParameterList, int]] = {}
        self._convolutions: list[_Convolution] = []
        properties = {p.key: p.value for p in model.metadata_props}
        self.exact = GRIDS_KEY in properties
        #: By name of a weight or bias of a convolution in float32: the widths of its rows' grids.
        self._grids: dict[str, Tensor] = {}
        for name, fractions in json.loads(properties.get(GRIDS_KEY, "{}")).items():
            widths = 2.0 ** -torch.tensor(fractions, dtype=torch.float32)
            self._grids[name] = widths.reshape(-1, *[1] * (self._constants[name].ndim - 1))
        #: By name of weights on grids: their bias, the largest sums of each row, which make 24 bits, and the largest
        #: magnitude of an input.
        self._rows: dict[str, tuple[str, Tensor, float]] = {}
        if self.exact:
            self._bound()
        #: What is learned is in the float network's units.
        self._units = {name: 2.0 ** torch.tensor(unit, dtype=torch.float32).reshape(1, -1, 1, 1)
                       if isinstance(unit, list) else 2.0**unit
                       for name, unit in json.loads(properties.get(UNITS_KEY, "{}")).items()}
        for name in self._grids:
            self._learn(name, self.weights if self._constants[name].ndim > 1 else self.biases, self._constants[name])
        for kind, _, inputs, _ in self._nodes:
            if kind == "Conv" and made_by.get(inputs[1], ("", []))[0] == "DequantizeLinear":
                self._add(inputs, made_by)
            if kind == "QuantizeLinear" and not self.exact:
                self._learn(inputs[1], self.steps, torch.zeros(()))

    def _bound(self) -> None:
        found = proof(self.model)
        for kind, _, inputs, _ in self._nodes:
            if kind == "Conv" and inputs[1] in self._grids:
                given, (weight, bias) = found.known[inputs[0]], (self._grids[name].flatten() for name in inputs[1:])
                assert isinstance(given, Grid)
                finest = torch.minimum(weight * 2.0**-given.fraction, bias)
                self._rows[inputs[1]] = inputs[2], finest * 2.0**SIGNIFICAND, given.bound

    def scale_channels(self, model: onnx.ModelProto) -> None:
        """Scales of the channels between convolutions are learned as well: of an exact network.

        Its steps stay as they are, so that these take their place, channel by channel. model: the float network, with
        names of weights and biases as here.
        """
        between = [((pair.first,), (pair.second,)) for pair in equalisation.pairs(model)]
        for writers, readers in [*between, *((one.writers, one.readers) for one in equalisation.streams(model))]:
            number = len(self.scales)
            self.scales.append(nn.Parameter(torch.zeros(len(self._constants[writers[0].input[1]]))))
            for node in writers:
                for name in node.input[1:]:
                    self._scaled.setdefault(self._known(name), []).append((number, 0, 1))
            for node in readers:
                name = node.input[1]
                self._scaled.setdefault(self._known(name), []).append(
                    (number, 0 if self._constants[name].shape[1] == 1 else 1, -1))

    def _known(self, constant: str) -> str:
        """Under what name a weight or bias of the float network is learned. Raises ValueError where it is not."""
        for name in (constant, f"{constant}.value"):
            if name in self._values:
                return name
        raise ValueError(f"{self.model.graph.name}: {constant} is not among the weights and biases that are learned; "
                         "expected the float network that this one was made of")

    def _learn(self, name: str, parameters: nn.ParameterList, value: Tensor) -> None:
        if name not in self._values:
            self._values[name] = parameters, len(parameters)
            parameters.append(nn.Parameter(value / self._units.get(name, 1.0)))

    def _add(self, inputs: list[str], made_by: dict[str, tuple[str, list[str]]]) -> None:
        (_, weight), (kind, activation) = made_by[inputs[1]], made_by.get(inputs[0], ("", []))
        if len(weight) > 2 and self._constants[weight[2]].any():
            raise ValueError(f"{self.model.graph.name}: {weight[0]} has a zero point; expected weights around 0")
        if kind != "DequantizeLinear" or len(inputs) != 3:
            raise ValueError(f"{self.model.graph.name}: the convolution of {inputs[1]} has weights in 8 bits; expected "
                             "an input in 8 bits and a bias")
        bias = made_by.get(inputs[2], ("", [inputs[2], ""]))[1]
        found = _Convolution(weight[0], weight[1], inputs[1], bias[0], bias[1], inputs[2], activation[1])
        self._convolutions.append(found)
        self._learn(found.weight_value, self.weights,
                    self._constants[found.weight].float() * self._along(found.weight_steps, found.weight))
        value = self._constants[found.bias].float()
        self._learn(found.bias_value, self.biases,
                    value * self._constants[found.bias_steps] if found.bias_steps else value)

    def _along(self, steps: str, weight: str) -> Tensor:
        """Steps by output channel, (C, 1, 1, 1), or one of all."""
        found = self._constants[steps]
        return found.reshape(-1, *[1] * (self._constants[weight].ndim - 1)) if found.ndim else found

    def _value(self, name: str) -> Tensor:
        parameters, number = self._values[name]
        value: Tensor = parameters[number]
        for scale, axis, sign in self._scaled.get(name, ()):
            along = [1] * value.ndim
            along[axis] = -1
            value = value * (sign * self.scales[scale]).exp().reshape(along)
        return value * self._units[name] if name in self._units else value

    def _step(self, name: str) -> Tensor:
        """Of a tensor of activations: as it was, times what was learned."""
        return self._constants[name] * self._value(name).exp() if name in self._values else self._constants[name]

    def _bias(self, convolution: _Convolution) -> Tensor:
        """As it is written: of an exact network in whole steps of the sums."""
        value = self._value(convolution.bias_value)
        if not self.exact:
            return value
        width = self._step(convolution.input_step) * self._constants[convolution.weight_steps]
        return _straight(torch.round, value / width) * width

    def _on_grid(self, name: str) -> Tensor:
        widths, value = self._grids[name], self._value(name)
        if name in self._rows:
            value = value * self._shrinking(name, value.detach())
        return _straight(torch.round, value / widths) * widths

    @torch.no_grad()
    def _shrinking(self, name: str, value: Tensor) -> Tensor:
        """By what rows of weights are to be multiplied for their sums to stay within 24 bits: at most 1.

        In use little less, if at all; 0 where a bias leaves no room.
        """
        bias, most, bound = self._rows[name]
        rows = value.flatten(1).abs()
        # Rounding adds half a width to each at most.
        room = (most - self._on_grid(bias).abs()) / bound - rows.shape[1] / 2 * self._grids[name].flatten()
        return (room / rows.sum(1).clamp_min(1e-30)).clamp(0, 1).reshape(-1, *[1] * (value.ndim - 1))

    def _integers(self, convolution: _Convolution) -> Tensor:
        steps = self._along(convolution.weight_steps, convolution.weight)
        return _straight(torch.round, self._value(convolution.weight_value) / steps).clamp(-self.limit, self.limit)

    def _rounded(self, x: Tensor, step: str, zero: str) -> Tensor:
        limits, middle = torch.iinfo(self._constants[zero].dtype), self._constants[zero].float()
        width = self._step(step)
        return ((_straight(torch.round, x / width) + middle).clamp(limits.min, limits.max) - middle) * width

    def forward(self, **inputs: Tensor) -> list[Tensor]:
        """Outputs of the graph; what it casts to integers is rounded, and float32."""
        values = {**self._constants, **inputs}
        for convolution in self._convolutions:
            steps = self._along(convolution.weight_steps, convolution.weight)
            values[convolution.weight_value] = self._integers(convolution) * steps
            values[convolution.bias_value] = self._bias(convolution)
        values |= {name: self._on_grid(name) for name in self._grids}
        for kind, attributes, names, outputs in self._nodes:
            if outputs[0] in self._values:
                continue
            given = [values[name] if name else None for name in names]
            first = given[0]
            assert first is not None
            result: Tensor | tuple[Tensor, ...]
            if kind == "QuantizeLinear":
                result = self._rounded(first, names[1], names[2])
            elif kind == "DequantizeLinear":
                result = first  # QuantizeLinear gave what the integers stand for
            elif kind == "Cast":
                result = first.float()
            elif kind in ("Floor", "Round"):
                result = _straight(torch.floor if kind == "Floor" else torch.round, first)
            else:
                result = OPERATORS[kind](attributes, *given)
            values.update(zip(outputs, result if isinstance(result, tuple) else (result,), strict=True))
        return [values[name] for name in self.outputs]

    @torch.no_grad()
    def exported(self) -> onnx.ModelProto:
        """The graph with what was learned in it."""
        made: dict[str, NDArray[np.generic]] = {
            name: self._step(name).numpy() for name in self._values if name in self._stored and
            self._stored[name].ndim == 0}
        made |= {name: self._on_grid(name).numpy() for name in self._grids}
        for one in self._convolutions:
            made[one.weight] = self._integers(one).numpy().astype(self._stored[one.weight].dtype)
            bias = self._bias(one).numpy()
            if one.bias_steps:
                width = (self._step(one.input_step) * self._constants[one.weight_steps]).numpy()
                made[one.bias_steps] = np.broadcast_to(width, self._stored[one.bias_steps].shape)
                limits = np.iinfo(np.int32)
                bias = np.clip(np.rint(bias.astype(np.float64) / width), limits.min, limits.max)
            made[one.bias] = bias.astype(self._stored[one.bias].dtype)
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        for constant in model.graph.initializer:
            if constant.name in made:
                value = np.array(made[constant.name]).reshape(self._stored[constant.name].shape)
                constant.CopyFrom(numpy_helper.from_array(value, constant.name))
        onnx.checker.check_model(model)
        return model


def _tensors(sample: Sample) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in sample.items()}


Pair = tuple[dict[str, Tensor], list[Tensor]]


@dataclass(frozen=True)
class _Batch:
    """Samples of the same shapes, what is wanted of them, and how much an error of each counts, (outputs, samples)."""

    inputs: dict[str, Tensor]
    wanted: list[Tensor]
    weights: Tensor

    def loss(self, network: QuantisedNetwork) -> Tensor:
        """Errors, all added up as they count."""
        return (self.weights * _errors(network(**self.inputs), self.wanted)).sum()


def _stacked(pairs: Sequence[Pair], weights: Sequence[Tensor]) -> list[_Batch]:
    """Batches of which each sample counts as it would alone, all together as their mean. weights: (outputs, 1) each."""
    alike: dict[tuple[torch.Size, ...], list[int]] = {}
    for number, (sample, wanted) in enumerate(pairs):
        alike.setdefault(tuple(one.shape for one in (*sample.values(), *wanted)), []).append(number)
    found = []
    for numbers in alike.values():
        some = [pairs[number] for number in numbers]
        inputs = {name: torch.cat([sample[name] for sample, _ in some]) for name in some[0][0]}
        wanted = [torch.cat(parts) for parts in zip(*(one for _, one in some), strict=True)]
        counts = torch.cat([weights[number].expand(-1, len(pairs[number][1][0])) / len(pairs[number][1][0])
                            for number in numbers], 1)
        found.append(_Batch(inputs, wanted, counts / len(pairs)))
    return found


def _errors(made: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Mean squared error of each output, (outputs, N)."""
    return torch.stack([(a.float() - b.float()).square().reshape(len(a), -1).mean(1)
                        for a, b in zip(made, wanted, strict=True)])


@torch.no_grad()
def _weights(network: QuantisedNetwork, pairs: Sequence[Pair]) -> list[Tensor]:
    """Of each sample, (outputs, 1): one over its errors as the network is, 1 where there never was anything but 0."""
    errors = torch.stack([_errors(network(**sample), wanted).mean(1) for sample, wanted in pairs])
    power = torch.stack([_errors(wanted, [torch.zeros(())] * len(wanted)).mean(1) for _, wanted in pairs]).mean(0)
    least = torch.maximum(LEAST_SHARE * errors.mean(0), LEAST_ERROR * power)
    found = torch.maximum(errors, torch.where(least > 0, least, 1.0))
    return [1 / one[:, None] for one in found]


def tuned(model: onnx.ModelProto, base: Path, samples: Sequence[Sample], tuning: Tuning, *, limit: int = NARROW
          ) -> onnx.ModelProto:
    """The network with weights, biases and steps, or scales, that bring its outputs nearest to the float network's.

    Errors count in shares of what they were before, sample by sample and output by output, so that a night's noise
    outweighs the rest less; on samples that are kept back their sum is at most what it was. The same samples, torch and
    number of its threads give the same network. What the float network gives for every sample is held in memory as long
    as this runs. What led an exact network out of its proof is not taken, and a RuntimeWarning says so.

    Args:
        model: as ``export.precision.quantised`` or ``export.exact_synthesis.exact`` made it.
        base: the float network's file.
        samples: inputs of real pictures, two at least; the more unlike they are, the less is learned by heart.
        tuning: how long and how fast.
        limit: largest magnitude of a weight, NARROW or WIDE.

    Raises ValueError for fewer samples, and as ``QuantisedNetwork`` does.
    """
    if not tuning.steps:
        return model
    if len(samples) < 2:
        raise ValueError(f"{model.graph.name}: {len(samples)} samples to tune with; expected 2 at least")
    generator = np.random.default_rng(tuning.seed)
    float_network = TorchNetwork(base, torch.device("cpu"))
    pairs = [(sample, float_network.tensors(**sample)) for sample in map(_tensors, samples)]
    apart = max(HELD_EVERY, math.ceil(len(pairs) / MOST_HELD))
    network = QuantisedNetwork(model, limit)
    if network.exact:
        network.scale_channels(folded(onnx.load(str(base))))
    weights = _weights(network, pairs)
    held = [batch for number in range(0, len(pairs), apart) for batch in _stacked([pairs[number]], [weights[number]])]
    learned = [number for number in range(len(pairs)) if number % apart]

    @torch.no_grad()
    def look() -> float:
        return sum(float(batch.loss(network)) for batch in held) / len(held)

    def allowed() -> bool:
        """False for an exact network that gradients have led to sums of too many bits."""
        if network.exact:
            try:
                proven(network.exported())
            except ValueError:
                return False
        return True

    refused = 0
    best, kept = look(), {name: value.clone() for name, value in network.state_dict().items()}
    groups = {"weight": network.weights, "bias": network.biases, "step": network.steps, "scale": network.scales}
    optimiser = torch.optim.Adam([{"params": list(groups[name]), "lr": 0.0} for name in groups], betas=(0.9, 0.99))
    for step in range(tuning.steps):
        height = min(1.0, (step + 1) / 50) * (1 + math.cos(math.pi * step / tuning.steps)) / 2
        for group, name in zip(optimiser.param_groups, groups, strict=True):
            group["lr"] = tuning.rate * height * _RATES[name]
        optimiser.zero_grad()
        drawn = [learned[number] for number in generator.integers(len(learned), size=BATCH)]
        for batch in _stacked([pairs[number] for number in drawn], [weights[number] for number in drawn]):
            batch.loss(network).backward()
        optimiser.step()
        if (step + 1) % max(1, tuning.steps // LOOKS) == 0 or step + 1 == tuning.steps:
            error = look()
            if error < best and allowed():
                best, kept = error, {name: value.clone() for name, value in network.state_dict().items()}
            elif error < best:
                refused += 1
    if refused:
        warnings.warn(f"{model.graph.name}: tuning came nearer to the float network {refused} times with sums that had "
                      "outgrown the bits that make them exact, which was not taken; fewer steps may end better",
                      RuntimeWarning, stacklevel=2)
    network.load_state_dict(kept)
    return network.exported()
