"""What a piece of work must compute and move, counted while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

if TYPE_CHECKING:
    from typing_extensions import Self


def _attention(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(q.shape, k.shape, v.shape)


# Torch's own `FlopCounterMode` knows attention on a GPU only, and no bytes.
_FORMULAS = {**flop_registry, torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}


class Product(NamedTuple):
    """A matrix product, a convolution or an attention that was done."""

    operations: int  # of floating point
    bytes: int  # of all tensors that go in or come out
    half: bool  # whether it was done in 16 bits


class Counted(TorchDispatchMode):
    """Counts the operations and bytes of each matrix product, convolution and attention.

    Attributes:
        products: each.
    """

    def __init__(self) -> None:
        super().__init__()
        self.products: list[Product] = []
        self._fused = True

    def __enter__(self) -> Self:
        """Count from here on; a fused transformer layer is taken apart, or none of its products would be seen."""
        self._fused = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        """Count no more."""
        torch.backends.mha.set_fastpath_enabled(self._fused)
        super().__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See `TorchDispatchMode`."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        formula = _FORMULAS.get(func.overloadpacket)
        if formula is not None:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)]
            moved = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
            operations = int(formula(*args, **kwargs, out_val=out))
            self.products.append(Product(operations, moved, tensors[0].element_size() == 2))
        return out
