"""Metadata of an exported network, stored beside its weights."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from mcl.data.preprocessing import Preprocessing
from mcl.errors import UserError
from mcl.runs.received import checked_network_key, class_names, file_name, received
from mcl.untrusted.text import decode_json, printable

WITHOUT_METADATA = (
    "is not a file that python -m mcl export wrote, or one with --names timm or torchvision, which holds weights alone:"
    " export again without --names."
)


@dataclass(frozen=True)
class NetworkMetadata:
    """Everything needed to rebuild a network and to use it."""

    name: str  # name of the architecture
    key: str  # key of the network in its pair
    architecture: dict[str, Any]  # the node of the configuration that builds it
    classes: tuple[str, ...]  # names, by label
    preprocessing: Preprocessing
    weights: str  # "last" or "best"
    step: int  # step of the checkpoint

    @property
    def file_stem(self) -> str:
        """The name of a file with this network, without its suffix."""
        return f"{self.key}-{file_name(self.name)}" + ("-best" if self.weights == "best" else "")

    def attach_to(self, network: nn.Module) -> None:
        """Set ``preprocessing`` and ``classes`` as attributes of a network, outside its state dict."""
        network.__dict__.update(preprocessing=self.preprocessing, classes=self.classes)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**vars(self), "classes": list(self.classes), "preprocessing": self.preprocessing.as_dict()}

    def as_text(self) -> dict[str, str]:
        """Return every value as JSON, for formats that store only text."""
        return {name: json.dumps(value, ensure_ascii=False) for name, value in self.as_dict().items()}

    @classmethod
    def from_dict(cls, values: Any, source: str) -> "NetworkMetadata":
        """Read the plain values of `as_dict`.

        Raises:
            UserError: The values, which come from the file ``source``, are not those of `as_dict`, or not plain data.
        """
        try:
            return cls(
                name=printable(values["name"]),
                key=checked_network_key(str(values["key"]), f"{source}: key"),
                architecture=received(values["architecture"], f"{source}: architecture"),
                classes=class_names(values["classes"], source),
                preprocessing=Preprocessing.from_dict(values["preprocessing"]),
                weights=printable(values["weights"]),
                step=int(values["step"]),
            )
        except UserError:  # a ValueError too, with a message of its own
            raise
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(f"{source} {WITHOUT_METADATA}") from error

    @classmethod
    def from_text(cls, values: Mapping[str, str] | None, source: str) -> "NetworkMetadata":
        """Read the JSON values of `as_text`, and ignore those that other tools add; raises as `from_dict` does."""
        own = {field.name: (values or {}).get(field.name) for field in fields(cls)}
        try:
            decoded = {
                name: decode_json(value, f"{source}: {name}") for name, value in own.items() if value is not None
            }
        except UserError as error:
            raise UserError(f"{source} {WITHOUT_METADATA}") from error
        return cls.from_dict(decoded, source)
