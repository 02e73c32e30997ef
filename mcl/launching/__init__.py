"""Run many jobs, each in a process of its own on its own device: the machinery of ``hydra/launcher=gpus``.

It knows neither Hydra nor torch: a job is a command, an environment and a folder.
"""
