"""The launcher as Hydra sees it. Hydra imports this file at every start, so heavy imports are in `launch`."""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class GpusLauncher(Launcher):
    """Runs every job as ``python train.py OVERRIDES hydra.run.dir=FOLDER``, each on its own device.

    Args:
        options: those of ``mcl.launching.launch_options.Options``; ``conf/hydra/launcher/gpus.yaml`` explains them.

    Raises:
        UserError: an option cannot be.
    """

    def __init__(self, **options: Any) -> None:
        from mcl.launching.launch_options import Options

        plain: dict[str, Any] = {
            name: OmegaConf.to_object(given) if OmegaConf.is_config(given) else given for name, given in options.items()
        }
        self.options = Options.of(plain)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `launch`, and before a sweeper composes every job to see that it can be."""
        from mcl.config.loader import ReusingLoader

        self.loader = ReusingLoader(hydra_context.config_loader.get_search_path())
        hydra_context.config_loader = self.loader  # for the sweeper, which has the same context
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run jobs, and wait for them.

        Args:
            job_overrides: of each job, as typed.
            initial_job_idx: the number of the first.

        Returns:
            What came of each, in order.

        Raises:
            UserError: an override is wrong; nothing has been started then.
        """
        from hydra_plugins.mcl_gpus._launch import launch

        return launch(self, job_overrides, initial_job_idx)
