"""Fitted detectors as plain torch modules and as ONNX models: raw rows in, scores out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn
from typing_extensions import Self

from pyod_lipocc._atomic import write_atomically
from pyod_lipocc._isolation import isolated
from pyod_lipocc._version import __version__
from pyod_lipocc.detector import LipOCC
from pyod_lipocc.export._onnx import Graph, add_layer, import_onnx
from pyod_lipocc.lipschitz.networks import fold

__all__ = ["Scorer", "to_onnx", "to_torch"]

_OPSET = 17
_IR_VERSION = 8  # what runtimes since 2022 read
FARTHEST = {torch.float32: 1e16, torch.float64: 1e140}
"""Largest coordinate in the network's units, whose square does not overflow."""


class Scorer(nn.Module):
    """Maps raw rows to scores: the scaling, the network and the margin of a fitted detector.

    It stays in evaluation mode: `train` changes nothing. `float` and `double` change the precision
    of all but the scaling; other precisions are refused. `torch.autocast` does not apply to it.

    torch exports, traces and compiles it for any number of rows, and `torch.func` transforms it.
    These hold the heights of all rows above all components of a `NearestSubspace` at once: give
    them some thousand rows at a time. `torch.autocast` applies to what `torch.jit` has traced.

    Parameters
    ----------
    detector : LipOCC
        Fitted; its network is folded into a new one: see `lipschitz.networks.fold`.
    dtype : torch.dtype, default=torch.float64
        Precision of the network and of the scores. The scaling is done in float64.

    Attributes
    ----------
    network : torch.nn.Module
        f, in the network's own units.
    location, scale : Tensor of shape (d,)
    unit, margin, threshold : Tensor of shape ()
        Rows with a score above `threshold` are labelled 1.
    """

    location: Tensor
    scale: Tensor
    unit: Tensor
    margin: Tensor
    threshold: Tensor

    def __init__(self, detector: LipOCC, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        scaling = detector.scaling_
        device = next(detector.network_.parameters()).device
        self.network = fold(detector.network_).to(dtype)
        numbers = {
            "location": (scaling.location, torch.float64),
            "scale": (scaling.scale, torch.float64),
            "unit": (scaling.unit, dtype),
            "margin": (detector.margin_, dtype),
            "threshold": (detector.threshold_, dtype),
        }
        for name, (value, precision) in numbers.items():
            self.register_buffer(name, torch.tensor(value, dtype=precision, device=device))
        self.eval()

    @property
    def farthest(self) -> float:
        """Largest coordinate in the network's units, whose square does not overflow."""
        return FARTHEST[self.margin.dtype]

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever is asked for: this is a score, not to be trained."""
        return super().train(False)

    @isolated()
    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Convert as `to`, `float`, `cuda` and the like demand; the scaling stays in float64."""
        dtype = fn(torch.zeros_like(self.margin)).dtype
        if dtype not in FARTHEST:
            raise ValueError(
                f"dtype must be torch.float64 or torch.float32, got {dtype}: the smallest scorer "
                "is that of to_torch(torch.float32)"
            )
        scaling = {"location": self.location, "scale": self.scale}
        convert: Callable[..., Any] = super()._apply  # has no types
        convert(fn, recurse)
        for name, value in scaling.items():
            converted = getattr(self, name)
            if converted.dtype != value.dtype:
                setattr(self, name, value.to(converted.device))
        return self

    def forward(self, X: Tensor) -> Tensor:
        """Score rows.

        Parameters
        ----------
        X : Tensor of shape (n, d)
            In the units of the training rows.

        Returns
        -------
        scores : Tensor of shape (n,)
            As `LipOCC.decision_function`; nan for rows that hold nan or inf, which it refuses.
        """
        z = ((X - self.location) / self.scale).clamp(-self.farthest, self.farthest)
        with torch.autocast(X.device.type, enabled=False):
            f: Tensor = self.network(z.to(self.margin.dtype))
        scores = self.margin - self.unit * f.reshape(-1)
        return scores.masked_fill(~X.isfinite().all(dim=1), torch.nan)


@isolated()
def to_torch(detector: LipOCC, dtype: torch.dtype = torch.float64) -> Scorer:
    """Return a torch module that maps raw rows to scores and needs no detector.

    Parameters
    ----------
    detector : LipOCC
        Fitted. What is returned is a copy: training either does not change the other.
    dtype : {torch.float64, torch.float32}, default=torch.float64
        Precision of the network and of the scores: float64 gives those of `decision_function`. The
        scaling is done in float64.

    Returns
    -------
    scorer : Scorer
        In evaluation mode, its parameters frozen, on the device of the detector.

    Raises
    ------
    NotFittedError
        Before `fit`.
    ValueError
        If `dtype` is another.

    Examples
    --------
    >>> from pyod_lipocc import LipOCC
    >>> X = np.random.default_rng(0).normal(size=(50, 2))
    >>> detector = LipOCC(max_iter=5, random_state=0).fit(X)
    >>> scores = to_torch(detector)(torch.from_numpy(X))
    >>> bool(np.allclose(scores.numpy(), detector.decision_function(X)))
    True
    """
    check_is_fitted(detector, "network_")
    if dtype not in FARTHEST:
        raise ValueError(f"dtype must be torch.float64 or torch.float32, got {dtype!r}")
    return Scorer(detector, dtype)


@isolated()
def to_onnx(
    detector: LipOCC,
    path: str | os.PathLike[str],
    dtype: torch.dtype = torch.float64,
) -> None:
    """Write an ONNX model that maps raw rows to scores and labels.

    Its input is ``X`` of shape (n, d), for any n, of the precision `dtype`. Its outputs are
    ``scores`` of shape (n,) and of the same precision, and ``labels`` of shape (n,), int64: 1 where
    a score exceeds the threshold. Rows that hold nan or inf, which `LipOCC` refuses, get the score
    nan and the label 1. The version of this package, the threshold, the margin, the Lipschitz
    constant and the names of the features are in the model's metadata, each as JSON.

    Parameters
    ----------
    detector : LipOCC
        Fitted; its network made of layers of this package and of torch's Linear, Conv2d (without
        groups, padded with zeros), Sequential, Flatten, Unflatten, Identity, ReLU, Sigmoid and
        Tanh.
    path : str or path-like
        An existing file is replaced, when the new one is complete.
    dtype : {torch.float64, torch.float32}, default=torch.float64
        Of the input, the network and the scores. The scaling is done in float64.

    Raises
    ------
    ImportError
        Without the extra `onnx`.
    NotFittedError
        Before `fit`.
    ValueError
        If `dtype` is another, or the network has another layer.
    """
    onnx = import_onnx()
    scorer = to_torch(detector, dtype).cpu()
    graph = Graph(scorer.margin.numpy().dtype)
    _add_scorer(graph, scorer)
    helper, precision = onnx.helper, onnx.helper.np_dtype_to_tensor_dtype(graph.dtype)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "LipOCC",
            [helper.make_tensor_value_info("X", precision, ["n", len(scorer.location)])],
            [
                helper.make_tensor_value_info("scores", precision, ["n"]),
                helper.make_tensor_value_info("labels", onnx.TensorProto.INT64, ["n"]),
            ],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="pyod_lipocc",
        producer_version=__version__,
    )
    helper.set_model_props(model, _metadata(detector))
    onnx.checker.check_model(model, full_check=True)
    write_atomically(path, model.SerializeToString())


