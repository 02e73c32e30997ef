"""Running averages of a step's scalars, kept on the device: the host reads them only to log."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from mcl import distributed
from mcl.errors import UserError


class NonFiniteLoss(UserError):
    """The loss became NaN or infinite; training stopped before anything was saved from it.

    Args:
        message: for the user.
        step: the first step whose values were not finite; 0 if it is not known.
    """

    def __init__(self, message: str, step: int = 0):
        super().__init__(message)
        self.step = step


class Meters:
    """Average named scalars since the last reading, and remember the first step that was not finite."""

    def __init__(self) -> None:
        self.names: tuple[str, ...]
        self._sums: Tensor | None
        self._count: int  # steps in the sums
        self._bad_step: Tensor | None  # () int64, -1 while all is finite
        self._bad_values: Tensor | None
        self._clear((), None)

    @torch.no_grad()
    def update(self, values: Mapping[str, Tensor], step: int, weight: float = 1.0) -> None:
        """Add one step's scalars. No host synchronization.

        Args:
            values: scalars of this process's shard of the batch.
            step: their step.
            weight: their factor in the mean over processes (`mcl.distributed.weight`).

        Raises:
            UserError: they have other names than those before, as those of a loss that begins a term later.
        """
        names = tuple(values) if self._sums is None else self.names
        if changed := set(names) ^ values.keys():
            raise UserError(
                f"step {step} has other values than those before: {', '.join(sorted(changed))}. A loss must return all"
                " its terms in every step; a ramp (loss.weights.TERM) or a factor of 0 switches one off."
            )
        row = torch.stack([values[name] for name in names]).to(torch.float32)
        if self._sums is None:
            self._clear(names, torch.zeros_like(row))
        assert self._sums is not None
        assert self._bad_step is not None
        assert self._bad_values is not None
        self._sums.add_(row, alpha=weight)
        self._count += 1
        newly_bad = (self._bad_step < 0) & ~row.isfinite().all()
        self._bad_step = torch.where(newly_bad, step, self._bad_step)
        self._bad_values = torch.where(newly_bad, row, self._bad_values)

    def read(self) -> dict[str, float]:
        """Return the averages since the last reading, and reset them. Synchronizes with the device.

        Raises:
            NonFiniteLoss: a step was not finite; the message gives some of its values.
        """
        sums = self._finite_sums()
        averages = {name: total / self._count for name, total in zip(self.names, sums, strict=False)}
        if self._sums is not None:
            self._sums.zero_()
        self._count = 0
        return averages

    def state_dict(self) -> dict[str, Any]:
        """Return the running averages for a checkpoint; they continue unchanged. Synchronizes with the device.

        Raises:
            NonFiniteLoss: a step was not finite and must not be saved.
        """
        self._finite_sums()
        sums = None if self._sums is None else distributed.gather(self._sums[None])  # (W, names)
        return {"names": list(self.names), "count": self._count, "sums": sums}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Continue the sums of this process, or the mean of all if the number of processes has changed."""
        sums = state["sums"]
        if sums is not None and sums.dim() == 2:  # older checkpoints have the mean alone
            sums = sums[distributed.rank()] if len(sums) == distributed.world_size() else sums.mean(0)
        self._clear(tuple(state["names"]), None if sums is None else sums.to(device, copy=True))
        self._count = state["count"]

    def _clear(self, names: tuple[str, ...], sums: Tensor | None) -> None:
        self.names = names
        self._sums = sums
        self._count = 0
        self._bad_step = None if sums is None else torch.full((), -1, dtype=torch.int64, device=sums.device)
        self._bad_values = None if sums is None else torch.zeros_like(sums)

    def _finite_sums(self) -> list[float]:
        """Return the sums on the host, averaged over processes."""
        if self._sums is None or self._bad_step is None or self._bad_values is None or not self._count:
            return []
        *sums, bad = torch.cat(distributed.all_reduce_mean([self._sums, (self._bad_step >= 0).float()[None]])).tolist()
        if bad:
            _raise_for_first_bad_step(
                self.names, distributed.gather(self._bad_step[None]), distributed.gather(self._bad_values[None])
            )
        return sums


def _raise_for_first_bad_step(names: Sequence[str], steps: Tensor, values: Tensor) -> NoReturn:
    """Raise NonFiniteLoss, given the first bad step of each process, or -1 (W,), and its values (W, names)."""
    steps = steps.where(steps >= 0, steps.max() + 1)
    first = int(steps.min())
    scalars = dict(zip(names, values[steps.argmin()].tolist(), strict=True))
    bad = _summarize({name: value for name, value in scalars.items() if not math.isfinite(value)})
    finite = _summarize({name: value for name, value in scalars.items() if math.isfinite(value)})
    raise NonFiniteLoss(
        f"the loss is not finite at step {first}: {bad}; finite: {finite}. Nothing was saved after it."
        " Try a smaller optimizer.lr or trainer.clip_norm=5, and float32 if trainer.precision is another.",
        first,
    )


def _summarize(values: Mapping[str, float], limit: int = 4) -> str:
    """List the first values, and the number of the others."""
    first = ", ".join(f"{name}={value:g}" for name, value in list(values.items())[:limit])
    return f"{first} and {len(values) - limit} more" if len(values) > limit else first or "none"
