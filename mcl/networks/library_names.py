"""The models of timm and torchvision that a network may be, by name. Imports neither library nor torch."""

import functools
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mcl import extras
from mcl.errors import UserError, did_you_mean

LIBRARIES = ("timm", "torchvision")
TARGET = "mcl.networks.library.LibraryBackbone"
_REGISTERED = {  # how a file of a library registers a model: a decorator in front of its function
    "timm": re.compile(r"^@register_model\s*\ndef (\w+)\(", re.MULTILINE),
    "torchvision": re.compile(r"^@register_model\(\)\s*\n(?:@.*\n)*def (\w+)\(", re.MULTILINE),
}


def split_choice(choice: str) -> tuple[str, str] | None:
    """Return library and model of a choice such as ``timm/resnet18``; None for other networks."""
    library, slash, model = choice.partition("/")
    return (library, model) if slash and library in LIBRARIES else None


@functools.cache
def model_names(library: str) -> list[str]:
    """Return the names of a library's classifiers, read from its source; empty if it is not installed."""
    spec = find_spec(library)  # finding a top-level package does not import it
    names: set[str] = set()
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        for file in Path(folder, "models").glob("*.py"):
            names.update(_REGISTERED[library].findall(file.read_text(encoding="utf-8")))
    return sorted(names)


def check_name(library: str, model: str) -> None:
    """Raise UserError unless a library is installed and has a classifier of this name."""
    if library not in LIBRARIES:
        raise UserError(f"library={library}: networks come from {' or '.join(LIBRARIES)}.")
    extras.require(library, asked=f"network {library}/{model}")
    names = model_names(library)
    if model in names:
        return
    plain, dot, tag = model.partition(".")
    if dot and plain in names:
        raise UserError(
            f"network {library}/{model}: {tag} names pretrained weights. Write {library}/{plain}, and"
            f" pair.NETWORK.weights={tag}."
        )
    near = did_you_mean(model, names, count=3)
    listing = {"timm": "timm.list_models()", "torchvision": "torchvision.models.list_models()"}[library]
    raise UserError(
        f"network {library}/{model}: {library} has no classifier of this name.{near} {listing} lists all of its"
        f" {len(names):,}."
    )


def node_of(choice: str) -> dict[str, Any] | None:
    """Return the options of ``network=timm/NAME``, as a file of ``conf/network`` would list them; None for others.

    Raises:
        UserError: the library has no such model, or is not installed.
    """
    parts = split_choice(choice)
    if parts is None:
        return None
    library, model = parts
    check_name(library, model)
    return {
        "_target_": TARGET,
        "name": choice,
        "library": library,
        "model": model,
        "stages": None,
        "branches": "copy",
        "weights": None,
        "options": {},
    }


def libraries_with(model: str) -> list[str]:
    """Return the choices that a bare name may stand for: ``convnext_tiny`` -> ``["timm/convnext_tiny", ...]``."""
    return [f"{library}/{model}" for library in LIBRARIES if model in model_names(library)]
