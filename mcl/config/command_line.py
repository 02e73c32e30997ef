"""Read a command line before Hydra does: mistakes of form become one sentence that says what to type."""

import argparse
import itertools
import os
import re
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from mcl.config.catalog import choices, find_choices, find_options, options, sweep_options
from mcl.config.hints import misplaced_choice, suggest, type_of, write
from mcl.config.type_hints import describe, fits
from mcl.errors import UserError, did_you_mean
from mcl.program import ROOT, program
from mcl.runs.identity import LEFT_OUT

_WITH_VALUE = {"--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"}
_WITH_VALUE |= {"--experimental-rerun"}
_PERHAPS_WITH_VALUE = {"--info", "-i"}
_ALONE = {"--help", "-h", "--hydra-help", "--version", "--resolve", "--run", "-r", "--multirun", "-m"}
_ALONE |= {"--shell-completion", "-sc"}
_SHOW_CONFIG = {"--cfg", "-c", "--info", "-i"}
_ONLY_SHOW = {"--help", "-h", "--hydra-help", "--version", "--shell-completion", "-sc"} | _SHOW_CONFIG
_OF_SHOWN_CONFIG = {"--resolve", "--package", "-p"}
CONFIG_PATH = ("--config-path", "-cp")
MULTIRUN = {"--multirun", "-m"}
_LAUNCHER = ("hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper")
_LISTS = ("allow_modules", "seeds", "formats")
_LISTS_OF_CHOICES = ("tracking",)
_TEXTS = (  # may hold blanks
    *("dataset.root", "dataset.name", "dataset.cache_dir", "runs", "init_from", "out"),
    *("tracking.wandb.project", "tracking.wandb.entity", "tracking.mlflow.experiment"),
)
_NAME = re.compile(r"[+~]{0,2}[\w./@$-]+")


def arrange(words: Sequence[str]) -> list[str]:
    """Check a command line of ``train.py`` and return it with its flags first, where Hydra reads them.

    Args:
        words: as typed after the name of the program.

    Raises:
        UserError: there is a mistake.
    """
    flags, overrides = split(words)
    _check_flags(flags)
    flags = _with_config_path(flags)
    names = {flag.partition("=")[0] for flag in flags}
    if (unused := names & _OF_SHOWN_CONFIG) and not names & _ONLY_SHOW:
        raise UserError(f"{unused.pop()}: only says how to show the configuration: add --cfg job, or leave it out.")
    if names & (_ONLY_SHOW - _SHOW_CONFIG):
        return [*flags, *overrides]
    parsed = parse(overrides)
    if names & _SHOW_CONFIG:
        return [*flags, *overrides]
    multirun = bool(names & MULTIRUN) or any(each.key_or_group == "hydra.mode" for each in parsed)
    own_files = any(name.startswith(("--config", "-c")) or name == "--experimental-rerun" for name in names)
    for text, override in zip(overrides, parsed, strict=True):
        key = override.key_or_group
        if not multirun and override.is_sweep_override():
            raise UserError(_several_values(text))
        if not multirun and not own_files and key.startswith(_LAUNCHER):
            raise UserError(f"{text}: only a multirun has a launcher and a sweeper: add -m, or leave {key} out.")
        check_place(text, override)
    return [*flags, *overrides]


def parse(overrides: Sequence[str], *, own: Collection[str] = ()) -> list[Override]:
    """Parse overrides.

    Args:
        overrides: as typed.
        own: further options of the command.

    Raises:
        UserError: one is not of the form ``option=value``.
    """
    parser = OverridesParser.create()
    parsed = []
    for i, text in enumerate(overrides):
        try:
            parsed += parser.parse_overrides([text])
        except HydraException:  # noqa: PERF203 - each error names its word
            raise UserError(_explain_form(overrides, i, own)) from None
    return parsed


