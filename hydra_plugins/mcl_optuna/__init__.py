"""``hydra/sweeper=optuna``: search for the best settings with Optuna."""
