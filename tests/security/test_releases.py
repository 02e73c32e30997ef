"""Attacks by a release: its card and its files are received files."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save
from support.received import CANARY, rewrite_release

import mcl
from mcl.deploy import check_release, release_folders
from mcl.errors import UserError
from mcl.runs.summary import with_checksum
from mcl.untrusted import limits

Refused = Callable[..., str]
PAYLOAD = "${oc.create:{_target_:logging.FileHandler,filename:" + CANARY + "}}"
FIRST = "first-resnet8.safetensors"
posix = pytest.mark.skipif(os.name != "posix", reason="links and pipes of POSIX")


@pytest.fixture
def release(place: Path) -> Path:
    assert check_release(place / "release") < 1e-3  # as it is sent
    return place / "release"


def rewrite_card(release: Path, old: str, new: str) -> None:
    card = release / "README.md"
    text = card.read_text()
    assert old in text
    card.write_text(text.replace(old, new, 1))


def alter_run(release: Path, alter: Callable[[dict[str, Any]], None]) -> None:
    record = json.loads((release / "run.json").read_text())
    alter(record)
    record["summary"] = with_checksum(record["summary"])
    rewrite_release(release, {"run.json": json.dumps(record).encode()})


@pytest.mark.parametrize("name", [FIRST, "second-resnet8.safetensors", "run.json"])
def test_a_file_that_is_not_the_one_of_the_card_is_refused(name: str, release: Path, refused: Refused) -> None:
    content = bytearray((release / name).read_bytes())
    content[-2] ^= 1
    (release / name).write_bytes(content)
    for command in (["predict", "release", "image.png"], ["evaluate", "release"]):
        assert f"release/{name} is damaged or was altered" in refused(*command)
    (release / name).unlink()
    expected = "no checkpoint" if name == "run.json" else "cannot be read"  # without it, this is no release
    assert expected in refused("evaluate", "release")


def test_weights_with_a_matching_hash_and_other_logits_are_refused(release: Path, refused: Refused) -> None:
    tensors = load_file(release / FIRST)
    (bias,) = (name for name, tensor in tensors.items() if tensor.shape == (4,) and name.endswith("bias"))
    tensors[bias] = tensors[bias] + 0.1
    rewrite_release(release, {FIRST: save(tensors)})
    with pytest.raises(UserError, match="not a file that python -m mcl export wrote"):
        mcl.load(release)
    metadata = {key: json.dumps(value) for key, value in _metadata(release / "second-resnet8.safetensors").items()}
    rewrite_release(release, {FIRST: save(tensors, metadata | {"key": '"first"'})})
    mcl.load(release)  # whoever alters a file can compute its hash again
    assert "computes other logits than its card states" in refused("evaluate", "release")


def _metadata(path: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return {name: json.loads(value) for name, value in file.metadata().items()}


@posix
@pytest.mark.parametrize("name", ["README.md", "run.json", FIRST])
def test_a_link_out_of_the_folder_is_refused(name: str, release: Path, refused: Refused, place: Path) -> None:
    (release / name).rename(place / "moved")
    (release / name).symlink_to(place / "moved")
    assert "is a link that leads out of" in refused("evaluate", "release")


@posix
def test_a_pipe_is_refused_without_waiting(release: Path, refused: Refused) -> None:
    (release / FIRST).unlink()
    os.mkfifo(release / FIRST)
    assert "is not a file" in refused("evaluate", "release")


@pytest.mark.parametrize("name", ["../victim", "/etc/passwd", ".hidden", "a/b.safetensors", "x\\\\y"])
def test_a_card_names_files_in_its_folder_alone(name: str, release: Path, refused: Refused, place: Path) -> None:
    (place / "victim").write_text("precious")
    rewrite_card(release, f"    {FIRST}: ", f"    '{name}': ")
    assert "is not the name of a file" in refused("evaluate", "release")


@pytest.mark.parametrize(
    "header",
    [
        "a: &x [1]\nb: *x",
        "a: !!python/object/apply:os.system [touch canary]",
        "mcl: " + "[" * 40 + "]" * 40,
        "a: " + "x" * limits.MAX_CONFIG,
        "- a list",
        "mcl: text",
        "{",
        "",
    ],
    ids=["alias", "tag", "depth", "size", "list", "text", "torn", "empty"],
)
def test_a_header_is_plain_data(header: str, release: Path, refused: Refused) -> None:
    card = release / "README.md"
    card.write_text(f"---\n{header}\n---\n" + card.read_text().split("---\n", 2)[2])
    refused("predict", "release", "image.png")


def test_an_interpolation_in_the_settings_is_never_resolved(release: Path, refused: Refused) -> None:
    def alter(record: dict[str, Any]) -> None:
        record["config"]["pair"]["first"]["name"] = PAYLOAD

    alter_run(release, alter)
    assert "holds an interpolation" in refused("evaluate", "release")


@pytest.mark.parametrize("target", ["logging.FileHandler", "os.system", "torch.nn.Linear"])
def test_other_classes_are_not_built(target: str, release: Path, refused: Refused) -> None:
    def alter(record: dict[str, Any]) -> None:
        record["config"]["pair"]["first"] = {"_target_": target, "filename": CANARY}

    alter_run(release, alter)
    assert "a received file may build only" in refused("predict", "release", "image.png")


@pytest.mark.parametrize("change", [{"config_hash": "0000000000"}, {"data": "of other images"}])
def test_results_of_another_run_are_refused(change: dict[str, Any], release: Path, refused: Refused) -> None:
    alter_run(release, lambda record: record["summary"].update(change))
    assert "is not of the same run" in refused("evaluate", "release")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('{"seed": 0,', '{"seed": -1,'),
        ('{"seed": 0,', '{"seed": 0.5,'),
        ('"first": [\n    [', '"first": [\n    ["x", '),
        ('"first": [\n    [', '"first": [\n    [NaN, '),
        ('"first": [', '"third": ['),
        ('"first": [', '"first": 1, "third": ['),
        ("```json", "```"),
        ("```json\n", "```json\n" + "[" * 10**5),
    ],
)
def test_logits_are_numbers_of_every_network(old: str, new: str, release: Path, refused: Refused) -> None:
    rewrite_card(release, old, new)
    refused("evaluate", "release")


def test_a_name_finds_nothing_outside_the_studies(release: Path, place: Path, refused: Refused) -> None:
    (place / "experiments" / "x" / "weights").mkdir(parents=True)
    for name in ("x/../../../release", "x/weights/../../../release", "../release"):
        assert "no release has this name" in refused("evaluate", name)
    release.rename(place / "experiments" / "x" / "weights" / "row")
    assert "x/row" in release_folders()
    mcl.load("x/row")