def check_place(text: str, override: Override) -> None:
    """Raise UserError if a choice was typed as an option, or an option as a choice."""
    if override.package is None and isinstance(override.value(), str) and not text.startswith("~"):
        error = misplaced_choice(override.key_or_group, str(override.value()))
        if error is not None:
            raise error


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the flags of a command line, with their values, and its overrides.

    Raises:
        UserError: there is no such flag.
    """
    flags: list[str] = []
    overrides: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if not word.startswith("-") or word == "-":
            overrides.append(word)
            continue
        name, equals, value = word.partition("=")
        if name in _ALONE | _WITH_VALUE | _PERHAPS_WITH_VALUE:
            flags.append(word)
            optional = name in _PERHAPS_WITH_VALUE and waiting[:1] and "=" not in waiting[0]
            if not equals and waiting and (name in _WITH_VALUE or optional):
                flags.append(waiting.pop(0))
            continue
        following = waiting[0] if waiting and not waiting[0].startswith("-") and "=" not in waiting[0] else None
        raise UserError(_explain_flag(word, value if equals else following, typed_apart=not equals and bool(following)))
    return flags, overrides


def _with_config_path(flags: Sequence[str]) -> list[str]:
    """Return flags with an absolute ``--config-path``: Hydra would look for a relative one in the Python package."""
    absolute = []
    for i, flag in enumerate(flags):
        name, equals, value = flag.partition("=")
        value = value if equals else flag if i and flags[i - 1] in CONFIG_PATH else ""
        folder = next((place for root in (Path.cwd(), ROOT) if (place := root / value).is_dir()), None)
        if value and folder is not None and (name in CONFIG_PATH or not equals):
            flag = f"{name}={folder}" if equals else str(folder)
        absolute.append(flag)
    return absolute


def _check_flags(flags: Sequence[str]) -> None:
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message}; --help explains.")

    parser.error = refuse  # type: ignore[method-assign]
    for action in parser._actions:  # the same words as Hydra's, without its usage lines
        action.help = argparse.SUPPRESS
    parser.parse_args(list(flags))


def _explain_flag(word: str, value: str | None, *, typed_apart: bool, own: Collection[str] = ()) -> str:
    name = word.lstrip("-").partition("=")[0]
    typed = f"{word} {value}" if typed_apart else word
    key = name.replace("-", "_")
    if own and key in ("m", "multirun", "multi_run"):
        return f"{word}: a study is always several runs. Leave {word} out."
    if key == "m" or key in ("multi_run", "sweep"):
        return f"{typed}: there is no such flag. Write -m for a multirun."
    if key in sweep_options() and key != "seeds" and not own:
        return f"{typed}: options have no dashes, and {key} is one of sweep.py: {write(key, value)}."
    if key in ("wandb", "no_wandb"):
        off = key == "no_wandb" or (value or "").lower() in ("false", "0", "no", "disabled")
        return f"{typed}: options have no dashes. Write {'tracking=none' if off else 'tracking=wandb'}."
    if value is None and key in ("amp", "fp16", "bf16", "half", "plan", "plan_only"):
        value = "true"  # flags elsewhere
    known = name if name in options() or name in choices() else None
    suggestions = [write(known, value)] if known else suggest(key, value, own=own)
    if suggestions:
        return f"{typed}: options have no dashes. Write {' or '.join(suggestions)}."
    flags = [flag for flag in _ALONE | _WITH_VALUE | _PERHAPS_WITH_VALUE if flag.startswith("--")]
    return (
        f"{typed}: there is no such flag.{did_you_mean('--' + name, flags)} Options are typed as option=value; --help."
    )


def _explain_form(words: Sequence[str], i: int, own: Collection[str]) -> str:
    """Say what is wrong with the form of word ``i``, which does not parse."""
    text = words[i]
    for end in range(i + 2, min(i + 6, len(words)) + 1):  # a value with blanks that the shell took apart
        joined = " ".join(words[i:end])
        if "=" in text and _parses(joined):
            return f"{text}: the shell took this apart at a blank. Quote it as one: {shlex.quote(joined)}."
    key, equals, value = text.partition("=")
    if text.startswith("-"):
        following = words[i + 1] if i + 1 < len(words) and "=" not in words[i + 1] else None
        return _explain_flag(text, value or following, typed_apart=not value and following is not None, own=own)
    if not equals or text == "=":
        return _explain_bare(words, i, own)
    if key != key.strip() or (value != value.strip() and _parses(f"{key.strip()}={value.strip()}")):
        return f"{text}: leave out the blanks around =: {write(key.strip(), value.strip())}."
    if not key:
        return f"{text}: there is no name before =. Write option=value."
    if not _NAME.fullmatch(key):
        return f"{text}: {key!r} cannot be the name of an option. Write option=value, such as trainer.epochs=10."
    if value[:1] in "[{(" and value.count(value[0]) != value.count({"[": "]", "{": "}", "(": ")"}[value[0]]):
        return f"{text}: a bracket is missing. A list is written {shlex.quote(f'{key}=[1,2]')}, in quotes."
    if value.startswith("{") and ":" in value:
        return f"{text}: not a mapping. Write {shlex.quote(f'{key}={{name: value}}')}, with a blank after the colon."
    if (home := os.path.expanduser(value)) != value and (path := _in_quotes(key, home)):
        return f"{text}: ~ is not expanded here. Write {write(key, home) if _parses(f'{key}={home}') else path}."
    if quoted := _in_quotes(key, value):
        return _explain_text(key, value) or (
            f"{text}: a value with special characters needs quotes of its own. Write {quoted}."
        )
    return (
        f"{text}: the value cannot be read. Check its quotes and brackets, and put the whole in quotes: 'option=value'."
    )


def _in_quotes(key: str, value: str) -> str | None:
    """Return an option whose value has quotes of its own, ready to type; None if it has some or cannot be read so."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    text = f'{key}="{escaped}"'
    return shlex.quote(text) if value and not value.startswith(("'", '"')) and _parses(text) else None


