"""Scores as ONNX models: raw rows in, scores and labels out. Needs the extra `onnx`."""

from pyod_lipocc.export._model import to_onnx

__all__ = ["to_onnx"]
