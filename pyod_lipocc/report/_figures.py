"""Charts as numbers that the page draws in SVG, and pictures as data URIs."""

from __future__ import annotations

import base64
import decimal
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.image import imsave
from matplotlib.ticker import MaxNLocator

__all__ = ["Chart", "histogram", "lines", "map_of", "number", "picture"]

Floats = npt.NDArray[np.float64]

_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 388.0, 36.0, 202.0  # the frame, in a picture of 400 by 240
_BINS = 40
_POINTS = 200  # of a line
_TAILS = (0.5, 99.5)  # percentiles between which a histogram has a bar for each bin


@dataclass(frozen=True)
class Chart:
    """A chart in a picture of 400 by 240.

    Attributes
    ----------
    name : str
        Unique in the page.
    title, summary : str
        What a screen reader says.
    x_label, y_label : str
    x_ticks, y_ticks : list of (float, str)
        Place and text.
    marks : list of (str, str, str)
        Kind, "bars" or "line"; name in the legend; SVG path.
    rule : tuple of (float, str) or None
        Place and text of a vertical line.
    """

    name: str
    title: str
    summary: str
    x_label: str
    y_label: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    marks: list[tuple[str, str, str]]
    rule: tuple[float, str] | None = None


@dataclass(frozen=True)
class _Axis:
    """The map from an interval of values to an interval of the picture."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, values: npt.ArrayLike) -> Floats:
        share = (np.asarray(values, dtype=np.float64) - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        values = MaxNLocator(4).tick_values(self.low, self.high)
        inside = [value for value in values if self.low <= value <= self.high]
        return [(float(self(value)), number(value, 4)) for value in inside]


def _axes(x: tuple[float, float], y: tuple[float, float]) -> tuple[_Axis, _Axis]:
    return _Axis(*x, _LEFT, _RIGHT), _Axis(*y, _BOTTOM, _TOP)


def number(value: float, digits: int = 3, rounding: str = decimal.ROUND_HALF_EVEN) -> str:
    """Write a number for reading: significant digits, commas, a true minus.

    Bounds of a proof are rounded to the safe side, by `decimal.ROUND_FLOOR` or `ROUND_CEILING`.
    """
    if math.isnan(value):
        return "unknown"
    if math.isinf(value):
        return "infinite" if value > 0 else "minus infinite"
    exact = decimal.Decimal(float(value))
    if not exact:
        return "0"
    last = decimal.Decimal(1).scaleb(exact.adjusted() - digits + 1)
    rounded = exact.quantize(last, rounding, decimal.Context(prec=digits + 1))
    text = f"{rounded:,f}" if -5 < exact.adjusted() < 9 else f"{rounded:.{digits - 1}e}"
    if "." in text and "e" not in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace("-", "\N{MINUS SIGN}")


def histogram(
    name: str, title: str, summary: str, groups: Mapping[str, Floats], threshold: float
) -> Chart:
    """Draw the shares of groups of scores over common bins, and the threshold.

    The outer bins hold the scores beyond: a few far ones would leave one bar for all others.
    """
    tails = [np.percentile(scores, _TAILS) for scores in groups.values()]
    low, high = min(*(t[0] for t in tails), threshold), max(*(t[1] for t in tails), threshold)
    room = 0.05 * (high - low) or max(abs(low), 1.0) * 1e-3
    edges = np.linspace(low - room, high + room, _BINS + 1)
    shares = {
        group: np.histogram(scores.clip(edges[0], edges[-1]), edges)[0] / len(scores) * 100
        for group, scores in groups.items()
    }
    x, y = _axes((edges[0], edges[-1]), (0.0, max(s.max() for s in shares.values()) * 1.05))
    marks = [
        ("line" if index else "bars", group, _steps(x(edges), y(heights), closed=not index))
        for index, (group, heights) in enumerate(shares.items())
    ]
    rule = float(x(threshold)), f"threshold {number(threshold)}"
    return Chart(name, title, summary, "score", "% of rows", x.ticks(), y.ticks(), marks, rule)


def lines(
    name: str,
    title: str,
    summary: str,
    x_values: Floats,
    curves: Mapping[str, Floats],
    *,
    x_label: str,
    y_label: str,
    y_range: tuple[float, float] | None = None,
) -> Chart:
    """Draw curves over common places; points that are not finite leave a gap."""
    finite = np.concatenate([curve[np.isfinite(curve)] for curve in curves.values()])
    low, high = y_range or (float(finite.min()), float(finite.max()))
    x, y = _axes(
        (float(x_values[0]), max(float(x_values[-1]), float(x_values[0]) + 1e-9)),
        (low, high if high > low else low + 1.0),
    )
    marks = [("line", label, _path(x(x_values), y(curve))) for label, curve in curves.items()]
    return Chart(name, title, summary, x_label, y_label, x.ticks(), y.ticks(), marks)


def thinned(values: Floats) -> Floats:
    """Return at most 200 means of consecutive values, so that long trainings stay readable."""
    return np.array([part.mean() for part in np.array_split(values, min(len(values), _POINTS))])


def _path(x: Floats, y: Floats) -> str:
    finite = np.isfinite(y)
    starts = finite & ~np.concatenate(([False], finite[:-1]))
    points = zip(x[finite], y[finite], starts[finite], strict=True)
    return "".join(f"{'M' if first else 'L'}{a:.1f} {b:.1f}" for a, b, first in points)


def _steps(edges: Floats, heights: Floats, *, closed: bool) -> str:
    tops = "".join(f"V{top:.1f}H{right:.1f}" for right, top in zip(edges[1:], heights, strict=True))
    return f"M{edges[0]:.1f} {_BOTTOM}{tops}V{_BOTTOM}{'Z' * closed}"


def picture(pixels: Floats, image_shape: Sequence[int], limits: tuple[float, float]) -> str:
    """Write an image as a data URI; of channels other than 1 and 3 their mean."""
    image = _channels_last(pixels, image_shape)
    if image.shape[-1] not in (1, 3):
        image = image.mean(axis=-1, keepdims=True)
    low, high = limits
    shades = np.clip((image - low) / max(high - low, np.finfo(float).tiny), 0, 1)
    return _data_uri(np.broadcast_to(shades, (*shades.shape[:2], 3)))


def map_of(contributions: Floats, image_shape: Sequence[int]) -> str:
    """Write contributions as a data URI: blue pixels speak for the inside, red ones against."""
    total = _channels_last(contributions, image_shape).sum(axis=-1)
    bound = np.abs(total).max() or 1.0
    return _data_uri(colormaps["RdBu"](0.5 + 0.5 * total / bound))


def _channels_last(pixels: Floats, image_shape: Sequence[int]) -> Floats:
    channels, height, width = (1, *image_shape)[-3:]
    return np.moveaxis(pixels.reshape(channels, height, width), 0, -1)


def _data_uri(image: Floats) -> str:
    file = io.BytesIO()
    imsave(file, image, format="png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
