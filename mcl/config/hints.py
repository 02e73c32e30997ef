"""Say in one sentence what to type instead of a wrong name or value. Imports no torch."""

import re
import shlex
import typing
from collections.abc import Collection, Iterable, Mapping
from enum import Enum
from typing import Any

from mcl.config.catalog import choices, find_choices, find_options, options, sweep_options, takers, targets
from mcl.config.schema import TrainConfig
from mcl.config.signatures import read_signature
from mcl.config.targets import PACKAGES, inside
from mcl.errors import UserError, nearest, unknown
from mcl.networks.library_names import LIBRARIES, TARGET, libraries_with
from mcl.program import program
from mcl.runs.pair import PAIR_OPTIONS, TYPED_OPTIONS

NETWORKS = ("first", "second")
LIBRARY_BACKBONE = TARGET.rpartition(".")[2]
PRESETS = ("experiment", "recipe", "speed", "debug")  # groups whose files set options of others


def write(key: str, value: str | None = None) -> str:
    """Return what to type at a shell to give an option a value: ``optimizer.lr=0.1``, ``'seeds=[0,1]'``."""
    text = f"{key}=VALUE" if value is None or value == "" else f"{key}={value}"
    return text if value is None else shlex.quote(text) if set(text) & set(" '\"()[]{}|&;<>*?!$`\\#~") else text


def suggest(name: str, value: str | None, *, own: Collection[str] = (), similar: bool = True) -> list[str]:
    """Return what may have been meant by ``name=value``, ready to type; empty if nothing is near.

    Args:
        name: an option as typed, which does not exist.
        value: as typed; None if there is none.
        own: further options of the command.
        similar: also consider names that only resemble it.
    """
    if near := nearest(name, own)[:1] if similar else [each for each in own if each == name]:
        return [write(near[0], value)]
    suggestions = []
    for key in find_options(name, similar=similar):
        group = "network" if key.startswith("network@") else key
        if key == "tracking" and value is not None and value.lower() in ("true", "false"):
            suggestions.append("tracking=wandb" if value.lower() == "true" else "tracking=none")
        elif group == "network" and key == "network" and "network" in name:
            suggestions += [write(f"network@pair.{each}", value) for each in NETWORKS]
        elif group in choices():
            typed = value or "NAME"
            near_choices = [each for each in find_choices(typed) if each.startswith((f"{key}=", f"{group}@"))]
            suggestions += near_choices[:1] or [write(key, value or "NAME")]
        else:
            suggestions.append(write(key, _value_for(key, value)))
    return list(dict.fromkeys(suggestions))


def value_in_our_words(key: str, value: Any) -> str:
    """Return ``" Write trainer.device=cuda:0."`` for the number of a GPU; empty if nothing of the kind was meant."""
    meant = _value_for(key, str(value)) if key == "trainer.device" else str(value)
    return "" if meant == str(value) else f" Write {write(key, meant)}."


def type_of(key: str) -> Any:
    """Return the type hint of an option, read from source; Any if it is not known or differs between classes."""
    if key in TrainConfig.__dataclass_fields__:
        hint = typing.get_type_hints(TrainConfig)[key]
        if isinstance(hint, type) and issubclass(hint, Enum):
            return typing.Literal[tuple(hint.__members__)]
        return hint if hint in (int, str) else Any
    hints = []
    for target in targets(key):
        signature = read_signature(target) if target is not None and inside(target, PACKAGES) else None
        parameter = signature.parameters.get(key.rpartition(".")[2]) if signature is not None else None
        hints.append(Any if parameter is None else parameter.annotation)
    return hints[0] if hints and all(hint == hints[0] for hint in hints) else Any


def _value_for(key: str, value: str | None) -> str | None:
    """Return a value in our words: ``--gpu 0`` is ``trainer.device=cuda:0``, ``amp=true`` is bfloat16."""
    if key == "trainer.device" and value is not None and value.isdigit():
        return f"cuda:{value}"
    if key == "trainer.precision" and value is not None:
        words = {"false": "float32", "fp32": "float32", "32": "float32", "fp16": "float16", "half": "float16"}
        words |= {name: name for name in ("float32", "float16", "tf32")}
        return words.get(value.lower(), "bfloat16")
    return value


