"""`LipOCC` for dask arrays and dataframes: tables that outgrow the memory of one machine."""

from pyod_lipocc.dask._detector import LipOCC

__all__ = ["LipOCC"]
