"""Hydra's own tests for launchers: what its other launchers do, this one does."""

import pytest
from hydra.test_utils.launcher_common_tests import BatchedSweeperTestSuite, IntegrationTestSuite, LauncherTestSuite

ON_CPU = ["hydra.launcher.devices=cpu", "hydra.launcher.per_gpu=2"]
IN_FOLDER = [*ON_CPU, "hydra.job.chdir=true"]  # Hydra's default unless another test has set version_base here


@pytest.mark.parametrize(("launcher_name", "overrides"), [("gpus", IN_FOLDER)])
class TestLauncher(LauncherTestSuite):
    """Jobs in processes of their own: overrides, defaults, resolvers, folders."""


@pytest.mark.parametrize(("launcher_name", "overrides"), [("gpus", [*IN_FOLDER, "hydra.sweeper.max_batch_size=2"])])
class TestBatches(BatchedSweeperTestSuite):
    """A sweeper that launches several times."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task_launcher_cfg", "extra_flags"),
    [({}, ["-m", "hydra/launcher=gpus", *ON_CPU])],
)
class TestIntegration(IntegrationTestSuite):
    """Whole programs: names, working folders, paths."""
