"""Build what is cheap to build, so that values that a constructor refuses are found before a run starts."""

from typing import Any

from omegaconf import DictConfig

from mcl.config.checks import plain_data
from mcl.config.instantiate import build
from mcl.config.loss_arguments import loss_arguments
from mcl.config.passed import Once
from mcl.config.targets import PACKAGES, inside, resolve
from mcl.errors import UserError
from mcl.runs.fine_tuning import optimizer_node
from mcl.runs.pair import SHARED_STAGES, frozen_keys, networks_of

STAGES = 3  # of the networks that a loss is built for


def try_building(config: DictConfig) -> None:
    """Build optimizer, schedule, sampler and loss for imaginary networks, on the meta device: no memory, no numbers.

    Parts of the user's own modules are not built here: their constructors may do anything.

    Args:
        config: checked by `mcl.config.checks.check_config`.

    Raises:
        UserError: a constructor refuses its values.
    """
    import torch

    from mcl.types import NetworkShape

    loss_class = resolve(config.loss._target_, path="loss", allow=config.allow_modules)
    keys, frozen = list(networks_of(config.pair)), frozen_keys(config.pair)
    check_network_count(loss_class, keys)
    copies = config.pair.get(SHARED_STAGES) or 0
    shared = copies if isinstance(copies, int) else list(copies).count(1)
    shapes = [NetworkShape([8] * STAGES, [8] * STAGES, 10, key in frozen, min(shared, STAGES)) for key in keys]
    supplied: dict[str, dict[str, Any]] = {
        "optimizer": {"params": [torch.nn.Parameter(torch.empty(1, device="meta"))]},
        "schedule": {},
        "sampler": {},
        "loss": loss_arguments(loss_class, [shape.widths for shape in shapes], lambda: shapes),
    }
    with torch.device("meta"):
        for group, arguments in supplied.items():
            if inside(str(config[group]._target_), PACKAGES):
                node = optimizer_node(config.optimizer) if group == "optimizer" else config[group]
                once = Once(config.allow_modules, plain_data(node, group), shapes)
                if not once.passed:
                    build(node, path=group, allow=config.allow_modules, **arguments)
                    once.note()


def check_network_count(loss_class: Any, keys: list[str]) -> None:
    """Raise UserError if the class of a loss is no loss, or needs more networks."""
    if isinstance(loss_class, type) and not hasattr(loss_class, "minimum_networks"):
        raise UserError(
            f"loss._target_={loss_class.__module__}.{loss_class.__name__}: not a subclass of mcl.losses.base.Loss. A"
            " loss returns named terms: see docs/extend.md."
        )
    minimum = getattr(loss_class, "minimum_networks", 1)
    if len(keys) < minimum:
        choices = {2: "a pair of two (pair=resnet8)", 3: "three or more (pair=resnet8_x4)"}
        raise UserError(
            f"loss {loss_class.__name__} compares networks with one another and needs at least {minimum}; the pair has"
            f" {len(keys)}. Choose {choices.get(minimum, choices[3])}, or loss=independent for one network alone."
        )
