"""Options of a pair: shared stages, frozen networks, the leader; and initial weights for each network."""

from collections.abc import Callable
from typing import Any

import pytest
from omegaconf import DictConfig, open_dict

from mcl.config.pair_options import check_pair
from mcl.errors import UserError
from mcl.runs.identity import changes, config_hash
from mcl.runs.pair import branch_kinds, frozen_keys, network_node, networks_of
from mcl.runs.renames import current_overrides

NETWORK = {"_target_": "mcl.networks.resnet.ResNet", "name": "resnet8"}
TWO = {"first": NETWORK, "second": NETWORK}
FROZEN = {"first": NETWORK, "second": {**NETWORK, "frozen": True}}


@pytest.mark.parametrize(
    ("pair", "init_from", "message"),
    [
        ({**TWO, "shared_stages": -1}, None, "pair.shared_stages=-1: expected a number of stages"),
        ({**TWO, "shared_stages": "two"}, None, "pair.shared_stages=two: expected a number of stages"),
        ({**TWO, "shared_stages": [1, 1.5]}, None, "or a list of the copies of each stage"),
        ({"first": NETWORK, "shared_stages": 1}, None, "pair.shared_stages=1: one network shares nothing"),
        ({**TWO, "leader": "thrid"}, None, "pair.leader=thrid"),
        ({"first": NETWORK, "second": {**NETWORK, "frozen": "yes"}}, None, "pair.second.frozen=yes: expected true or"),
        ({**TWO, "first": {**NETWORK, "branches": "byt"}}, None, "pair.first.branches=byt: there is no such kind of"),
        ({**TWO, "first": {**NETWORK, "branches": None}}, None, "Known: copy, light, byot, dks"),
        (FROZEN, None, "pair.second.frozen=true: it would stay at random weights"),
        (FROZEN, {"first": "run"}, "init_from={second: RUN_OR_FILE}"),
        ({**FROZEN, "shared_stages": 1}, "run", "a frozen network shares no stages"),
        ({"second": FROZEN["second"]}, "run", "all networks are frozen, so nothing is trained"),
        (TWO, {"third": "run"}, "init_from: third"),
        (TWO, ["run"], "init_from=['run']: expected a run folder or a file"),
    ],
)
def test_bad_combinations_name_their_option(pair: dict[str, Any], init_from: Any, message: str) -> None:
    with pytest.raises(UserError) as error:
        check_pair(pair, init_from)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("pair", "init_from"),
    [
        (TWO, None),
        ({**TWO, "shared_stages": [1, 1, 2], "leader": "second"}, None),
        (FROZEN, "run"),
        (FROZEN, {"second": "run"}),
        ({"first": NETWORK, "second": {**NETWORK, "frozen": True, "weights": "DEFAULT"}}, None),
        ({"first": {**NETWORK, "weights": "DEFAULT", "weights_strict": False}}, None),  # of a run that is read
    ],
)
def test_good_combinations_pass(pair: dict[str, Any], init_from: Any) -> None:
    check_pair(pair, init_from)


def test_options_of_the_pair_are_no_networks() -> None:
    pair = {**FROZEN, "shared_stages": 0, "leader": None}
    assert list(networks_of(pair)) == ["first", "second"]
    assert frozen_keys(pair) == ["second"]
    assert network_node(pair["second"]) == NETWORK


def test_frozen_is_typed_without_a_plus_and_without_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    assert current_overrides(["pair.second.frozen=true"], announce=True) == ["++pair.second.frozen=true"]
    assert current_overrides(["+pair.second.frozen=true", "pair.frozen=1"]) == [
        "+pair.second.frozen=true",
        "pair.frozen=1",
    ]
    assert capsys.readouterr().err == ""


def test_branches_are_an_option_of_every_network(composed: Callable[..., DictConfig]) -> None:
    typed = current_overrides(["pair.first.branches=byot"], announce=True)
    config = composed("trainer.device=cpu", *typed)
    assert branch_kinds(config.pair) == {"first": "byot"}
    assert "branches" not in network_node(config.pair.first)
    plain = composed("trainer.device=cpu")
    assert changes(plain, config) == ["pair.first.branches: copy -> byot"]
    copies = composed("trainer.device=cpu", *current_overrides(["pair.second.branches=copy"]))
    assert config_hash(copies) == config_hash(plain) == "73f50a34ac" != config_hash(config)


def test_networks_of_a_library_keep_their_hashes(composed: Callable[..., DictConfig]) -> None:
    """Before, the kind of branches was an argument of their constructor, so it is part of their hashes."""
    chosen = ["dataset=digits", "trainer.device=cpu", "network@pair.first=timm/resnet18"]
    assert config_hash(composed(*chosen, "pair.first.branches=copy")) == "0370d84b37"
    assert config_hash(composed(*chosen, "pair.first.branches=light")) == "2941be3b75"


def test_neutral_values_are_not_in_the_hash(composed: Callable[..., DictConfig]) -> None:
    config = composed("loss=independent", "++pair.second.frozen=false")
    older = composed("loss=independent")
    for group, option in [("pair", "shared_stages"), ("pair", "leader"), ("trainer", "ema"), ("trainer", "views")]:
        with open_dict(older):
            del older[group][option]
    assert config_hash(config) == config_hash(older)
    assert changes(older, composed("loss=independent", "pair.leader=first")) == ["pair.leader: None -> first"]
    changed = ["pair.shared_stages=2", "pair.leader=first", "++pair.second.frozen=true", "trainer.ema=0.9"]
    changed += ["trainer.views=separate", "init_from={second: nowhere}"]
    assert len({config_hash(composed("loss=independent", each)) for each in changed} - {config_hash(older)}) == 6
