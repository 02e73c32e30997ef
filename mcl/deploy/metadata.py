"""Metadata of an exported network, stored beside its weights."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcl.data.preprocessing import Preprocessing
from mcl.errors import UserError
from mcl.runs.received import checked_network_key, received


@dataclass(frozen=True)
class About:
    """Everything needed to build a network again and to use it.

    Args:
        name: of the architecture.
        key: what its pair called it.
        architecture: the node of the configuration that builds it.
        classes: class names, by label.
        preprocessing: what images go through first.
        weights: ``last`` or ``best``.
        step: of training.
    """

    name: str
    key: str
    architecture: dict[str, Any]
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    weights: str
    step: int

    @property
    def file_stem(self) -> str:
        """What a file of this network is called, less its suffix."""
        return f"{self.key}-{self.name.replace('/', '_')}" + ("-best" if self.weights == "best" else "")

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "key": self.key,
            "architecture": self.architecture,
            "classes": list(self.classes),
            "preprocessing": self.preprocessing.as_dict(),
            "weights": self.weights,
            "step": self.step,
        }

    def as_text(self) -> dict[str, str]:
        """Every value as JSON, for formats that hold text alone."""
        return {name: json.dumps(value, ensure_ascii=False) for name, value in self.as_dict().items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str) -> "About":
        """From plain values.

        Raises:
            UserError: these are not what ``as_dict`` gives, or not plain data; says so of ``source``.
        """
        try:
            return cls(
                name=str(values["name"]),
                key=checked_network_key(str(values["key"]), f"{source}: key"),
                architecture=received(values["architecture"], f"{source}: architecture"),
                classes=tuple(map(str, values["classes"])),
                preprocessing=Preprocessing.from_dict(values["preprocessing"]),
                weights=str(values["weights"]),
                step=int(values["step"]),
            )
        except UserError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{source} is not a file that python -m mcl export made.") from error

    @classmethod
    def from_text(cls, values: Mapping[str, str] | None, source: str) -> "About":
        """From the JSON values of ``as_text``, as ``from_dict``."""
        try:
            decoded = {name: json.loads(value) for name, value in (values or {}).items()}
        except ValueError:
            decoded = {}
        return cls.from_dict(decoded, source)