def _add_scorer(graph: Graph, scorer: Scorer) -> None:
    """Say `Scorer.forward` in ONNX, and compare with the threshold."""
    X = graph.cast("X", np.float64)
    scaled = graph.add("Div", graph.add("Sub", X, scorer.location), scorer.scale)
    limit = np.array(scorer.farthest)
    z = graph.cast(graph.add("Clip", scaled, -limit, limit), graph.dtype)
    f, _ = add_layer(graph, scorer.network, z, tuple(scorer.location.shape))
    distance = graph.add("Mul", graph.add("Reshape", f, np.array([-1])), scorer.unit)
    # 0 times the row: 0, or nan where it is not finite
    zero = graph.add("ReduceSum", graph.add("Mul", X, np.array(0.0)), np.array([1]), keepdims=0)
    score = graph.add("Sub", scorer.margin, distance)
    graph.add("Add", score, graph.cast(zero, graph.dtype), name="scores")
    normal = graph.add("LessOrEqual", "scores", scorer.threshold)
    graph.cast(graph.add("Not", normal), np.int64, name="labels")


def _metadata(detector: LipOCC) -> dict[str, str]:
    """Return what a user of the model may want to know, as JSON."""
    names = getattr(detector, "feature_names_in_", None)
    values: dict[str, Any] = {
        "pyod_lipocc": __version__,
        "threshold": float(detector.threshold_),
        "margin": float(detector.margin_),
        "lipschitz_constant": float(detector.lipschitz_constant_),
        "feature_names": None if names is None else list(names),
    }
    return {name: json.dumps(value) for name, value in values.items()}
