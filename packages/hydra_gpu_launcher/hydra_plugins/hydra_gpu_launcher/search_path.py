"""Add ``hydra/launcher=gpus`` behind the configuration of the application, which may have one of this name."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class GpuLauncherSearchPath(SearchPathPlugin):
    """Makes Hydra find ``conf/hydra/launcher/gpus.yaml`` of this plugin."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the configuration of this plugin."""
        search_path.append("hydra-gpu-launcher", "pkg://hydra_plugins.hydra_gpu_launcher.conf")
