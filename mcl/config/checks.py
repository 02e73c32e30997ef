"""Check a configuration for typos and wrong types before anything is built. All such checks start here.

1. While Hydra composes, Hydra checks choices (``loss=mcll``) against the files of ``conf/``, overrides of options
   (``optimizer.lrr=1``) against those files, and top-level types (``seed=x``) against `TrainConfig`.
   `mcl.config.explain` words its errors.
2. Before a run folder is made, `check_config` checks what Hydra lets pass (``+new=1``, typos in YAML files): top-level
   options against `TrainConfig`, and the options of every node with a ``_target_``, at any depth, against the names and
   type hints of its constructor.
3. `check` does the latter for each node once more when it is built, since not every node comes from `check_config`.

The cost: importing constructors imports torch, which takes seconds. So `check_config` first reads signatures from
source, in milliseconds, and most mistakes are reported then. Only then does it import every target, for inherited
constructors, torch's own types and modules of the user. Signatures are cached, and a node that passed is not checked
again: the jobs of a study have most of their nodes in common (`mcl.config.passed`).

`mcl.config.hints` words every unknown name, with what to type instead; `type_hints.describe` every wrong type.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from inspect import Parameter, Signature
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mcl.config import objective
from mcl.config.constructor_nodes import backbone_node
from mcl.config.hints import unknown_option, value_in_our_words
from mcl.config.loss_arguments import SHAPES, WIDTHS
from mcl.config.optimizer_checks import check_fine_tuning
from mcl.config.pair_options import check_direction, check_pair
from mcl.config.passed import Once
from mcl.config.schema import TrainConfig
from mcl.config.signatures import read_signature, signature_of
from mcl.config.targets import KEYWORDS, PACKAGES, inside, resolve
from mcl.config.type_hints import describe, fits, misfit
from mcl.errors import UserError, unknown
from mcl.runs.fine_tuning import optimizer_node
from mcl.runs.identity import flatten
from mcl.runs.pair import networks_of
from mcl.runs.received import interpolation_in

# Arguments that the program supplies.
SUPPLIED = {"optimizer": ["params"], "loss": [WIDTHS, SHAPES], "pair": ["num_classes", "in_channels"]}
GROUPS = ("trainer", "optimizer", "schedule", "sampler", "dataset", "loss", "tracking", "pair")  # slow imports last


def check_config(config: DictConfig) -> None:
    """Check a whole configuration, except Hydra's own part.

    Raises:
        UserError: an option is unknown, not set, or of the wrong type.
    """
    check_without_imports(config)
    check_targets(config)


def check_without_imports(config: DictConfig) -> None:
    """Check what can be told without importing torch; raises as `check_config` does."""
    values = OmegaConf.to_container(config)  # unresolved
    assert isinstance(values, dict)
    values.pop("hydra", None)
    known = [field.name for field in fields(TrainConfig)]
    for key in map(str, values):
        if key not in known:
            raise unknown_option(key, known, _shown(values[key]))
    for key, value in sorted(flatten(values).items()):
        _require_set(key, value)
    if not 0 <= config.seed < 2**63:
        raise UserError(f"seed={config.seed}: must be from 0 to 2^63 - 1.")
    if config.runs == "":
        raise UserError("runs is empty: name the folder for run folders, such as runs=runs.")
    objective.check(config.objective)
    for group in GROUPS:
        if config[group] is None:
            raise UserError(f"{group} is null: choose one with {group}=NAME.")
    if not config.pair:
        raise UserError("pair: no network chosen; give pair=NAME or network@pair.first=NAME.")
    check_pair(values["pair"], values.get("init_from"))
    check_direction(values["loss"], values["pair"])
    check_fine_tuning(values["optimizer"])
    keys = [str(key) for key in config.trainer if not _asks_torch(config, str(key))]
    trainer = OmegaConf.to_container(OmegaConf.create({key: config.trainer[key] for key in keys}))  # plain: lists too
    _check_nodes({**_nodes(config), "trainer": trainer}, config.allow_modules, import_targets=False)


def check_targets(config: DictConfig) -> None:
    """Import every target and check its options; raises as `check_config` does."""
    _check_nodes(_nodes(config), config.allow_modules, import_targets=True)


def _asks_torch(config: DictConfig, key: str) -> bool:
    """Return whether an option of the trainer is resolved by asking torch for the device."""
    return key in ("precision", "channels_last") and OmegaConf.is_interpolation(config.trainer, key)


def _nodes(config: DictConfig) -> dict[str, Any]:
    """Return the nodes that are built, by their paths."""
    nodes: dict[str, Any] = {group: config[group] for group in GROUPS if group not in ("pair", "tracking")}
    nodes["optimizer"] = optimizer_node(config.optimizer)
    nodes |= {f"tracking.{key}": node for key, node in config.tracking.items()}
    for key, node in networks_of(config.pair).items():
        nodes[f"pair.{key}"] = backbone_node(node, path=f"pair.{key}", allow=config.allow_modules)
    return nodes


def _check_nodes(nodes: Mapping[str, Any], allow: Collection[str], *, import_targets: bool) -> None:
    for path, node in nodes.items():
        supplied = SUPPLIED.get(path.split(".")[0], ())
        check(node, path=path, allow=allow, supplied=supplied, import_targets=import_targets)


def check(
    node: Any,
    *,
    path: str = "",
    allow: Collection[str] = (),
    supplied: Collection[str] = (),
    import_targets: bool = True,
) -> None:
    """Compare a node, and every target inside it, with the signatures of what it would build. Builds nothing.

    Args:
        node: mapping or DictConfig with ``_target_``.
        path: path of the node in the configuration, for messages.
        allow: modules beyond `mcl.config.targets.PACKAGES` whose members may be built.
        supplied: names of the arguments that do not come from the configuration.
        import_targets: False reads signatures from source; a node whose signature cannot be read passes.

    Raises:
        UserError: an option is unknown, not set, or of the wrong type, or the target may not be built.
    """
    plain = plain_data(node, path)
    once = Once(allow, plain, path, list(supplied), import_targets)
    if once.passed:
        return
    target, prefix = plain.get("_target_"), f"{path}." if path else ""
    if not isinstance(target, str):
        raise UserError(f"{path or 'node'}: no _target_: set {prefix}_target_=MODULE.CLASS.")
    for key in plain:
        if key.startswith("_") and key not in KEYWORDS:
            raise unknown("keyword", f"{prefix}{key}", sorted(KEYWORDS))
    options = {key: value for key, value in plain.items() if key not in KEYWORDS}
    signature = read_signature(target) if inside(target, PACKAGES) and not import_targets else None
    if import_targets:
        signature = signature_of(resolve(target, path=path, allow=allow))
    if signature is not None:
        _check_supplied(target, signature, supplied, path)
        parameters = [each for each in signature.parameters.values() if each.name not in supplied]
        _check_options(target, parameters, options, prefix, supplied, partial=bool(plain.get("_partial_")))
    for key, value in options.items():
        for where, child in _nested(value, f"{prefix}{key}"):
            check(child, path=where, allow=allow, import_targets=import_targets)
    once.note()


def plain_data(node: Any, path: str) -> dict[str, Any]:
    """Return a node as plain data in which Hydra has nothing left to resolve: what is checked is what is built.

    Raises:
        UserError: it is not a mapping, or still holds an interpolation.
    """
    if isinstance(node, DictConfig):
        node = OmegaConf.to_container(node, resolve=True)
    if not isinstance(node, Mapping):
        raise UserError(f"{path or 'node'}: expected a mapping with _target_, got {node!r}.")
    if (left := interpolation_in(node, path)) is not None:
        raise UserError(f"{left} still holds '${{' after interpolations are resolved: write out its value.")
    return {str(key): value for key, value in node.items()}


def _check_supplied(target: str, signature: Signature, supplied: Collection[str], path: str) -> None:
    """Raise UserError if a class of the user's own does not take an argument that training gives it."""
    accepts_all = any(each.kind is each.VAR_KEYWORD for each in signature.parameters.values())
    missing = [name for name in supplied if name not in signature.parameters]
    if WIDTHS in supplied:  # a loss takes one of the two, or both
        missing = [WIDTHS] if len(missing) == 2 else []
        supplied = [WIDTHS]
    if missing and not accepts_all and not inside(target, PACKAGES):
        raise UserError(
            f"{path}: the constructor of {target.rpartition('.')[2]} does not take {' and '.join(missing)}, which"
            f" training gives it. Write def __init__(self, *, {', '.join(supplied)})."
        )


