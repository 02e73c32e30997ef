"""Explain errors in one sentence: those of the user, and those that Hydra and OmegaConf raise for wrong settings."""

import os
import re
import shlex
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import (
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)

from mcl import extras
from mcl.config.catalog import choices, preset_options
from mcl.config.conf_folder import conf_folder
from mcl.config.hints import misplaced_choice, not_in_defaults, unknown_choice, unknown_option, write
from mcl.config.official_names import in_our_words
from mcl.errors import UserError, causes, did_you_mean, is_out_of_memory, locate, raised_below
from mcl.program import ROOT

REPORTED_BY_A_JOB = re.compile(  # only the text of an error comes back from jobs of Slurm and Ray
    "UserError raised while resolving interpolation: (.*)"
)
_NOT_LOADED = re.compile(r"Could not load '([\w/]+)'")
_NOT_OVERRIDDEN = re.compile(r"Could not override '([^']+)'\.\s+(?:Did you mean to override|No match in the defaults)")
_TWICE = re.compile(r"(\S+?)(?: appears more than once in the final defaults|\. To override a value use)")
_ENUM = re.compile(r"Invalid value '(.*)', expected one of \[(.*)\]")
_TYPE = re.compile(r"Value '(.*)' of type '\w+' could not be converted to (Integer|Float|Boolean)")
_BOOLEAN = re.compile(r"Value '(.*)' is not a valid bool\b")
_WORDS = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}
_BELONGS_ELSEWHERE = re.compile(r"((\w+)[\w.]*): there is no such option of \w+\. It belongs to ")
_MERGED = re.compile(r"Error merging override ([^=]+)=(.*)")
_NO_CONFIG = re.compile(r"Cannot find primary config '([^']+)'")


def explain(error: BaseException, typed: Sequence[str] = ()) -> str | None:
    """Return the message for the user, or None if the error is a bug and deserves a traceback.

    Args:
        error: as raised.
        typed: the overrides of the command line, whose values the message repeats.
    """
    chain = causes(error)
    for cause in chain:
        if isinstance(cause, UserError):
            return _explain_preset(str(cause), typed)
        if str(cause).startswith("operator torchvision::"):
            return f"{cause}: torchvision does not fit torch. Install both again, from one index."
        if reported := REPORTED_BY_A_JOB.search(str(cause)):
            return _explain_preset(reported[1], typed)
    for cause in chain:
        if isinstance(cause, MissingConfigException) and cause.missing_cfg_file:
            if plugin := extras.missing_plugin(str(cause.missing_cfg_file), typed):
                return plugin
            if cause.options:
                return _explain_choice(str(cause.missing_cfg_file), cause.options)
        if isinstance(cause, OverrideParseException):
            return f"{cause.override}: not an override of the form option=value. {_one_line(cause)}"
        if isinstance(cause, MissingMandatoryValue):
            key = cause.full_key or cause.key
            return f"{key} is not set: give {key}=VALUE."
        if isinstance(cause, yaml.MarkedYAMLError) and cause.problem_mark is not None:
            return f"{cause.problem_mark.name}, line {cause.problem_mark.line + 1}: not valid YAML: {cause.problem}."
        if isinstance(cause, UnicodeDecodeError) and (file := _file_read_by_hydra(cause)):
            return f"{file}: not UTF-8 from byte {cause.start} on: save it as UTF-8."
        if message := _explain_composition(str(cause), typed):
            return message
    for cause in reversed(chain):
        if isinstance(cause, OmegaConfBaseException) and cause.key is not None:
            return _explain_key(cause, chain, typed)
    if any(isinstance(cause, HydraException | OmegaConfBaseException) for cause in chain):
        return _one_line(error)
    if isinstance(error, ValueError | TypeError) and (message := _explain_no_name(typed)):
        return message
    if isinstance(error, RuntimeError) and str(error).startswith('Could not detect "srun"'):
        return "hydra/launcher=slurm: srun is not on PATH. Use a login node, or hydra/launcher=gpus."
    if type(error).__module__.startswith(("submitit.", "ray.")):  # a job was lost; the text says how
        return str(error)
    if is_out_of_memory(error):
        return (
            f"{_first_sentence(error)} Use a smaller trainer.batch_size or, in a multirun, fewer jobs on a device at a"
            " time (hydra.launcher.per_gpu). (HYDRA_FULL_ERROR=1 shows where this was raised.)"
        )
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}. (HYDRA_FULL_ERROR=1 shows where this was raised.)"
    return None