def unknown_option(
    key: str,
    siblings: Iterable[str],
    value: str | None = None,
    *,
    node: Mapping[str, Any] | None = None,
    title: str = "",
    own: Collection[str] = (),
) -> UserError:
    """Make the error for an option that does not exist, with what to type instead.

    Args:
        key: full name, as typed.
        siblings: the options that exist where this one was looked for.
        value: as typed.
        node: where it was looked for.
        title: the class that would be built from the node.
        own: the options of ``sweep.py``, if it is the command.
    """
    known = [str(each) for each in siblings]
    kind = f"option of {title}" if title else "option"
    if key in PRESETS:
        return no_package(key)
    problem = f"{key}: there is no such {kind}."
    front, _, last = key.rpartition(".")
    target = str((node or {}).get("_target_", ""))
    if title == LIBRARY_BACKBONE and not nearest(last, known):
        typed = write(f"{front}.options.{last}", value)
        return UserError(f"{problem} If the library's own function has this argument, write {typed}.")
    owners = options().get(key)
    of_hydra = owners and key.startswith("hydra.")
    if target and not title and not of_hydra and not nearest(last, known):  # the class may have what no file lists
        signature = read_signature(target) if inside(target, PACKAGES) else None
        if (signature is not None and last in signature.parameters) or not inside(target, PACKAGES):
            return UserError(
                f"{key} is not set in a file, so its first mention takes a plus: {write(f'+{key}', value)}, if"
                f" {target.rpartition('.')[2]} has this option."
            )
    if owners:
        return UserError(f"{problem} It belongs to {_list(owners)}, which is not chosen here.")
    if last == "seeds" and not own:
        return UserError(f"{problem} Write seed=0 for one run, or -m seed=0,1,2 for several.")
    if key in sweep_options() and not own:
        return UserError(f"{problem} It belongs to sweep.py: {program('sweep')} study=NAME {write(key, value)}.")
    for similar in (False, True):
        near = nearest(last, [*TYPED_OPTIONS, *known]) if similar and re.fullmatch(r"pair\.[\w-]+", front) else []
        if near and near[0] in TYPED_OPTIONS and near[0] != last:
            return UserError(f"{problem} Write {write(f'{front}.{near[0]}', value)}.")
        if (similar or key.startswith("hydra.")) and nearest(last, known):
            break
        found = [each for each in suggest(key, value, own=own, similar=similar) if each.partition("=")[0] != key]
        if similar and front:
            found = [each for each in found if each.partition("=")[0].rpartition(".")[0] != front]
        if found:
            return UserError(f"{problem} Write {' or '.join(found)}.")
    return unknown(kind, key, known)


def unknown_choice(group: str, name: str, known: Iterable[str]) -> UserError:
    """Make the error for ``group=name`` if there is no such file, with the nearest that exists in any group."""
    names = [str(each) for each in known]
    plain_group = group.partition("@")[0]
    every = sorted({*names, *choices().get(plain_group, ())})
    if plain_group in ("network", "pair") and not find_choices(name) and (libraries := libraries_with(name)):
        typed = " or ".join(f"network@pair.first={each}" for each in libraries)
        return UserError(f"{group}={name}: there is no such choice. Did you mean {typed}?")
    if plain_group == "network":
        every += [f"{library}/NAME" for library in LIBRARIES]
    near = nearest(name, every)
    if not near:
        wanted = ("pair", "network") if plain_group in ("pair", "network") else (plain_group,)
        elsewhere = [each for each in find_choices(name) if each.partition("=")[0].partition("@")[0] not in wanted]
        elsewhere += [each for each in find_choices(name) if plain_group == "pair" and each.startswith("network@")]
        if elsewhere:
            return UserError(
                f"{group}={name}: there is no such choice. Did you mean {elsewhere[0]}? Known: {', '.join(every)}."
            )
    return unknown("choice", f"{group}={name}", every)


def not_in_defaults(key: str, value: str) -> UserError:
    """Make the error for a group that the other choices do not have, such as ``loss/contrast`` of another loss."""
    group, _, package = key.partition("@")
    if group == "network":
        return _network(key, package.removeprefix("pair."), value)
    if package.partition(".")[0] in PRESETS:
        return no_package(package.partition(".")[0])
    if package:
        return UserError(
            f"{key}={value}: only networks take an @, as in network@pair.first=resnet8. Write {group}={value}."
        )
    if "/" in group and (fitting := takers(group)):
        return UserError(
            f"{key}={value}: only {_list(fitting)} {'have' if len(fitting) > 1 else 'has'} a choice of {group}."
        )
    return unknown("group", key, choices())


def no_package(preset: str) -> UserError:
    """Make the error for a file of a preset whose options Hydra places below ``experiment`` and the like."""
    return UserError(
        f"{preset}=NAME: the first line of its file, without a byte order mark, must be '# @package _global_', because"
        " it sets options of the whole run."
    )


def _network(key: str, name: str, value: str) -> UserError:
    if not name:
        either = " or ".join(f"network@pair.{each}={value}" for each in NETWORKS)
        return UserError(f"{key}={value}: name the network to replace: {either}.")
    if near := nearest(name, NETWORKS):
        return UserError(f"{key}={value}: write network@pair.{near[0]}={value}.")
    return UserError(
        f"{key}={value}: this pair has no network {name!r} to replace. To add one: +network@pair.{name}={value}."
    )


def misplaced_choice(key: str, value: str) -> UserError | None:
    """Return the error for a choice that was typed as an option (``pair.first=resnet20``), or None."""
    front, _, last = key.rpartition(".")
    group = key.replace(".", "/")
    if front in ("pair", "network") and last in TYPED_OPTIONS:
        return UserError(f"{key}={value}: each network has this option. Write {write(f'pair.first.{last}', value)}.")
    if front in ("pair", "network") and last not in PAIR_OPTIONS:
        near = nearest(value, choices()["network"])[:1]
        return UserError(
            f"{key}={value}: a network is chosen with {write(f'network@pair.{last}', near[0] if near else value)}."
        )
    if "." in key and group in choices():
        known = choices()[group]
        near = nearest(value, known)[:1]
        return UserError(
            f"{key}={value}: a choice is typed with a slash: {write(group, near[0] if near else value)}."
            f" Known: {', '.join(known)}."
        )
    if "/" in key and key not in choices() and (dotted := key.replace("/", ".")) in options():
        return UserError(f"{key}={value}: an option is typed with a dot: {write(dotted, value)}.")
    return None


def _list(names: Iterable[str]) -> str:
    *front, last = list(dict.fromkeys(names))
    return f"{', '.join(front)} and {last}" if front else last
