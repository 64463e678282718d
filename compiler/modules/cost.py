"""The cost of a model: its number of parameters, and floating-point operations per token."""

from __future__ import annotations

from torch import nn

from archc.compiler.modules.attention.cross_attention import CrossAttention
from archc.compiler.modules.basic.head import Projection
from archc.compiler.modules.basic.linear import Linear
from archc.compiler.modules.mlp.experts import Experts


def parameter_count(model: nn.Module) -> int:
    """Return the number of parameters; shared ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def _modules(module: nn.Module | None) -> list[nn.Module]:
    return list(module.modules()) if module is not None else []


def flops_per_token(model: nn.Module) -> int:
    """Return the floating-point operations of one token in a decoding step.

    Two for each weight of a projection, of the active experts in a mixture, and those of recurrences. Not included are
    the products of attention, which grow with the context, and the encoder of an encoder-decoder, which runs once.
    """
    once = set(_modules(getattr(model, "encoder", None)))
    for module in model.modules():
        if isinstance(module, CrossAttention):
            once |= {module.k, module.v}
    # A module that several layers share runs once in each of them.
    modules = [module for _, module in model.named_modules(remove_duplicate=False) if module not in once]
    projections = [module for module in modules if isinstance(module, Linear | Projection)]
    experts = [module for module in modules if isinstance(module, Experts)]
    stacks = [(module, stack) for module in experts for stack in (module.gate, module.up, module.down) if stack]
    recurrent = sum(getattr(module, "flops", 0) for module in modules)
    dense = sum(2 * module.weight.numel() for module in projections)
    return dense + recurrent + sum(2 * stack.weight[0].numel() * module.per_token for module, stack in stacks)
