"""``python -m mcl benchmark``: output, file and errors."""

import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from support.small_runs import META, SMALL

from mcl import __main__ as entry
from mcl.benchmarking import benchmark as benchmarking
from mcl.benchmarking import peak_rate
from mcl.benchmarking.derived import format_rate
from mcl.benchmarking.images import stand_in
from mcl.benchmarking.isolated import Measurement
from mcl.benchmarking.measure import Request, measure
from mcl.benchmarking.settings import NO_REFERENCE, RULE
from mcl.config.compose import compose_train
from mcl.config.instantiate import build

SETTING = {"overrides", "outcome", "reason", "step", "images_per_second", "faster", "memory", "deviation", "start"}


def dataset_of(*overrides: str) -> dict[str, Any]:
    return OmegaConf.to_container(compose_train(overrides), resolve=True)["dataset"]


def test_file_and_table_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Measured in this process, and compared with the rate of a single convolution, which takes less time."""
    monkeypatch.setattr(
        benchmarking, "measure_in_process", lambda request, timeout=None: Measurement(measure(request), "", False, 1.0)
    )
    monkeypatch.setattr(peak_rate, "SHAPES", ((64, 3, 8),))
    file = tmp_path / "speed.json"
    assert entry.main(["benchmark", *SMALL, *META, "--quick", "--steps", "3", "--json", str(file)]) == 0
    out, results = capsys.readouterr().out, json.loads(file.read_text())
    assert results["what"] == "synthetic/resnet8/lmcl"
    assert format_rate(results["images_per_second"]) in out
    assert results["phases"]["whole"] == pytest.approx(
        sum(seconds for name, seconds in results["phases"].items() if name != "whole")
    )
    seconds = results["seconds"]
    assert seconds["recipe"] == pytest.approx(10 * seconds["step"] + 3 * seconds["meta_round"])
    assert 0 < results["share_of_peak"]["step"] < 1
    assert results["memory"] > 0
    (initial,) = results["settings"]
    assert initial.keys() > SETTING
    assert results["best"] == {"overrides": [], "faster": 1.0}
    assert "meta round, one in 4" in out


@pytest.mark.parametrize(
    ("reference", "outcome", "rule"),
    [
        (Measurement(None, "out of memory", False, 1.0), "safe", NO_REFERENCE),
        (Measurement(None, "the loss is not finite", True, 1.0), "unsafe", RULE),
    ],
)
def test_rule_omits_a_reference_that_did_not_run(
    reference: Measurement, outcome: str, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(request: Request, timeout: float | None = None) -> Measurement:
        if request.config["trainer"]["precision"] == "float32":
            return reference
        return Measurement(measure(request), "", False, 1.0)

    monkeypatch.setattr(benchmarking, "measure_in_process", measured)
    monkeypatch.setattr(peak_rate, "SHAPES", ((64, 3, 8),))
    monkeypatch.setattr(benchmarking, "search", lambda config, initial, *others: ([initial], initial))
    overrides = [*SMALL, "loss=independent", "trainer.precision=bfloat16"]
    results = benchmarking.run_benchmark(overrides, steps=3, quick=False, log=lambda line: None)
    assert [row["outcome"] for row in results["settings"]] == [outcome]
    assert results["rule"] == rule
    json.dumps(results, allow_nan=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pari=resnet8"], "pari: there is no such option. Did you mean 'pair'?"),
        (["pair=resnet9"], "pair=resnet9: there is no such choice. Did you mean 'resnet8'?"),
        (["trainer.precison=float32"], "trainer.precison: there is no such option. Did you mean 'precision'?"),
        (["dataset=folder"], "dataset.root is not set"),
        (["--steps", "2"], "--steps 2: must be at least 3."),
        (["--json", "nowhere/speed.json"], "--json nowhere/speed.json: there is no folder "),
        (["--json", "."], "--json .: this is a folder. Give the name of a file, "),
    ],
)
def test_wrong_input_is_reported_before_anything_is_measured(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert entry.main(["benchmark", *arguments]) == 1
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_missing_images_are_generated_in_the_same_number_and_size(tmp_path: Path) -> None:
    node = dataset_of("dataset=cifar100", f"dataset.root={tmp_path}", "dataset.limit=3")
    real, generated_node = build(node), stand_in(node, [], tmp_path)
    assert generated_node is not None
    generated = build(generated_node)
    for name in ("channels", "image_size", "counts"):
        assert getattr(generated.spec, name) == getattr(real.spec, name)


def test_present_images_are_used() -> None:
    assert stand_in(dataset_of(), [], Path()) is None


def test_generated_files_are_read_like_those_of_imagenet(tmp_path: Path) -> None:
    node = dataset_of("dataset=imagenet", "dataset.root=null")
    generated_node = stand_in(node, [], tmp_path)
    assert generated_node is not None
    dataset = build(generated_node, allow=["mcl.benchmarking.images"])
    assert sum(dataset.spec.counts) == 1_281_167
    assert dataset.spec.num_classes == 1000
    train = dataset.load().train
    assert train.decode(train.path(1_281_166)).shape == (3, 224, 224)
