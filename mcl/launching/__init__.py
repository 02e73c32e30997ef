"""Many jobs, each a process of its own on its own device: what ``hydra/launcher=gpus`` starts, watches and takes down.

It knows neither Hydra nor torch: a job is a command, an environment and a folder.
"""
