"""The name and the tags of a run on a dashboard."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig

from mcl.config.grouping import option, short_options
from mcl.runs.identity import choice_name, dataset_name, identity, run_folder
from mcl.runs.pair import networks_of


def run_name(
    config: DictConfig, choices: Mapping[str, Any], overrides: Sequence[str], varied: Collection[str] = ()
) -> str:
    """Return what tells a run from the others.

    Args:
        config: of the run.
        choices: group -> choice.
        overrides: as typed.
        varied: the options that differ between the runs of its study or multirun.

    Returns:
        The values of these: ``loss=mcl seed=0``. Of a run alone, ``digits/resnet8/lmcl seed=0`` and the other overrides
        that can change the result.
    """
    short = short_options(varied)
    values = {option(each): each.partition("=")[2] for each in overrides if option(each) in short}
    if values:
        return " ".join(f"{short[each]}={value}" for each, value in values.items())
    settings = identity(config)
    others = [each for each in overrides if option(each) != "seed" and option(each) in settings]
    return " ".join([run_folder(config, choices).rpartition("/")[0], f"seed={config.seed}", *others])


def run_tags(config: DictConfig, choices: Mapping[str, Any]) -> Iterator[str]:
    """Yield the choices of the groups that distinguish runs; for a folder of images its name."""
    yield dataset_name(config, choices)
    yield choice_name(choices.get("loss"), config.loss)
    yield from dict.fromkeys(
        choice_name(choices.get(f"network@pair.{key}"), node) for key, node in networks_of(config.pair).items()
    )
    for group in ("experiment", "recipe", "speed", "debug"):
        if choices.get(group):
            yield str(choices[group])
