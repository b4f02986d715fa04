"""Data: toy sets, digits and MNIST by class, ODDS, ADBench and files of one's own.

ODDS, ADBench and MNIST are read from the folder that the environment variable ``LIPOCC_DATA``
names (``odds/*.mat``, ``adbench/*.npz``, ``mnist/*.gz``). Where it is unset they are downloaded
once into the user's cache, which needs the extra ``data``. Either way a file whose hash is not the
registered one is refused.
"""

from pyod_lipocc.datasets._loaders import (
    ADBENCH_NAMES,
    LABEL_NAMES,
    ODDS_NAMES,
    SHAPE_NAMES,
    TOY_NAMES,
    Dataset,
    OneClassDataset,
    load_adbench,
    load_digits_one_class,
    load_file,
    load_mnist,
    load_odds,
    load_toy,
    toy_signed_distance,
)

__all__ = [
    "ADBENCH_NAMES",
    "LABEL_NAMES",
    "ODDS_NAMES",
    "SHAPE_NAMES",
    "TOY_NAMES",
    "Dataset",
    "OneClassDataset",
    "load_adbench",
    "load_digits_one_class",
    "load_file",
    "load_mnist",
    "load_odds",
    "load_toy",
    "toy_signed_distance",
]
