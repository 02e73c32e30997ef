from support.drawings import _undrawn
from support.small_runs import small, undisturbed

__all__ = ["_undrawn", "small", "undisturbed"]  # fixtures
