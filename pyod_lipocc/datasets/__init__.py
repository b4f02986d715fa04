"""Data: toy sets, digits and MNIST by class, ODDS, ADBench and files of one's own.

ODDS, ADBench and MNIST come from the folder that the environment variable ``LIPOCC_DATA`` names
(``odds/*.mat``, ``adbench/*.npz``, ``mnist/*.gz``). Where the variable is unset they are downloaded
once into the user's cache, which needs the extra ``data``. Either way a file is refused unless its
hash is the registered one.
"""

from pyod_lipocc.datasets._collections import ADBENCH_NAMES, ODDS_NAMES, load_adbench, load_odds
from pyod_lipocc.datasets._digits import OneClassDataset, load_digits_one_class, load_mnist
from pyod_lipocc.datasets._files import LABEL_NAMES, Dataset, load_file
from pyod_lipocc.datasets._toy import SHAPE_NAMES, TOY_NAMES, load_toy, toy_signed_distance

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
