"""``python -m mcl probe``: frozen features of a run or a file, on its own images and on others."""

import json
import shutil
from pathlib import Path

import pytest
from support.small_runs import Outcome

from mcl.__main__ import main
from mcl.deploy.saved_run import SavedRun
from mcl.probing import Options, open_subject, probe
from mcl.runs.layout import PROBE
from mcl.runs.probe_record import find_probes, read_probe

DIGITS = ["--dataset", "digits", "dataset.limit=12", "--draws", "3"]


@pytest.fixture
def run(undisturbed: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(undisturbed.folder, tmp_path / "run"))


def test_features_are_probed_on_images_with_other_classes(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = (run / "checkpoints" / "last.pt").read_bytes()
    assert main(["probe", str(run), *DIGITS]) == 0
    output = capsys.readouterr().out
    assert "digits: test, 359 images, 10 classes" in output
    assert "images of 1 x 8 x 8, normalized as the run's training images" in output
    (file,) = find_probes(run)
    record = read_probe(file)
    assert (record.train, record.validation, record.test) == (120, 20, 359)
    assert [network.name for network in record.networks.values()] == ["resnet8", "resnet8"]
    measures = record.networks["second"].measures
    assert list(measures) == ["linear", "1-NN", "5-NN", "20-NN", "1-shot", "5-shot", "10-shot"]
    assert measures["linear"].top1 > 30  # guessing gives 10
    for measure in measures.values():
        assert measure.interval is not None
        assert measure.interval.low < measure.top1 < measure.interval.high
        assert f"{measure.top1:.2f} (" in output
    assert (run / "checkpoints" / "last.pt").read_bytes() == weights


def test_networks_that_were_probed_before_stay_in_the_record(run: Path) -> None:
    for network in ("first", "second"):
        assert main(["probe", str(run), *DIGITS, "--network", network]) == 0
    (file,) = find_probes(run)
    assert list(read_probe(file).networks) == ["first", "second"]
    values = json.loads(file.read_text())
    for before, expected in (({**values, "code": {}}, ["first"]), ("damaged", ["first"])):
        file.write_text(json.dumps(before))
        assert main(["probe", str(run), *DIGITS, "--network", "first"]) == 0
        assert list(read_probe(file).networks) == expected


def test_the_same_seed_gives_the_same_numbers(run: Path) -> None:
    def networks(*options: str) -> object:
        assert main(["probe", str(run), *DIGITS, "--network", "first", "--out", "out", *options]) == 0
        (file,) = Path("out").glob(f"*/{PROBE}")
        values = json.loads(file.read_text())["networks"]
        shutil.rmtree("out")
        return values

    first = networks()
    assert networks() == first
    assert networks("--seed", "1") != first


def test_an_exported_file_is_probed_like_its_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(run), "--format", "safetensors", "--network", "first"]) == 0
    file = run / "export" / "first-resnet8.safetensors"
    assert main(["probe", str(file), *DIGITS]) == 0
    assert main(["probe", str(run), *DIGITS, "--network", "first"]) == 0
    (of_file,), (of_run,) = list(Path("first-resnet8-evaluation").glob(f"*/{PROBE}")), find_probes(run)
    assert read_probe(of_file).networks["first-resnet8"] == read_probe(of_run).networks["first"]
    assert of_file.parent.name == of_run.parent.name
    capsys.readouterr()
    for choice, refusal in (
        ([], "add --dataset NAME"),
        ([*DIGITS, "--network", "second"], f"network second: {file} holds one network"),
        ([*DIGITS, "--weights", "best"], "only a run has a choice of best weights"),
    ):
        assert main(["probe", str(file), *choice]) == 1
        assert refusal in capsys.readouterr().err


@pytest.mark.parametrize("out", [["--out", "out"], []])
def test_probes_of_two_files_do_not_share_a_folder(
    out: list[str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(run), "--format", "safetensors", "--network", "first"]) == 0
    command = ["probe", str(run / "export" / "first-resnet8.safetensors"), *DIGITS, *out]
    assert main(command) == 0
    (record,) = Path("out" if out else "first-resnet8-evaluation").glob(f"*/{PROBE}")
    values = json.loads(record.read_text())
    record.write_text(json.dumps({**values, "run": "0123456789"}))
    assert main(command) == 1
    assert f"{record.parent} holds the probe of another run or file, 0123456789" in capsys.readouterr().err
    assert json.loads(record.read_text())["date"] == values["date"]


def test_images_for_validation_are_those_of_the_data_set_if_it_has_some(run: Path) -> None:
    overrides = ["dataset=digits", "dataset.limit=12", "dataset.validation=0.1"]
    result = probe(open_subject(run, overrides, networks=["first"]), Options(draws=1))
    assert result.validation == len(SavedRun(run, overrides).dataset.load().validation.labels)  # type: ignore[union-attr]
    assert result.train == 120 + result.validation
    assert result.networks["first"].measures["1-shot"].interval is None  # of one draw


def test_too_few_images_leave_a_measure_out(run: Path) -> None:
    result = probe(open_subject(run, ["dataset=digits", "dataset.limit=3"], networks=["first"]), Options(draws=2))
    assert list(result.networks["first"].measures) == ["linear", "1-NN", "5-NN", "20-NN", "1-shot"]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--dataset", "digit"], ["digit", "digits"]),
        (["--draws", "0"], ["--draws 0", "at least 1"]),
        (["--seed", "-1"], ["--seed -1"]),
        (["--dataset", "digits", "dataset.limit=1"], ["fewer than 2 training images", ": 0, 1, 2, 3, 4 and 5 more."]),
        (["--network", "third"], ["choose 0 or first"]),
        (["--weights", "best", "pair=resnet14"], ["do not fit"]),
    ],
)
def test_errors_of_a_probe_are_one_line(
    arguments: list[str], parts: list[str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["probe", str(run), *arguments]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert len(message.splitlines()) == 1
    for part in parts:
        assert part in message
    assert find_probes(run) == []
