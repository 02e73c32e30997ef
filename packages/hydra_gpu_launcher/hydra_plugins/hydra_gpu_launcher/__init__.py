"""``hydra/launcher=gpus`` for any Hydra application."""
