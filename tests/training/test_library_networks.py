"""Runs of models of timm: resumed bit for bit with meta rounds, compiled, and with losses of maps."""

import os
import re
import shutil
import signal
from collections.abc import Callable
from typing import Any

import pytest
from support.small_runs import ROUNDS, Outcome

Small = Callable[..., Any]
PAIR = [  # tokens with random depth, and maps with channels last; copied and light branches
    *("network@pair.first=timm/test_vit", "pair.first.options.drop_path_rate=0.2"),
    *("network@pair.second=timm/test_mambaout", "pair.second.branches=light"),
    *("dataset.image_size=32", "dataset.channels=3", "optimizer.lr=0.01"),
]


def test_stopped_run_resumes_bit_for_bit(small: Small, during_step: Callable[..., None]) -> None:
    options = [*PAIR, "loss=lmcl", *ROUNDS, "loss.meta.interval=2", "trainer.max_steps=3"]
    assert small("whole", *options).status == 0
    during_step(1, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert small("stopped", *options).status == 75
    assert small("stopped", *options).status == 0
    assert Outcome("stopped").equals(Outcome("whole"))


def test_overview_names_stages_and_what_branches_cost(small: Small) -> None:
    options = [*PAIR, "loss=lmcl", *ROUNDS, "trainer.precision=bfloat16", "trainer.max_steps=1"]
    done = small("run", *options)
    assert done.status == 0, done.err
    assert "stages end with blocks.1 (64 x 2 x 2), blocks.3 (64 x 2 x 2), blocks.5 (64 x 2 x 2)" in done.out
    assert re.search(r"branches, copy: 25\d,\d+ parameters and \d.\d+ M multiply-adds", done.out)
    assert "branches, light: " in done.out


@pytest.mark.parametrize("loss", ["byot", "dks", "ffl"])
def test_losses_of_maps_train(loss: str, small: Small) -> None:
    options = ["network@pair.first=timm/test_mambaout", "pair.first.options.drop_rate=0.1", *PAIR[2:3]]
    options += ["pair.second.options.drop_rate=0.1", *PAIR[4:], f"loss={loss}", "trainer.max_steps=1"]
    done = small("run", *options)
    assert done.status == 0, done.err


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_steps_train(small: Small) -> None:
    done = small("run", *PAIR, "loss=mcl", "trainer.compile=true", "trainer.max_steps=2")
    assert done.status == 0, done.err


def test_wrong_size_is_refused_before_training(small: Small) -> None:
    done = small("run", "network@pair.first=timm/vit_tiny_patch16_224", *PAIR[4:], "loss=mcl")
    assert done.status == 1
    assert "timm/vit_tiny_patch16_224 does not take images of 32 x 32 pixels, but of 224 x 224" in done.err
