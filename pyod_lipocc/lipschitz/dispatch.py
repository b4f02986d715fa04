"""Tables by class, in which only a module that computes what its class says is found."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import TypeGuard, TypeVar

from torch import Tensor, nn
from torch.nn.modules import module as _hooks

__all__ = ["computes_as", "entry_of"]

Layer = TypeVar("Layer", bound=nn.Module)
Entry = TypeVar("Entry")


def computes_as(module: nn.Module, *known: type[Layer]) -> TypeGuard[Layer]:
    """Tell whether a module is of a known class itself, with the methods of that class.

    A subclass, a hook, a method that the instance replaces and a weight of another class of tensors
    may each compute anything.

    Parameters
    ----------
    module : torch.nn.Module
    *known : type

    Returns
    -------
    exact : bool

    Examples
    --------
    >>> computes_as(nn.ReLU6(), nn.ReLU6), computes_as(nn.ReLU6(), nn.Hardtanh)
    (True, False)
    """
    replaced = any(callable(getattr(type(module), name, None)) for name in vars(module))
    own_hooks = module._forward_hooks or module._forward_pre_hooks
    hooked = own_hooks or _hooks._global_forward_hooks or _hooks._global_forward_pre_hooks
    tensors = (*module._parameters.values(), *module._buffers.values())
    plain = all(type(tensor) in (Tensor, nn.Parameter, NoneType) for tensor in tensors)
    return type(module) in known and plain and not (replaced or hooked)


def entry_of(module: nn.Module, table: Mapping[type[nn.Module], Entry]) -> Entry | None:
    """Return the entry of the class that a module computes as.

    Parameters
    ----------
    module : torch.nn.Module
    table : mapping of type to object

    Returns
    -------
    entry : object or None
        None for a module that computes as no class of the table.

    Examples
    --------
    >>> entry_of(nn.Tanh(), {nn.Tanh: "smooth"})
    'smooth'
    """
    return table.get(type(module)) if computes_as(module, type(module)) else None
