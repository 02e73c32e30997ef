"""Sums of what the step computes, kept on the device: the host looks only when something is logged."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mcl.errors import UserError


class NonFiniteLoss(UserError):
    """The loss became NaN or infinite; training stopped before anything was saved from it."""


class Meters:
    """Averages of named scalars since the last reading, and a watch for the first step that was not finite."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self._sums: Tensor | None = None
        self._count = 0
        self._bad_step: Tensor | None = None  # () int64, -1 while all is finite
        self._bad_values: Tensor | None = None

    def update(self, values: Mapping[str, Tensor], step: int) -> None:
        """Add one step's scalars. No host synchronisation."""
        row = torch.stack([value.detach().to(torch.float32) for value in values.values()])
        if self._sums is None or self._bad_step is None or self._bad_values is None:
            self.names = tuple(values)
            self._sums = torch.zeros_like(row)
            self._bad_step = torch.full((), -1, dtype=torch.int64, device=row.device)
            self._bad_values = torch.zeros_like(row)
        assert self.names == tuple(values), "a meter holds the same names in every step"
        self._sums += row
        self._count += 1
        newly_bad = (self._bad_step < 0) & ~row.isfinite().all()
        self._bad_step = torch.where(newly_bad, step, self._bad_step)
        self._bad_values = torch.where(newly_bad, row, self._bad_values)

    def read(self) -> dict[str, float]:
        """The averages since the last reading, which start anew. Synchronises.

        Raises:
            NonFiniteLoss: a step was not finite; names the step and every value of it.
        """
        if self._sums is None or self._bad_step is None or self._bad_values is None or not self._count:
            return {}
        packed = torch.cat([self._sums, self._bad_values]).tolist()
        bad_step = int(self._bad_step)
        if bad_step >= 0:
            values = dict(zip(self.names, packed[len(self.names) :], strict=True))
            listed = ", ".join(f"{name}={value:g}" for name, value in values.items())
            raise NonFiniteLoss(
                f"the loss is not finite at step {bad_step}: {listed}. Nothing was saved after it."
                " Try a smaller optimizer.lr, trainer.clip_norm=5, or trainer.precision=float32."
            )
        averages = {name: total / self._count for name, total in zip(self.names, packed, strict=False)}
        self._sums.zero_()
        self._count = 0
        return averages
