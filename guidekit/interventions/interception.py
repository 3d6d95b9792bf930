"""Attention caught on its way: the attention functions of torch are intercepted while a module is called.

So fused projections and rotary embeddings need no adapter; kernels of other libraries are not seen.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from guidekit.interventions.heads import Heads, from_function, from_multihead, join_heads
from guidekit.interventions.places import Call

Merge = Callable[[Tensor], Tensor]
Attend = Callable[[Call, Tensor, Heads, Merge | None], Tensor]
"""(call of the module, output of its attention, heads, merge) -> another output.

The output is (B, h, N, e); where there is a `merge`, it is what that makes of such a tensor.
"""


def intercept(module: nn.Module, attend: Attend, stack: ExitStack) -> None:
    """Have `attend` replace what attention gives inside a module, until the stack is closed."""
    entered: list[_Intercept] = []
    before = module.register_forward_pre_hook(partial(_enter, attend, entered), with_kwargs=True)
    after = module.register_forward_hook(partial(_leave, entered), always_call=True)
    stack.callback(before.remove)
    stack.callback(after.remove)
    stack.callback(_leave_all, entered)


class _Intercept(TorchFunctionMode):
    """Catches the attention functions of torch."""

    def __init__(self, attend: Attend, call: Call) -> None:
        super().__init__()
        self.attend, self.call = attend, call

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """See `TorchFunctionMode`."""
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            heads, flat = from_function(*args, **kwargs)
            out = func(*args, **kwargs)
            out = self.attend(self.call, out[:, None] if flat else out, heads, None)
            return out[:, 0] if flat else out
        if func is F.multi_head_attention_forward:
            out, weights = func(*args, **kwargs)
            heads, project = from_multihead(*args, **kwargs)
            out = self.attend(self.call, out.transpose(0, 1), heads, lambda z: project(join_heads(z)))
            return out.transpose(0, 1), weights
        return func(*args, **kwargs)


def _enter(attend: Attend, entered: list[_Intercept], module: nn.Module, args: tuple, kwargs: dict) -> None:
    mode = _Intercept(attend, Call(args, kwargs))
    mode.__enter__()
    entered.append(mode)


def _leave(entered: list[_Intercept], module: nn.Module, args: tuple, output: Any) -> None:
    if entered:
        entered.pop().__exit__(None, None, None)


def _leave_all(entered: list[_Intercept]) -> None:
    while entered:
        entered.pop().__exit__(None, None, None)
