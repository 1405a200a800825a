"""The detector: frames of all time steps in, raw predictions of all time steps out."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterator
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor, nn
from torch.nn import functional as F

from spikeyolo.errors import ConfigError, RecordingError
from spikeyolo.model.backbone import Backbone
from spikeyolo.model.blocks import Block, NeuronFactory, SpikingConv
from spikeyolo.model.head import BINS, DetectHead, LevelOutput, anchor_points
from spikeyolo.model.layout import as_batch, as_steps
from spikeyolo.model.neck import Neck
from spikeyolo.model.norm import Norm
from spikeyolo.model.predictions import Predictions
from spikeyolo.model.streaming import DetectorState, Memory

STRIDES = (8, 16, 32)
ENDS = ("backbone.stage1.", "backbone.down2", "head.")  # what fine_ends refines

log = logging.getLogger(__name__)


class Detector(nn.Module):
    """SpikeYOLO (arXiv 2407.20708) of any size: backbone, neck and detect head on time-major frames.

    Args:
        num_classes: K.
        in_channels: channels of a frame; 2 for OFF and ON counts.
        depth: scales the blocks' repeats (d).
        width: scales the channels (w).
        p5_ratio: widening of the last block's second branch (2 in the sizes m and l).
        neuron: builds one neuron, called once for each layer that spikes.
        temporal: ``per_step`` keeps every step's logits; ``mean`` gives every step their mean over time (published).
        form: of inference; ``integer`` sends counts from 0 to D through the synapses, ``binary`` unrolls each step to D
            sub-steps of 0 and 1, with the same result. Training is always in integers.
        embedding: length of the unit vector that describes each anchor point's object for tracking; 0 for none.
        branch_scale: start value of the norms' scales at the ends of the blocks' branches; 1 is torch's and the
            published one. Below 1, blocks begin near the identity (arXiv 1706.02677 begins at 0): gradients grow less
            from block to block, and sums of branches stay below D.
        class_prior: probability that class scores start at, as in arXiv 1708.02002 (0.01 there). None is published: as
            if 5 objects lay in 640 × 640 px; on a small sensor, where far more anchor points answer for an object, much
            of a short training goes by until scores have risen from there.
        fine_ends: factor of gain and levels of the neurons before stride 8 and in the head, whose rounding costs most:
            first and last layers at a higher precision, as in arXiv 1606.06160. 1 is published.
        weight_bits: of weights, symmetric for each output channel, rounded in training and wherever the network runs
            (see :mod:`spikeyolo.model.quantisation`); the first layer, which sees frames, and those that give logits
            keep 8 (as LSQ, arXiv 1902.08153). None: floating weights.
        pretrained: a weights file with published or own names (state dict or safetensors) to start from.
        strict: refuse a file that does not fit wholly; else what does not fit is logged and keeps its start values.

    Attributes:
        fineness: how finely the neurons of the ends count: ``fine_ends``, or 1 where they do not spike.
    """

    def __init__(
        self,
        *,
        num_classes: Annotated[int, Ge(1)],
        in_channels: Annotated[int, Ge(1)] = 2,
        depth: Annotated[float, Gt(0)],
        width: Annotated[float, Gt(0)],
        p5_ratio: Annotated[int, Ge(1)] = 1,
        neuron: NeuronFactory,
        temporal: Literal["per_step", "mean"] = "per_step",
        form: Literal["integer", "binary"] = "integer",
        embedding: Annotated[int, Ge(0)] = 0,
        branch_scale: Annotated[float, Ge(0)] = 1.0,
        class_prior: Annotated[float, Interval(gt=0, lt=1)] | None = None,
        fine_ends: Annotated[int, Ge(1)] = 1,
        weight_bits: Literal[4, 8] | None = None,
        pretrained: str | None = None,
        strict: bool = False,
    ) -> None:
        if num_classes < 1 or in_channels < 1:
            raise ConfigError(f"model needs at least one class and one channel, found {num_classes} and {in_channels}")
        if not (depth > 0 and width > 0):
            raise ConfigError(f"model.depth and model.width must be above 0, found {depth} and {width}")
        if not branch_scale >= 0:
            raise ConfigError(f"model.branch_scale is {branch_scale}, expected at least 0")
        if class_prior is not None and not 0 < class_prior < 1:
            raise ConfigError(f"model.class_prior is {class_prior}, expected a probability between 0 and 1, or null")
        if temporal not in ("per_step", "mean"):
            raise ConfigError(f"model.temporal is {temporal!r}, expected per_step or mean")
        if form not in ("integer", "binary"):
            raise ConfigError(f"model.form is {form!r}, expected integer or binary")
        if weight_bits not in (None, 4, 8):
            raise ConfigError(f"model.weight_bits is {weight_bits!r}, expected 4, 8 or null")
        super().__init__()
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.temporal = temporal
        self.embedding = embedding
        self.backbone = Backbone(in_channels=in_channels, depth=depth, width=width, neuron=neuron)
        self.neck = Neck(channels=self.backbone.channels, width=width, p5_ratio=p5_ratio, neuron=neuron)
        self.head = DetectHead(
            channels=self.neck.channels, strides=STRIDES, num_classes=num_classes, embedding=embedding, neuron=neuron,
            class_prior=class_prior,
        )  # fmt: skip
        for block in self.modules():
            if isinstance(block, Block):
                block.start_at(branch_scale)
        self._refine(fine_ends)
        # Both folders take detectors themselves: imported where they are needed, once this one exists.
        if form == "binary":
            from spikeyolo.model.inference.binary import spike_driven

            spike_driven(self)
        if weight_bits is not None:
            self.quantise(weight_bits)
        self.to(memory_format=torch.channels_last)  # measured fastest, for training and inference
        if pretrained is not None:
            from spikeyolo.model.exchange.published import load_published

            log.info("%s: %s", pretrained, load_published(self, pretrained, strict=strict))

    def _refine(self, factor: int) -> None:
        if factor < 1:
            raise ConfigError(f"model.fine_ends is {factor}, expected at least 1")
        self.fineness = 1.0
        for _, unit in self._ends():
            assert unit.neuron is not None
            self.fineness = unit.neuron.refine(factor)
            unit.spike_value = 1 / self.fineness

    def _ends(self) -> Iterator[tuple[str, SpikingConv]]:
        """Units whose neurons ``fine_ends`` refines, by name."""
        for name, unit in self.named_modules():
            if isinstance(unit, SpikingConv) and unit.neuron is not None and name.startswith(ENDS):
                yield name, unit

    def rescale_statistics(self, factor: float, loaded: Container[str]) -> None:
        """Take norms' statistics from a network whose ends count by another ``fineness``.

        Args:
            factor: this network's, divided by the other's.
            loaded: names of state entries that are the other's.
        """
        names = {norm: name for name, norm in self.named_modules() if isinstance(norm, Norm)}
        for _, unit in self._ends():
            norm = unit.first_norm
            if norm is not None and f"{names[norm]}.running_var" in loaded:
                norm.running_mean.mul_(factor)
                norm.running_var.mul_(factor**2)

    def quantise(self, bits: Literal[4, 8]) -> None:
        """Round weights to so few bits from now on, in training and inference, as ``weight_bits`` says.

        Raises:
            ConfigError: a neuron's output is real-valued.
        """
        for unit in self.modules():
            if not isinstance(unit, SpikingConv):
                continue
            if unit.neuron is not None and unit.neuron.levels is None:
                raise ConfigError(
                    f"model.weight_bits={bits} is for weights that meet spikes, found model/neuron "
                    f"{type(unit.neuron).__name__}, whose output is real-valued; expected a spiking neuron, or null"
                )
            unit.weight_bits = 8 if unit.neuron is None or unit.norm is None else bits

    def forward(self, frames: Tensor, memory: Memory | None = None) -> Predictions:
        """All steps of a window.

        Args:
            frames: ``[T, B, C, H, W]`` uint8 counts or floating. Sizes that are no multiple of 32 are padded with
                zeros at the right and bottom, so points and boxes stay in the pixels of the frame.
            memory: what the neurons begin with, and where they keep what they leave behind; None for a fresh start
                that nothing follows.

        Raises:
            ConfigError: T is 0, other channels than built for, or a side below 32 px.
            RecordingError: a value is not finite.
        """
        return self._predictions(self._raw(frames, memory))

    def stream(self, frames: Tensor, state: DetectorState | None = None) -> tuple[Predictions, DetectorState]:
        """The next steps ``[T, B, C, H, W]`` of a long recording; None starts afresh. Returns the state left behind."""
        memory = Memory(state)
        predictions = self.forward(frames, memory)
        return predictions, memory.states()

    def step(self, frame: Tensor, state: DetectorState | None = None) -> tuple[Predictions, DetectorState]:
        """One time step ``[B, C, H, W]`` of a long recording: :meth:`stream` with T = 1."""
        return self.stream(frame.unsqueeze(0), state)

    def levels(self, frames: Tensor) -> list[Tensor]:
        """Raw head maps ``[T, B, 64 + K, H/s, W/s]`` for the strides 8, 16 and 32, box logits first."""
        return [torch.cat((level.box, level.classes), dim=2) for level in self._raw(frames, None)]

    def _raw(self, frames: Tensor, memory: Memory | None) -> list[LevelOutput]:
        maps = self._prepare(frames)
        return self.head(self.neck(self.backbone(maps, memory), memory), memory)  # type: ignore[no-any-return]

    def check(self, frames: Tensor) -> None:
        """Refuse frames that the network cannot take.

        Raises:
            ConfigError, RecordingError: as :meth:`forward` says.
        """
        # B may be 0: one of several processes may have none of the windows that they share.
        if frames.dim() != 5 or frames.shape[0] == 0:
            raise ConfigError(f"frames are {list(frames.shape)}, expected [T, B, C, H, W] with T at least 1")
        height, width = frames.shape[-2:]
        if frames.shape[2] != self.in_channels:
            raise ConfigError(f"frames have {frames.shape[2]} channels, the model was built for {self.in_channels}")
        if min(height, width) < STRIDES[-1]:
            raise ConfigError(
                f"frames are {width}x{height} px, expected at least {STRIDES[-1]} px on each side, "
                "so a larger sensor or a smaller data.encoder.downsample"
            )
        if frames.is_floating_point() and not torch.compiler.is_compiling() and not torch.isfinite(frames).all():
            raise RecordingError("frames hold values that are not finite (NaN or infinity), expected event counts")

    def _prepare(self, frames: Tensor) -> Tensor:
        self.check(frames)
        height, width = frames.shape[-2:]
        first = self.backbone.down1.synapse.weight
        maps = frames.to(first.dtype)  # type: ignore[arg-type]
        bottom, right = -height % STRIDES[-1], -width % STRIDES[-1]
        if bottom or right:
            maps = F.pad(maps, (0, right, 0, bottom))
        folded = as_batch(maps)
        if self._channels_last():
            folded = folded.contiguous(memory_format=torch.channels_last)
        return as_steps(folded, like=maps)

    def _channels_last(self) -> bool:
        """Maps are laid out as the weights are (of a layer with more than one channel, where it can be told)."""
        weight: Tensor = self.backbone.down2.synapse.weight  # type: ignore[assignment]
        return weight.is_contiguous(memory_format=torch.channels_last)

    def _predictions(self, levels: list[LevelOutput]) -> Predictions:
        def flat(maps: list[Tensor]) -> Tensor:
            joined = torch.cat([level.flatten(3).transpose(2, 3) for level in maps], dim=2)  # [T, B, A, channels]
            return joined.mean(dim=0, keepdim=True).expand_as(joined) if self.temporal == "mean" else joined

        box = flat([level.box for level in levels])
        points, strides = anchor_points([level.box.shape[-2:] for level in levels], STRIDES, box.device)
        embeddings = [level.embedding for level in levels if level.embedding is not None]
        return Predictions(
            box_logits=box.reshape(*box.shape[:-1], 4, BINS),
            class_logits=flat([level.classes for level in levels]),
            points=points,
            strides=strides,
            embedding=F.normalize(flat(embeddings), dim=-1) if embeddings else None,
        )
