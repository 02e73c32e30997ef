"""The choices as Hydra sees them. Hydra imports this file at every start, so heavy imports stay inside the methods."""

from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

SCHEME = "networks"
_GROUP = "network/"


class LibraryNetworks(ConfigSource):
    """Holds ``network/timm/NAME`` and ``network/torchvision/NAME``, without a file for each."""

    @staticmethod
    def scheme() -> str:
        """Return the scheme of its place in the search path."""
        return SCHEME

    def available(self) -> bool:
        """Return whether it can be searched."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Return whether it adds to the lists of choices: there are too many of these to list."""
        return False

    def is_config(self, config_path: str) -> bool:
        """Return whether a path is a choice of a library.

        Raises:
            UserError: it names a library, but no model of it.
        """
        return self._node(config_path) is not None

    def load_config(self, config_path: str) -> ConfigResult:
        """Return the options of a choice."""
        return ConfigResult(
            self.provider, f"{SCHEME}://{config_path}", OmegaConf.create(self._node(config_path)), {"package": None}
        )

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Return no choices: see `is_group`."""
        return []

    def _node(self, config_path: str) -> dict[str, Any] | None:
        if not config_path.startswith(_GROUP):
            return None
        from mcl.networks.library_names import node_of

        return node_of(config_path.removeprefix(_GROUP).removesuffix(".yaml"))


class LibraryNetworksPath(SearchPathPlugin):
    """Adds these choices behind the files of ``conf``."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add them."""
        search_path.append("mcl", f"{SCHEME}://")
