"""Runs with the published side heads of BYOT and DKS: trained, resumed, deployed without them, described."""

import os
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.small_runs import Outcome

from mcl.deploy.formats import rebuild
from mcl.deploy.saved_run import SavedRun

Small = Callable[..., Any]
SHORT = ["trainer.max_steps=2", "optimizer.lr=0.01"]


def heads(kind: str) -> list[str]:
    return [f"pair.{key}.branches={kind}" for key in ("first", "second")]


@pytest.mark.parametrize(("loss", "pair"), [("byot", "resnet8"), ("dks", "wrn_16_2")])
def test_published_heads_train_and_are_left_behind(loss: str, pair: str, small: Small) -> None:
    shallow = ["pair.first.depths=[1,1,1]", "pair.second.depths=[1,1,1]"]
    done = small("run", f"loss={loss}", f"pair={pair}", *shallow, *heads(loss), *SHORT)
    assert done.status == 0, done.err
    assert re.search(rf"branches, {loss}: [\d,]+ parameters and [\d.]+ M multiply-adds\s+beside", done.out)
    run = SavedRun("run")
    cohort, _ = run.learner()
    assert [network.branch_kind for network in cohort] == [loss, loss]
    assert run.summary["training_parameters"] == sum(each.numel() for each in cohort.parameters())
    backbone, metadata = run.deployable("first", "last")
    assert not any("branches" in key for key in (*backbone.state_dict(), *metadata.architecture))
    # Exported files of networks of a library hold the kind if they are older: it was an argument of the constructor.
    earlier = replace(metadata, architecture={**metadata.architecture, "branches": "copy"})
    assert rebuild(backbone.state_dict(), earlier, Path("file"), []).state_dict().keys() == backbone.state_dict().keys()


def test_stopped_run_resumes_bit_for_bit(small: Small, during_step: Callable[..., None]) -> None:
    options = ["loss=byot", "loss.form=journal", "pair.first.branches=byot", "pair.second.branches=dks", *SHORT]
    assert small("whole", *options).status == 0
    during_step(1, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert small("stopped", *options).status == 75
    assert small("stopped", *options).status == 0
    assert Outcome("stopped").equals(Outcome("whole"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["loss=byot", *heads("dks")], "their widths differ: 64, 128, 64. Give pair.NETWORK.branches=byot, or"),
        (["loss=dks", "network@pair.second=hcgnet_a1", *heads("dks")], "pair.second.branches=dks: hcgnet_a1 is not"),
        (["loss=dks", *heads("dsk")], "pair.first.branches=dsk: there is no such kind of branches. Did you mean 'dks'"),
    ],
)
def test_heads_that_do_not_fit_are_one_line(options: list[str], message: str, small: Small) -> None:
    done = small("run", *options, *SHORT)
    assert done.status == 1
    assert message in done.err
    assert done.err.count("\n") == 1
    assert not Path("run", "metrics.jsonl").exists()


def test_other_kind_of_branches_is_named_where_weights_do_not_fit(small: Small) -> None:
    assert small("light", "loss=deep_supervision", *heads("light"), *SHORT).status == 0
    done = small("copies", "loss=deep_supervision", "init_from=light", *SHORT)
    assert done.status == 1
    assert "and pair.NETWORK.branches= if it had it, of that checkpoint" in done.err


def test_kind_of_branches_that_a_network_does_not_have_is_noted(small: Small) -> None:
    done = small("run", "loss=independent", "pair.first.branches=light", *SHORT)
    assert done.status == 0, done.err
    assert "pair.first.branches=light: this network has no auxiliary branches here." in done.out
