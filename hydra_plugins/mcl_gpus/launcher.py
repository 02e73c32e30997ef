"""The launcher as Hydra sees it. Hydra imports this file at every start, so heavy imports stay inside the methods."""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class GpusLauncher(Launcher):
    """Runs every job as ``python train.py OVERRIDES hydra.run.dir=FOLDER``, each on its own device.

    Args:
        options: see `hydra_gpu_launcher.launch_options.Options` and ``conf/hydra/launcher/gpus.yaml``.

    Raises:
        UserError: an option is unknown or invalid.
    """

    def __init__(self, **options: Any) -> None:
        from hydra_gpu_launcher.launch_options import Options
        from mcl.launching.own_errors import own_errors

        plain = {
            name: OmegaConf.to_object(value) if OmegaConf.is_config(value) else value for name, value in options.items()
        }
        with own_errors():
            self.options = Options.from_dict(plain)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Prepare for `launch`. Hydra also calls this before a sweeper composes every job to validate it."""
        from mcl.config.loader import ReusingLoader

        self.loader = ReusingLoader(hydra_context.config_loader.get_search_path())
        hydra_context.config_loader = self.loader  # the sweeper shares this context
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run jobs and wait for them.

        Args:
            job_overrides: overrides of each job, as typed.
            initial_job_idx: number of the first job.

        Returns:
            The outcome of each job, in order.

        Raises:
            UserError: an override is wrong; no job was started.
        """
        from hydra_plugins.mcl_gpus._launch import launch
        from mcl.launching.own_errors import own_errors

        with own_errors():
            return launch(self.options, self.loader, self.config, self.task_function, job_overrides, initial_job_idx)

    def launch_one_by_one(self, proposals: Any) -> None:
        """Run jobs that are proposed one at a time, whenever a device is free, until no more come.

        Args:
            proposals: see `hydra_plugins.mcl_gpus._stream.Proposals`.

        Raises:
            UserError: an override is wrong.
        """
        from hydra_plugins.mcl_gpus._stream import stream
        from mcl.launching.own_errors import own_errors

        with own_errors():
            stream(self.options, self.loader, self.config, self.task_function, proposals)
