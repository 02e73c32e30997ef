"""The options of the group ``optimizer`` that its class does not know: other learning rates for parts of networks."""

from typing import Any

from mcl.runs.pair import without_options

HEAD_LR_FACTOR, LAYER_DECAY = "head_lr_factor", "layer_decay"
OPTIMIZER_OPTIONS = (HEAD_LR_FACTOR, LAYER_DECAY)


def optimizer_node(node: Any) -> Any:
    """Return the part of the optimizer's node that builds it, as plain data."""
    return without_options(node, OPTIMIZER_OPTIONS)
