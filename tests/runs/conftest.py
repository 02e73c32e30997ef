from support.drawings import _undrawn
from support.small_runs import during_step, small, undisturbed

__all__ = ["_undrawn", "during_step", "small", "undisturbed"]
