"""The launcher as Hydra sees it. Hydra imports this file at every start, so heavy imports stay inside the methods."""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.errors import CompactHydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class GpuLauncher(Launcher):
    """Runs every job of a multirun in its own process, which sees only its own GPU.

    Args:
        options: see ``conf/hydra/launcher/gpus.yaml``.

    Raises:
        CompactHydraException: an option is unknown or invalid. Hydra prints it without a traceback.
    """

    def __init__(self, **options: Any) -> None:
        from hydra_gpu_launcher.errors import LauncherError
        from hydra_plugins.hydra_gpu_launcher._options import AppOptions

        try:
            self.options = AppOptions.from_dict(
                {key: OmegaConf.to_object(each) if OmegaConf.is_config(each) else each for key, each in options.items()}
            )
        except LauncherError as error:
            raise CompactHydraException(str(error)) from error

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what `launch` needs."""
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
            CompactHydraException: something that was typed cannot work; no job was started.
        """
        from hydra_gpu_launcher.errors import LauncherError
        from hydra_plugins.hydra_gpu_launcher._launch import launch

        try:
            return launch(
                self.options, self.hydra_context, self.config, self.task_function, job_overrides, initial_job_idx
            )
        except LauncherError as error:
            raise CompactHydraException(str(error)) from error
