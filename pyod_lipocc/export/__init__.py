"""Fitted detectors as plain torch modules and as ONNX models: raw rows in, scores out."""

from pyod_lipocc.export._export import Scorer, to_onnx, to_torch

__all__ = ["Scorer", "to_onnx", "to_torch"]
