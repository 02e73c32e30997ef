from support.small_runs import small, undisturbed

__all__ = ["small", "undisturbed"]  # fixtures
