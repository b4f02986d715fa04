"""The ONNX model of a score."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from pyod_lipocc._atomic import write_atomically
from pyod_lipocc._extras import import_extra
from pyod_lipocc._isolation import isolated
from pyod_lipocc._version import __version__
from pyod_lipocc.export._onnx import Graph, add_layer
from pyod_lipocc.scorer import Scorer

__all__ = ["to_onnx"]

_OPSET = 17
_IR_VERSION = 8  # the version that runtimes since 2022 read


@isolated()
def to_onnx(
    scorer: Scorer, path: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None
) -> None:
    """Write an ONNX model that maps raw rows to scores and labels.

    The input of the model is ``X`` of shape (n, d), for any n, in the precision of the scorer. Its
    outputs are ``scores`` of shape (n,), in the same precision, and ``labels`` of shape (n,),
    int64: 1 where a score exceeds the threshold. A row that holds nan or inf gets the score nan and
    the label 1.

    Parameters
    ----------
    scorer : Scorer
        Its network is made of layers of this package and of torch's Linear, Conv2d (without groups,
        padded with zeros), Sequential, Flatten, Unflatten, Identity, ReLU, Sigmoid and Tanh.
    path : str or path-like
        An existing file is replaced when the new file is complete.
    metadata : mapping of str to object, optional
        Goes into the model, each value as JSON, beside the version of this package.

    Raises
    ------
    ImportError
        Without the extra `onnx`.
    ValueError
        If the network has another layer.
    """
    onnx = import_extra("onnx", "onnx")
    scorer = copy.deepcopy(scorer).cpu()
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
    values = {"pyod_lipocc": __version__, **(metadata or {})}
    helper.set_model_props(model, {name: json.dumps(value) for name, value in values.items()})
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
    # 0 times the row is 0, or nan where the row is not finite.
    zero = graph.add("ReduceSum", graph.add("Mul", X, np.array(0.0)), np.array([1]), keepdims=0)
    score = graph.add("Sub", scorer.margin, distance)
    graph.add("Add", score, graph.cast(zero, graph.dtype), name="scores")
    normal = graph.add("LessOrEqual", "scores", scorer.threshold)
    graph.cast(graph.add("Not", normal), np.int64, name="labels")
