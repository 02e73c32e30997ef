"""The ranges of a command line as distributions, and trials as overrides."""

import pytest

pytest.importorskip("optuna")

from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from mcl.errors import UserError
from mcl.search.space import overrides, parse_space


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("interval(0.01,1)", FloatDistribution(0.01, 1.0)),
        ("tag(log,interval(0.01,1))", FloatDistribution(0.01, 1.0, log=True)),
        ("interval(1,8)", FloatDistribution(1.0, 8.0)),
        ("int(interval(1,8))", IntDistribution(1, 8)),
        ("tag(log,int(interval(1,64)))", IntDistribution(1, 64, log=True)),
        ("range(1,9,2)", IntDistribution(1, 9, step=2)),
        ("range(0.0,1.0,0.25)", FloatDistribution(0.0, 1.0, step=0.25)),
        ("64,128", CategoricalDistribution((64, 128))),
        ("choice([1,2],x)", CategoricalDistribution(("[1,2]", "x"))),
    ],
)
def test_ranges_are_distributions(values: str, expected: object) -> None:
    assert parse_space([f"an.option={values}"], {}).distributions == {"an.option": expected}


def test_typed_values_replace_those_of_the_parameters() -> None:
    space = parse_space(["a=1", "+b=2", "c=interval(0.5,1.0)"], {"a": "interval(0.0,1.0)", "d": "3,4"})
    assert list(space.distributions) == ["d", "c"]
    assert space.fixed == ["a=1", "+b=2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a=1"], "varies nothing"),
        (["a=interval(2,1)"], r"a=interval\(2,1\)"),
        (["a=tag(log,interval(0.0,1.0))"], "log"),
        (["a=glob(*)"], "takes choices"),
        (["a=tag(log,range(16,256,16))"], r"range\(16,256,16\)\): only an interval has a logarithmic scale"),
        (["a=tag(log,choice(1,10,100))"], "only an interval has a logarithmic scale"),
    ],
)
def test_wrong_range_is_one_sentence(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_space(arguments, {})


def test_overrides_give_back_the_values_with_all_their_digits() -> None:
    values = {"a": 0.1 + 0.2, "b": 1e-7, "c": 3, "d": "[1,2]", "e": None, "f": True}
    parsed = OverridesParser.create().parse_overrides(overrides(values))
    assert {each.key_or_group: each.value() for each in parsed} == {**values, "d": [1, 2]}


def test_grid_has_every_step_of_a_range() -> None:
    space = parse_space(["a=range(1,7,3)", "b=x,y", "c=range(0.0,1.0,0.5)"], {})
    assert space.grid() == {"a": [1, 4, 7], "b": ["x", "y"], "c": [0.0, 0.5, 1.0]}


def test_example_lies_in_the_ranges() -> None:
    space = parse_space(["a=tag(log,interval(0.01,1))", "b=x,y", "c=range(1,9,4)"], {})
    assert space.example() == {"a": pytest.approx(0.1), "b": "x", "c": 5}
