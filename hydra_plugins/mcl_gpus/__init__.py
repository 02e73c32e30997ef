"""``hydra/launcher=gpus``: the jobs of a multirun over GPUs or CPU cores, each in a process of its own."""
