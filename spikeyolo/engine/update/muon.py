"""Muon for a convolutional network: torch's own on the matrices it is defined on, AdamW on the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor

_OF_ADAMW = ("lr", "weight_decay", "betas", "eps")
_OF_MUON = ("lr", "weight_decay", "momentum", "nesterov")


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix is made orthogonal (Jordan et al., kellerjordan.github.io/posts/muon, 2024).

    The weight ``[O, I, h, w]`` of a dense convolution is the matrix ``[O, I·h·w]``; the weights of depthwise
    convolutions, biases, norms and neurons are no matrices and go to AdamW. One learning rate and weight decay serve
    both, since Muon's updates get the mean square that AdamW's have (arXiv 2502.16982, section 2.2).
    """

    def __init__(
        self,
        params: Any,
        *,
        lr: Annotated[float, Gt(0)] = 1e-3,
        momentum: Annotated[float, Interval(ge=0, lt=1)] = 0.95,
        nesterov: bool = True,
        beta1: Annotated[float, Interval(ge=0, lt=1)] = 0.9,
        beta2: Annotated[float, Interval(ge=0, lt=1)] = 0.999,
        eps: Annotated[float, Gt(0)] = 1e-8,
        weight_decay: Annotated[float, Ge(0)] = 0.01,
    ) -> None:
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "betas": (beta1, beta2),
            "eps": eps,
        }
        groups = []
        for group in params:
            matrices = [p for p in group["params"] if _is_matrix(p)]
            others = [p for p in group["params"] if not _is_matrix(p)]
            groups += [{**group, "params": kind} for kind in (matrices, others) if kind]
        super().__init__(groups, defaults)
        self._inner: list[tuple[torch.optim.Optimizer, tuple[str, ...], list[Tensor]]] = []
        for group in self.param_groups:
            if _is_matrix(group["params"][0]):
                held = [_matrix(p.detach()) for p in group["params"]]
                values = {name: group[name] for name in _OF_MUON}
                inner: torch.optim.Optimizer = torch.optim.Muon(held, adjust_lr_fn="match_rms_adamw", **values)
                self._inner.append((inner, _OF_MUON, held))
            else:
                held = list(group["params"])
                values = {name: group[name] for name in _OF_ADAMW}
                self._inner.append((torch.optim.AdamW(held, fused=True, **values), _OF_ADAMW, held))

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group, (inner, names, held) in zip(self.param_groups, self._inner, strict=True):
            inner.param_groups[0].update({name: group[name] for name in names})
            for parameter, tensor in zip(group["params"], held, strict=True):
                if tensor is not parameter:
                    if tensor.data_ptr() != parameter.data_ptr():
                        raise RuntimeError("a parameter has moved since Muon was built")
                    tensor.grad = None if parameter.grad is None else _matrix(parameter.grad, like=parameter)
            inner.step()
            for parameter, tensor in zip(group["params"], held, strict=True):
                if tensor in inner.state:
                    self.state[parameter] = inner.state[tensor]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for group, (inner, _, held) in zip(self.param_groups, self._inner, strict=True):
            for parameter, tensor in zip(group["params"], held, strict=True):
                if parameter in self.state:
                    values = self.state[parameter]
                    inner.state[tensor] = values
                    if "step" in values:  # of AdamW, fused: where its parameter is
                        values["step"] = values["step"].to(parameter.device)


def _is_matrix(parameter: Tensor) -> bool:
    """Whether rows and columns are outputs and inputs that mix; each row of a depthwise weight is a filter alone."""
    return parameter.ndim >= 2 and min(parameter.shape[:2]) > 1


def _matrix(weight: Tensor, *, like: Tensor | None = None) -> Tensor:
    """``[O, I·h·w]``, a view; the order of columns is that of the memory, and of no account to Muon.

    Args:
        weight: ``[O, I, …]``.
        like: in whose memory's order the columns are to be.
    """
    if weight.ndim == 4 and not (weight if like is None else like).is_contiguous():
        return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)  # channels last
    return weight.reshape(len(weight), -1)
