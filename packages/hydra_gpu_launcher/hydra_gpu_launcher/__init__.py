"""Run many jobs, each in its own process on its own GPU or CPU cores: the machinery of ``hydra/launcher=gpus``.

A job is a command, an environment and a folder; this package uses neither torch nor, except in `pickled_job`, Hydra.
`JobQueue` runs jobs in the slots of `make_slots`.
"""

__version__ = "0.1.0"