def _explain_text(key: str, value: str) -> str | None:
    """Explain a value that is no text in quotes either: it has a comma too many, or the option takes no text."""
    hint, front = type_of(key), value.rstrip(",")
    without = [each for each in (front, f"[{front}]") if front != value and _fits(key, each, hint)]
    instead = f" Write {write(key, without[0])}." if without else ""
    if not fits(value, hint):
        return f"{key}={value}: {describe(hint, value)}{instead}"
    return f"{key}={value}: there is a comma at the end.{instead}" if instead and hint is Any else None


def _fits(key: str, value: str, hint: Any) -> bool:
    """Return whether a value, as typed, can be read as one value, and is of a type."""
    if not _parses(f"{key}={value}"):
        return False
    (override,) = OverridesParser.create().parse_overrides([f"{key}={value}"])
    return not override.is_sweep_override() and fits(override.value(), hint)


def _explain_bare(words: Sequence[str], i: int, own: Collection[str]) -> str:
    """Explain a word without an equals sign."""
    word, before = words[i], words[i - 1] if i else ""
    after = words[i + 1] if i + 1 < len(words) else ""
    if word == "=" or after == "=" or after.startswith("="):
        first, last = (before, after) if word == "=" else (word, after.lstrip("=") or " ".join(words[i + 2 : i + 3]))
        return f"{first} = {last}: no blanks around =. Write {write(first, last)}."
    if before.endswith("=") and before != "=":
        return f"{before} {word}: no blank after =. Write {write(before[:-1], word)}."
    if word.lower() in ("help", "?"):
        return f"{word}: write --help."
    name, colon, value = word.partition(":")
    if colon and (name in options() or name in choices() or name in own):
        return f"{word}: an option takes =, not a colon. Write {write(name, value)}."
    if word in options() or word in choices() or word in own:
        return f"{word} has no value. Write {write(word)}."
    if found := find_choices(word):
        return f"{word}: not an override of the form option=value. Write {' or '.join(found[:3])}."
    from mcl.config.conf_folder import data_folder  # studies lie beside it

    if (data_folder() / "experiments" / word / "study.yaml").is_file():
        command = "" if "study" in own else f"{program('sweep')} "
        return f"{word}: a study is run with {command}study={word}."
    option = before.partition("=")[0]
    if "=" in before and ("/" in before or "/" in word or option in _TEXTS):
        rest = itertools.takewhile(lambda each: "=" not in each and not each.startswith("-"), words[i:])
        joined = " ".join([before, *rest])
        return f"{word}: if this belongs to {before}, quote them as one: {shlex.quote(joined)}."
    if found := find_options(word, similar=False):
        return f"{word} has no value. Write {' or '.join(write(each) for each in found)}."
    return f"{word}: not an override of the form option=value, such as trainer.epochs=10; --help lists them."


def _several_values(text: str) -> str:
    key, _, value = text.partition("=")
    as_list = f"[{value}]"
    if key in _LISTS or key.endswith((".depths", ".devices", ".stages", ".milestones", ".mean", ".std", ".betas")):
        return f"{text}: a list is written in brackets: {write(key, as_list)}."
    hint = type_of(key)
    if key in LEFT_OUT and key.startswith(("trainer.", "resume")):  # runs that differ in it alone are the same run
        return f"{text}: give one value." if hint in (str, Any) else f"{text}: give one value: {describe(hint, '')}"
    takes_list = key in _LISTS_OF_CHOICES if key in choices() else _fits(key, as_list, hint)
    advice = f" One list is written {write(key, as_list)}." if takes_list else ""
    return f"{text}: several values are several runs: add -m.{advice}"


def _parses(text: str) -> bool:
    try:
        OverridesParser.create().parse_overrides([text])
    except HydraException:
        return False
    return True
