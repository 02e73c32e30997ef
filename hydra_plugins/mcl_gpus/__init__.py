"""``hydra/launcher=gpus``: run the jobs of a multirun over GPUs or CPU cores, each in its own process."""
