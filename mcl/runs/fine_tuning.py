"""The options of the group ``optimizer`` that its class does not know: other learning rates for parts of networks."""

from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf

HEAD_LR_FACTOR, LAYER_DECAY = "head_lr_factor", "layer_decay"
OPTIMIZER_OPTIONS = (HEAD_LR_FACTOR, LAYER_DECAY)


def optimizer_node(node: Any) -> Any:
    """Return the part of the optimizer's node that builds it, as plain data."""
    if OmegaConf.is_config(node):
        node = OmegaConf.to_container(node, resolve=True)
    if not isinstance(node, Mapping):
        return node
    return {str(key): value for key, value in node.items() if key not in OPTIMIZER_OPTIONS}