def _check_options(
    target: str,
    parameters: Sequence[Parameter],
    options: Mapping[str, Any],
    prefix: str,
    supplied: Collection[str],
    *,
    partial: bool,
) -> None:
    title = target.rpartition(".")[2]
    named = {each.name: each for each in parameters if each.kind is not each.VAR_KEYWORD}
    for name, value in options.items():
        if name not in named and (name in supplied or len(named) == len(parameters)):  # equal: there is no **options
            raise unknown_option(f"{prefix}{name}", named, _shown(value), title=title)
        _require_set(f"{prefix}{name}", value)
        if name in named and not fits(value, named[name].annotation):
            option, value, hint = misfit(f"{prefix}{name}", value, named[name].annotation)
            raise UserError(f"{option}={value}: {describe(hint, value)}{value_in_our_words(option, value)}")
    for name, parameter in named.items():
        if parameter.default is parameter.empty and name not in options and not partial:
            raise UserError(f"{prefix}{name} is not set: give {prefix}{name}=VALUE (for {title}).")


def _shown(value: Any) -> str | None:
    """Return a value as it would be typed; None for what is not typed in one word."""
    return None if value is None or isinstance(value, Mapping | list | tuple) else str(value)


def _require_set(key: str, value: Any) -> None:
    if value == "???":
        raise UserError(f"{key} is not set: give {key}=VALUE.")


def _nested(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield path and node of the outermost nodes with a ``_target_`` inside a value."""
    if isinstance(value, Mapping) and "_target_" in value:
        yield path, value
    elif isinstance(value, Mapping | list | tuple):
        for key, child in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _nested(child, f"{path}.{key}")
