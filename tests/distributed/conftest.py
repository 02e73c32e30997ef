from support.small_runs import during_step, small, undisturbed

__all__ = ["during_step", "small", "undisturbed"]
