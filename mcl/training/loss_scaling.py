"""Dynamic loss scaling: keep small gradients of a backward pass in float16 from becoming zero."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from mcl.errors import UserError


class LossScaling:
    """Scale the loss as far as float16 allows, without synchronizing with the device (`torch.amp.GradScaler`).

    The scale starts at 65536, halves in each step whose gradients overflow, and doubles after 2000 steps without. Such
    a step is skipped: neither momentum nor weight decay moves a parameter.

    Args:
        optimizer: a fused one, which reads on the device whether to skip a step.
        device: device of the parameters.

    Raises:
        UserError: the optimizer cannot skip a step without waiting for the device.
    """

    def __init__(self, optimizer: Optimizer, device: torch.device):
        if not optimizer.defaults.get("fused"):
            raise UserError(
                f"trainer.precision=float16: {type(optimizer).__name__} is not fused on {device} with these options, so"
                " it cannot skip a step whose gradients overflow. Use optimizer=sgd or optimizer=adamw on a CPU or CUDA"
                " device, without foreach or fused=false, or trainer.precision=bfloat16."
            )
        self.optimizer = optimizer
        self.scaler = torch.amp.GradScaler(device.type)
        self._scale: Tensor | None = None  # () float, of this step
        self._overflow: Tensor | None = None
        for group in optimizer.param_groups:
            if group.get("momentum"):
                for parameter in group["params"]:
                    # SGD would create this in its first step, and never fill it if that step is skipped.
                    optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)

    def scale(self, loss: Tensor) -> Tensor:
        """Return the loss times the scale."""
        return self.scaler.scale(loss)

    def unscale(self) -> Tensor:
        """Divide the gradients by the scale, and adapt the scale.

        Returns:
            () float: 1 if a gradient is not finite, else 0.
        """
        scale = self.scaler._get_scale_async()
        assert scale is not None, "scale comes first"
        self._scale = scale.clone()
        self.scaler.unscale_(self.optimizer)
        (self._overflow,) = self.scaler._found_inf_per_device(self.optimizer).values()
        self.scaler.update()
        return self._overflow

    def measure(self, norm: Tensor) -> dict[str, Tensor]:
        """Return the scalars of the last `unscale` by name, given the norm of its gradients.

        The norm of a skipped step is reported as 0, unless the scale was 1 or less: then the gradients are not finite
        whatever the scale, and training has diverged.
        """
        assert self._scale is not None, "unscale comes first"
        assert self._overflow is not None
        skipped = (self._overflow > 0) & (self._scale > 1)
        return {
            "train/grad_norm": norm.masked_fill(skipped, 0),
            "train/loss_scale": self._scale,
            "train/skipped": self._overflow,
        }

    def step(self, overflow: Tensor) -> None:
        """Let the optimizer take a step unless ``overflow`` is 1."""
        optimizer: Any = self.optimizer
        optimizer.grad_scale, optimizer.found_inf = None, overflow
        try:
            optimizer.step()
        finally:
            del optimizer.grad_scale, optimizer.found_inf

    def state_dict(self) -> dict[str, Any]:
        """Return the scale and the steps since it changed. Synchronizes with the device."""
        return self.scaler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with the scale of a checkpoint."""
        self.scaler.load_state_dict(dict(state))
