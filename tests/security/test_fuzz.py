"""Mutated bundles and exported files: a command succeeds, or prints one line and ends with status 1. Nothing else."""

import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.received import metadata_of, rewrite_bundle, rewrite_release, save_safetensors

from mcl.__main__ import main
from mcl.deploy.card_logits import check_logits
from mcl.deploy.saved_run import SavedRun
from mcl.errors import UserError
from mcl.runs import checkpoints
from mcl.runs.summary import with_checksum

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["${a}", "\\${oc.env:HOME}", "../../x", "\x1b[2J", "mcl.data.published.download", "???", "/", "~"]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
FUZZ = settings(  # some examples; `test_many_mutations` takes many
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

FEW = settings(FUZZ, max_examples=8)


def assert_harmless(*arguments: str) -> None:
    error = io.StringIO()
    with contextlib.redirect_stderr(error), contextlib.redirect_stdout(io.StringIO()):
        status = main(list(arguments))
    assert status in (0, 1)
    if status == 1:
        lines = error.getvalue().splitlines()
        assert len(lines) == 1, error.getvalue()
        assert lines[0].startswith("error: ")
        assert lines[0].isprintable()


def mutate(node: Any, data: st.DataObject) -> Any:
    """Replace, add or remove one value somewhere inside a node."""
    if isinstance(node, dict) and node and data.draw(st.integers(0, 4)):
        key = data.draw(st.sampled_from(sorted(node, key=str)))
        action = data.draw(st.sampled_from(["inside", "inside", "remove", "add"]))
        if action == "remove":
            return {other: value for other, value in node.items() if other != key}
        if action == "add":
            return {**node, data.draw(st.text(max_size=8)): data.draw(VALUES)}
        return {**node, key: mutate(node[key], data)}
    if isinstance(node, list) and node and data.draw(st.booleans()):
        i = data.draw(st.integers(0, len(node) - 1))
        return [*node[:i], mutate(node[i], data), *node[i + 1 :]]
    return data.draw(VALUES)


def flip(content: bytes, data: st.DataObject) -> bytes:
    """Overwrite, cut or insert bytes at some place."""
    at = data.draw(st.integers(0, len(content) - 1))
    new = data.draw(st.binary(min_size=1, max_size=8))
    cut = data.draw(st.sampled_from([0, 1, len(new), len(content)]))
    return content[:at] + new + content[at + cut :]


def restored(sent: Path, place: Path, name: str) -> Path:
    return Path(shutil.copy(sent / name, place / name))


@FUZZ
@given(data=st.data())
@pytest.mark.parametrize("name", ["bundle.zip", "network.pt", "network.safetensors"])
def test_damaged_bytes(name: str, data: st.DataObject, sent: Path, place: Path) -> None:
    file = restored(sent, place, name)
    file.write_bytes(flip(file.read_bytes(), data))
    assert_harmless("predict", name, "image.png")


@FUZZ
@given(data=st.data())
def test_mutated_metadata_of_safetensors(data: st.DataObject, sent: Path, place: Path) -> None:
    file = restored(sent, place, "network.safetensors")
    metadata = mutate(metadata_of(place), data)
    values = metadata if isinstance(metadata, dict) else {}
    save_safetensors(file, {str(key).encode(errors="replace").decode(): json.dumps(v) for key, v in values.items()})
    assert_harmless("predict", file.name, "image.png")


@FUZZ
@given(data=st.data())
def test_mutated_content_of_a_torch_file(data: st.DataObject, sent: Path, place: Path) -> None:
    file = restored(sent, place, "network.pt")
    content = checkpoints.load(file)
    content["about"] = mutate(content["about"], data)
    file.write_bytes(checkpoints.encode(content))
    assert_harmless("predict", file.name, "image.png")


@FUZZ
@given(data=st.data())
def test_mutated_configuration_of_a_bundle(data: st.DataObject, sent: Path, place: Path) -> None:
    file = restored(sent, place, "bundle.zip")
    config = mutate(yaml.safe_load((place / "run" / "config.yaml").read_text()), data)
    rewrite_bundle(file, {"config.yaml": yaml.safe_dump(config).encode(errors="replace")})
    assert_harmless("predict", file.name, "image.png")


@FUZZ
@given(data=st.data())
def test_mutated_checkpoint_of_a_bundle(data: st.DataObject, sent: Path, place: Path) -> None:
    file = restored(sent, place, "bundle.zip")
    content = checkpoints.load(place / "run" / "checkpoints" / "last.pt")
    keys = ("config", "results", "classes", "preprocessing", "step", "config_hash", "code")
    part = data.draw(st.sampled_from([key for key in keys if key in content]))
    content[part] = mutate(content[part], data)
    rewrite_bundle(file, {"checkpoints/last.pt": checkpoints.encode(content)})
    assert_harmless("export", file.name, "--format", "torch", "--network", "0", "--out", "out")


@FUZZ
@given(data=st.data())
def test_mutated_files_of_a_bundle(data: st.DataObject, sent: Path, place: Path) -> None:
    file = restored(sent, place, "bundle.zip")
    name = data.draw(st.sampled_from(["config.yaml", "summary.json", "metrics.jsonl"]))
    rewrite_bundle(file, {name: flip((place / "run" / name).read_bytes(), data)})
    assert_harmless("predict", file.name, "image.png")


@FEW
@given(data=st.data())
def test_mutated_header_of_a_release(data: st.DataObject, sent: Path, place: Path) -> None:
    card = place / "release" / "README.md"
    _, header, body = (sent / "release" / "README.md").read_text().split("---\n", 2)
    values = yaml.safe_load(header)
    values["mcl"] = mutate(values["mcl"], data)
    card.write_bytes(f"---\n{yaml.safe_dump(values)}---\n{body}".encode(errors="replace"))
    assert_harmless("predict", "release", "image.png")


@FEW
@given(data=st.data())
def test_mutated_run_of_a_release(data: st.DataObject, sent: Path, place: Path) -> None:
    """With a hash that matches."""
    shutil.copy(sent / "release" / "README.md", place / "release")
    record = mutate(json.loads((sent / "release" / "run.json").read_text()), data)
    if isinstance(record, dict) and isinstance(record.get("summary"), dict):
        record["summary"] = with_checksum(record["summary"])
    rewrite_release(place / "release", {"run.json": json.dumps(record).encode()})
    assert_harmless("export", "release", "--format", "torch", "--network", "0", "--out", "out")


@FEW
@given(data=st.data())
def test_mutated_logits_of_a_card(data: st.DataObject, sent: Path) -> None:
    text = (sent / "release" / "README.md").read_text()
    start, end = text.index("```json\n") + 8, text.rindex("\n```")
    logits = json.dumps(mutate(json.loads(text[start:end]), data))
    with contextlib.suppress(UserError):
        check_logits(SavedRun(sent / "release"), text[:start] + logits + text[end:])


@FEW
@given(data=st.data())
def test_damaged_bytes_of_a_card(data: st.DataObject, sent: Path, place: Path) -> None:
    content = (sent / "release" / "README.md").read_bytes()
    (place / "release" / "README.md").write_bytes(flip(content, data))
    assert_harmless("predict", "release", "image.png")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bundle.zip", "network.pt", "network.safetensors"])
def test_many_damaged_bytes(name: str, sent: Path, place: Path) -> None:
    many(test_damaged_bytes)(name=name, sent=sent, place=place)


@pytest.mark.slow
@pytest.mark.parametrize(
    "test",
    [
        test_mutated_metadata_of_safetensors,
        test_mutated_content_of_a_torch_file,
        test_mutated_configuration_of_a_bundle,
        test_mutated_checkpoint_of_a_bundle,
        test_mutated_files_of_a_bundle,
        test_mutated_header_of_a_release,
        test_mutated_run_of_a_release,
        test_damaged_bytes_of_a_card,
    ],
)
def test_many_mutations(test: Any, sent: Path, place: Path) -> None:
    many(test)(sent=sent, place=place)


@pytest.mark.slow
def test_many_mutated_logits(sent: Path) -> None:
    many(test_mutated_logits_of_a_card)(sent=sent)


def many(test: Any) -> Any:
    """Return a test of this file with more examples."""
    return settings(FUZZ, max_examples=40)(given(data=st.data())(test.hypothesis.inner_test))
