"""The sweeper as Hydra sees it. Hydra imports this file at every start, so heavy imports stay inside the methods."""

from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class OptunaSweeper(Sweeper):
    """Runs the trials that Optuna proposes, and prunes them if a pruner is chosen.

    Args:
        options: see ``conf/hydra/sweeper/optuna.yaml``.

    Raises:
        UserError: an option is unknown or invalid.
    """

    def __init__(self, **options: Any) -> None:
        from hydra_plugins.mcl_optuna._options import Options

        plain = {
            name: OmegaConf.to_object(value) if OmegaConf.is_config(value) else value for name, value in options.items()
        }
        self.options = Options.from_dict(plain)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Prepare for `sweep`."""
        self.config = config
        self.hydra_context = hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run the search, or continue it.

        Args:
            arguments: overrides of the jobs; ranges are searched.

        Raises:
            UserError: an override is wrong, or too many trials failed.
        """
        from hydra_plugins.mcl_optuna._search import search

        assert self.config is not None
        assert self.hydra_context is not None
        assert self.launcher is not None
        search(self.options, self.config, self.hydra_context.config_loader, self.launcher, arguments)
