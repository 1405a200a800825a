"""The folded network as a graph of the Neuromorphic Intermediate Representation (NIR, arXiv 2311.14641).

What NIR says directly: convolutions, sums (several edges into one node), and a leaky neuron. What is decomposed: a
concatenation becomes one neuron and one convolution for each input, whose results are summed. What NIR cannot say:

- up to D spikes a step with a reset that takes off what was fired, and a leak only between steps: a neuron is written
  as NIR's nearest primitive (``LIF`` of threshold 0.5 whose Euler step of ``DT`` seconds leaks like ours); its metadata
  hold the exact rule (levels, decay, gain);
- max-pooling and nearest up-sampling: each is a nested graph with an input, an output and the operation in its
  metadata, a hole that the reader must fill.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikeyolo.errors import ConfigError
from spikeyolo.model.blocks import Block, SpikingConv
from spikeyolo.model.detector import Detector
from spikeyolo.model.exchange.checked import partial_path
from spikeyolo.model.inference.binary import sub_steps
from spikeyolo.model.inference.fold import fold
from spikeyolo.model.neuron import Ilif, IlifParameters, IlifState
from spikeyolo.optional import optional

DT = 1e-3  # seconds of one time step, as norse counts them

Sources = tuple[str, ...]  # nodes whose outputs are summed
Maps = tuple[tuple[Sources, int], ...]  # concatenated sums and their channels


class _GraphWriter:
    """Walks the folded network in the order of its forward pass and writes nodes and edges."""

    def __init__(self, nir: Any, height: int, width: int, channels: int) -> None:
        self.nir = nir
        self.nodes: dict[str, Any] = {"input": nir.Input({"input": np.array([channels, height, width])})}
        self.edges: list[tuple[str, str]] = []
        self.sizes: dict[str, tuple[int, int]] = {"input": (height, width)}

    def node(self, name: str, node: Any, sources: Sources, size: tuple[int, int]) -> str:
        self.nodes[name] = node
        self.edges += [(source, name) for source in sources]
        self.sizes[name] = size
        return name

    def unit(self, name: str, unit: SpikingConv, maps: Maps) -> Maps:
        """A neuron and a convolution for each of the concatenated maps; the bias goes with the first."""
        synapse = unit.synapse
        assert isinstance(synapse, nn.Conv2d)
        bias = np.zeros(synapse.out_channels, np.float32) if synapse.bias is None else _array(synapse.bias)
        written: list[str] = []
        first = 0
        for index, (sources, channels) in enumerate(maps):
            where = name if len(maps) == 1 else f"{name}.input{index}"
            height, width = self.sizes[sources[0]]
            if unit.neuron is not None:
                neuron = _neuron(self.nir, unit.neuron, (channels, height, width))
                sources = (self.node(f"{where}.neuron", neuron, sources, (height, width)),)
            weight = synapse.weight if synapse.groups > 1 else synapse.weight[:, first : first + channels]
            convolution = self.nir.Conv2d(
                input_shape=(height, width),
                weight=_array(weight),
                stride=synapse.stride,
                padding=synapse.padding,
                dilation=(1, 1),
                groups=synapse.groups,
                bias=bias if index == 0 else np.zeros_like(bias),
            )
            size = _size(synapse, height, width)
            written.append(self.node(f"{where}.synapse", convolution, sources, size))
            first += channels
        return ((tuple(written), synapse.out_channels),)

    def hole(self, name: str, operation: str, sources: Sources, channels: int, scale: float) -> str:
        """An operation NIR has no node for, as a nested graph with nothing between its input and its output."""
        height, width = self.sizes[sources[0]]
        size = int(height * scale), int(width * scale)
        nested = self.nir.NIRGraph(
            nodes={
                "input": self.nir.Input({"input": np.array([channels, height, width])}),
                "output": self.nir.Output({"output": np.array([channels, *size])}),
            },
            edges=[],
            metadata={"operation": operation},
            type_check=False,
        )
        return self.node(name, nested, sources, size)

    def chain(self, name: str, layers: nn.Module, maps: Maps) -> Maps:
        for index, layer in enumerate(layers.layers):  # type: ignore[arg-type]
            write = self.block if isinstance(layer, Block) else self.unit
            maps = write(f"{name}.{index}", layer, maps)
        return maps

    def block(self, name: str, block: Block, maps: Maps) -> Maps:
        separable = block.separable
        inner = self.unit(f"{name}.expand", separable.expand, maps)
        inner = self.unit(f"{name}.mix", separable.mix, inner)
        maps = _plus(maps, self.unit(f"{name}.project", separable.project, inner))
        inner = self.unit(f"{name}.widen", block.widen, maps)
        return _plus(maps, self.unit(f"{name}.narrow", block.narrow, inner))

    def network(self, detector: Detector) -> None:
        body, neck, head = detector.backbone, detector.neck, detector.head
        maps: Maps = ((("input",), detector.in_channels),)
        stages: list[Maps] = []
        for index in range(1, 5):
            maps = self.unit(f"backbone.down{index}", getattr(body, f"down{index}"), maps)
            maps = self.chain(f"backbone.stage{index}", getattr(body, f"stage{index}"), maps)
            stages.append(maps)
        reduced = self.unit("backbone.pyramid.reduce", body.pyramid.reduce, maps)
        pools = [reduced[0]]
        for index in range(3):
            sources, channels = pools[-1]
            name = self.hole(f"backbone.pyramid.pool{index}", "max_pool2d 5x5 stride 1 padding 2", sources, channels, 1)
            pools.append(((name,), channels))
        maps = self.unit("backbone.pyramid.join", body.pyramid.join, tuple(pools))
        stride32 = self.unit("backbone.reduce", body.reduce, maps)
        stride8, stride16 = stages[1], stages[2]
        top = self.block("neck.top", neck.top, self.twice("neck.up32", stride32))
        merged = self.unit("neck.merge16", neck.merge16, top + stride16)
        up = self.block("neck.block16", neck.block16, self.twice("neck.up16", merged))
        p3 = self.block("neck.p3", neck.p3, self.unit("neck.merge8", neck.merge8, up + stride8))
        # a block adds to its input: a concatenation must be one map there
        p4 = self.block(
            "neck.p4", neck.p4, self.joined("neck.join16", self.unit("neck.down8", neck.down8, p3) + merged)
        )
        down = self.unit("neck.down16", neck.down16, p4)
        p5 = self.block("neck.p5", neck.p5, self.joined("neck.join32", down + stride32))
        for level, maps in enumerate((p3, p4, p5)):
            for kind in ("box", "classes"):
                outputs = self.chain(f"head.{kind}{level}", getattr(head, kind)[level], maps)
                ((sources, channels),) = outputs
                height, width = self.sizes[sources[0]]
                output = self.nir.Output({"output": np.array([channels, height, width])})
                self.node(f"{kind}{level}", output, sources, (height, width))

    def twice(self, name: str, maps: Maps) -> Maps:
        ((sources, channels),) = maps
        return (((self.hole(name, "upsample nearest x2", sources, channels, 2),), channels),)

    def joined(self, name: str, maps: Maps) -> Maps:
        """A concatenation as one sum: each input through a 1×1 convolution that puts it in its channels."""
        total = sum(channels for _, channels in maps)
        written = []
        first = 0
        for index, (sources, channels) in enumerate(maps):
            weight = np.zeros((total, channels, 1, 1), np.float32)
            weight[first + np.arange(channels), np.arange(channels)] = 1
            size = self.sizes[sources[0]]
            convolution = self.nir.Conv2d(size, weight, (1, 1), (0, 0), (1, 1), 1, np.zeros(total, np.float32))
            written.append(self.node(f"{name}.input{index}", convolution, sources, size))
            first += channels
        return ((tuple(written), total),)


def _size(convolution: nn.Conv2d, height: int, width: int) -> tuple[int, int]:
    """Rows and columns a convolution gives."""
    side, stride, padding = convolution.kernel_size[0], convolution.stride[0], convolution.padding[0]
    return (height + 2 * int(padding) - side) // stride + 1, (width + 2 * int(padding) - side) // stride + 1


def _plus(first: Maps, second: Maps) -> Maps:
    ((sources, channels),), ((more, _),) = first, second
    return ((sources + more, channels),)


def _array(tensor: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.ascontiguousarray(tensor.detach().cpu().float().numpy())


def _neuron(nir: Any, neuron: nn.Module, shape: tuple[int, int, int]) -> Any:
    if not isinstance(neuron, Ilif):
        raise ConfigError(f"format=nir writes I-LIF neurons, found {type(neuron).__name__}; expected model/neuron=ilif")
    levels, decay, _, gain = neuron.p

    def full(value: float) -> np.ndarray[Any, np.dtype[np.float32]]:
        return np.full(shape, value, np.float32)

    rule = {"rule": "ilif", "levels": levels, "decay": decay, "gain": gain, "dt": DT}
    if decay >= 1:
        return nir.IF(r=full(gain / DT), v_threshold=full(0.5), metadata=rule)
    # Euler: v ← v + dt/τ · (r·I − v), so that 1 − dt/τ is the decay and r·dt/τ is the gain
    return nir.LIF(
        tau=full(DT / (1 - decay)), r=full(gain / (1 - decay)), v_leak=full(0), v_threshold=full(0.5), metadata=rule
    )


def to_nir(detector: Detector, height: int, width: int) -> Any:
    """The folded network as a ``nir.NIRGraph`` for frames of one size.

    Raises:
        ConfigError: nir is not installed, the neurons are not I-LIF, or a side is no multiple of 32 px.
    """
    nir = optional("nir")
    if height % 32 or width % 32:
        raise ConfigError(f"format=nir needs sides that are multiples of 32 px, found {width}x{height}")
    writer = _GraphWriter(nir, height, width, detector.in_channels)
    folded = fold(detector, synapses="single")
    assert isinstance(folded, Detector)
    writer.network(folded)
    return nir.NIRGraph(writer.nodes, writer.edges, metadata={"dt": DT}, type_check=False)


def run_nir(graph: Any, frames: Tensor) -> dict[str, Tensor]:
    """Run a graph of :func:`to_nir` step by step, with the exact rule of its neurons in binary sub-steps.

    Args:
        graph: as read from a file.
        frames: ``[T, B, C, H, W]``.

    Returns:
        output name → ``[T, B, channels, H, W]``.
    """
    sources: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for source, target in graph.edges:
        sources[target].append(source)
    order = _order(sources)
    states: dict[str, IlifState] = {}
    outputs: dict[str, list[Tensor]] = {}
    for frame in frames.float():
        values: dict[str, Tensor] = {}
        for name in order:
            node = graph.nodes[name]
            entering = [values[source] for source in sources[name]]
            value = frame if not entering else torch.stack(entering).sum(dim=0) if len(entering) > 1 else entering[0]
            kind = type(node).__name__
            if kind == "Conv2d":
                weight, bias = torch.from_numpy(np.array(node.weight)), torch.from_numpy(np.array(node.bias))
                value = F.conv2d(value, weight, bias, tuple(node.stride), tuple(node.padding), 1, int(node.groups))
            elif kind in ("LIF", "IF"):
                said = node.metadata
                rule = IlifParameters(int(said["levels"]), float(said["decay"]), gain=float(said.get("gain", 1.0)))
                spikes, states[name] = sub_steps(value, states.get(name, IlifState(value.new_empty(0))), rule)
                value = spikes.sum(dim=0)
            elif kind == "NIRGraph":
                value = _fill(str(_text(node.metadata["operation"])), value)
            elif kind == "Output":
                outputs.setdefault(name, []).append(value)
            values[name] = value
    return {name: torch.stack(steps) for name, steps in outputs.items()}


def _fill(operation: str, value: Tensor) -> Tensor:
    if operation.startswith("max_pool2d"):
        return F.max_pool2d(value, 5, stride=1, padding=2)
    return F.interpolate(value, scale_factor=2.0, mode="nearest")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _order(sources: dict[str, list[str]]) -> list[str]:
    """Every node behind all that it reads."""
    order: list[str] = []
    placed: set[str] = set()
    waiting = list(sources)
    while waiting:
        later = []
        for name in waiting:
            if all(source in placed for source in sources[name]):
                placed.add(name)
                order.append(name)
            else:
                later.append(name)
        if len(later) == len(waiting):
            raise ConfigError(f"the NIR graph has a cycle through {later[0]}")
        waiting = later
    return order


def export_nir(detector: Detector, frames: Tensor, path: Path) -> float:
    """Write the graph, read it back, run it, and give the largest difference of a logit from the detector's.

    Args:
        detector: unfolded, in any mode.
        frames: ``[T, B, C, H, W]`` uint8, the window's shape and what is compared.
        path: ``.nir``, written whole or not at all.
    """
    nir = optional("nir")
    graph = to_nir(detector, *frames.shape[-2:])
    partial = partial_path(path)
    try:
        nir.write(str(partial), graph)
        found = run_nir(nir.read(str(partial), type_check=False), frames)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    with torch.no_grad():
        levels = detector.eval().levels(frames)
    difference = 0.0
    for level, expected in enumerate(levels):
        joined = torch.cat((found[f"box{level}"], found[f"classes{level}"]), dim=2)
        difference = max(difference, float((joined - expected).abs().max()))
    return difference