@contextmanager
def one_line_for_own_modules(*, unless: bool = False) -> Iterator[None]:
    """Turn an error that a line of the user's own module raised into UserError, which names file and line.

    Args:
        unless: leave the traceback.
    """
    folder = os.getcwd()
    try:
        yield
    except Exception as error:
        if unless or isinstance(error, UserError) or not _is_in_own_module(error, folder):
            raise
        raise UserError(f"{locate(error)}. (HYDRA_FULL_ERROR=1 shows the traceback.)") from error


def _is_in_own_module(error: BaseException, folder: str) -> bool:
    """Return whether a module below the working folder raised an error, not a library or this project."""
    own = ("mcl", "hydra_plugins", "packages", "tests")
    others = [*(str(ROOT / name) for name in own), sys.prefix, sys.base_prefix]
    return raised_below(error, folder) and not any(raised_below(error, other) for other in others)


def _file_read_by_hydra(error: BaseException) -> str | None:
    """Return the file that Hydra was reading, which some of its errors do not name."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return next((frame.f_locals["full_path"] for frame in frames if "full_path" in frame.f_locals), None)


def _explain_preset(message: str, typed: Sequence[str]) -> str:
    """Add to the message about an option of another choice which preset sets the option, and what to type."""
    if found := _BELONGS_ELSEWHERE.match(message):
        key, group = found.groups()
        for preset in ("recipe", "experiment"):
            if (name := typed_value(preset, typed)) and key in preset_options(preset, name):
                removed = shlex.quote(f"~{key}")
                return f"{preset}={name} sets {message} Choose another {group}=, or remove the option with {removed}."
    return message


def _explain_choice(missing: str, names: Sequence[str]) -> str:
    group, _, name = missing.rpartition("/")
    while group and not (conf_folder() / group).is_dir():  # names such as imagenet/resnet18
        group, _, folder = group.rpartition("/")
        name = f"{folder}/{name}"
    if group in ("pair", "network") and (answer := in_our_words(name, group)):
        return f"{group}={name}: {answer}"
    if not name:
        return f"{group}= names no choice: give {group}=NAME, one of {', '.join(sorted(names))}."
    return str(unknown_choice(group, name, sorted(names)))


def _explain_composition(text: str, typed: Sequence[str]) -> str | None:
    if found := _NOT_OVERRIDDEN.search(text):
        value, recipe = (typed_value(key, typed) for key in (found[1], "recipe"))
        asked = f"recipe={recipe} chooses {found[1]}. " if recipe and not value else ""
        return f"{asked}{not_in_defaults(found[1], value or 'NAME')}"
    if found := _TWICE.search(text):
        return f"{found[1]} is chosen already. Write {found[1]}={typed_value(found[1], typed) or 'NAME'}, without +."
    if found := _NOT_LOADED.search(text):  # one name of a list, such as tracking=[wandb,mine]
        group, _, name = found[1].rpartition("/")
        return str(unknown_choice(group, name, choices().get(group, ())))
    if found := _NO_CONFIG.search(text):
        return (
            f"--config-name {found[1]}: there is no {found[1]}.yaml in {conf_folder()} or the folder of --config-dir."
        )
    if (found := _MERGED.match(text)) and found[2].startswith("["):
        return f"{found[1]}={found[2]}: expected a mapping, not a list. Give {found[1]}.NAME=VALUE for what changes."
    if text.startswith("Could not delete from config. '"):
        key = text.split("'")[1]
        return f"~{key}: there is no option {key} to remove."
    return None


def _explain_key(cause: OmegaConfBaseException, chain: list[BaseException], typed: Sequence[str]) -> str:
    full_key = str(cause.full_key or cause.key)
    value = typed_value(full_key, typed)
    parent = cause.parent_node
    siblings = [str(key) for key in parent] if isinstance(parent, DictConfig) and not parent._is_none() else []
    exists = isinstance(cause, InterpolationResolutionError)  # the option does; what its value refers to does not
    if isinstance(parent, DictConfig) and not parent._is_none() and str(cause.key) not in siblings and not exists:
        group = full_key.partition(".")[0]
        if "/" in full_key:
            return str(misplaced_choice(full_key, value or "VALUE") or not_in_defaults(full_key, value or "NAME"))
        if group == "network" and (misplaced := misplaced_choice(_typed_key(group, typed), value or "NAME")):
            return str(misplaced)
        node: Mapping[Any, Any] | None = parent if "_target_" in siblings else None
        if target := typed_value(f"{full_key.rpartition('.')[0]}._target_", typed):  # perhaps typed behind this option
            node = {"_target_": target}
        shown = [key for key in siblings if key != "hydra" and not key.startswith("_")]
        return str(unknown_option(_typed_key(full_key, typed), shown, value, node=node))
    if isinstance(cause, ValidationError) and "ListConfig" in str(cause.msg):
        if full_key == "seeds" and value and not value.isdigit():
            return f"seeds={value}: expected a list of whole numbers, such as {write('seeds', '[0,1,2]')}."
        example = f"[{value}]" if value else "[...]"
        return f"{full_key}={value}: expected a list. Write {write(full_key, example)}."
    if isinstance(cause, ValidationError) and (found := _ENUM.search(str(cause.msg))):
        return (
            f"{full_key}={value or found[1]}: expected one of {found[2]}.{did_you_mean(found[1], found[2].split(', '))}"
        )
    if isinstance(cause, ValidationError) and (found := _TYPE.search(str(cause.msg))):
        return f"{full_key}={value or found[1]}: expected {_WORDS[found[2]]}."
    if isinstance(cause, ValidationError) and (found := _BOOLEAN.search(str(cause.msg))):
        return f"{full_key}={value or found[1]}: expected true or false."
    composition = [c for c in chain if isinstance(c, ConfigCompositionException)]
    return _one_line(f"{full_key}: {str(cause.msg or composition or cause).partition('full_key:')[0]}")


def _explain_no_name(typed: Sequence[str]) -> str | None:
    """Explain a group that was given a value, or a list of values, that cannot be the name of a file."""
    for text in typed:
        key, _, value = text.lstrip("+").partition("=")
        group = key.partition("@")[0]  # network@pair.first
        given = OverridesParser.create().parse_override(text).value() if group in choices() else ""
        names = given if isinstance(given, list) else [given]
        if any(each is None or isinstance(each, int | float) for each in names):
            return f"{text}: {value} is not a choice of {group}: give {key}=NAME, one of {', '.join(choices()[group])}."
    return None


def typed_value(key: str, typed: Sequence[str]) -> str | None:
    """Return the value that was typed for an option, or for one inside it; None if it was not typed."""
    for text in typed:
        name, equals, value = text.lstrip("+~").partition("=")
        if equals and (name == key or name.startswith(f"{key}.")):
            return value
    return None


def _typed_key(key: str, typed: Sequence[str]) -> str:
    names = [text.lstrip("+~").partition("=")[0] for text in typed]
    return next((name for name in names if name == key or name.startswith(f"{key}.")), key)


def _first_sentence(error: BaseException) -> str:
    """Return ``CUDA out of memory.``: torch adds advice about its allocator in further sentences."""
    return (_one_line(error).partition(". ")[0] or "The machine is out of memory").removesuffix(".") + "."


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
