"""Attacks by the form of files: links, special files, bombs, pickles, names in archives."""

import gzip
import io
import json
import lzma
import os
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.received import CANARY, metadata_of, rewrite_bundle, save_safetensors

from mcl.deploy.bundle import write_bundle
from mcl.deploy.saved_run import SavedRun
from mcl.errors import UserError
from mcl.files import write_atomically
from mcl.runs import checkpoints
from mcl.runs.archived import archived_runs
from mcl.runs.layout import WRITTEN
from mcl.runs.lock import FolderLock
from mcl.runs.reading import find_runs, read_run
from mcl.runs.stored_config import without_absolute_paths
from mcl.runs.summary import decode_summary, with_checksum
from mcl.runs.writer import RunWriter
from mcl.untrusted import archives, limits
from mcl.untrusted.damage import refuse_damaged
from mcl.untrusted.regular_files import read_bytes
from mcl.untrusted.tensors import load_state

Refused = Callable[..., str]
posix = pytest.mark.skipif(os.name != "posix", reason="links and pipes of POSIX")


# Links


@posix
@pytest.mark.parametrize("name", [*WRITTEN, "checkpoints/last.pt", "evaluation/test", "evaluation/test/scores.json"])
def test_a_link_out_of_the_folder_is_refused_and_its_target_stays(name: str, place: Path, refused: Refused) -> None:
    victim = place / "victim"
    victim.write_text("precious")
    link = place / "run" / name
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_dir():
        link.rename(place / "moved")
        victim = place / "moved"
    link.unlink(missing_ok=True)
    link.symlink_to(victim)
    for command in (["evaluate", "run"], ["export", "run", "--format", "torch"], ["bundle", "run"]):
        assert "is a link that leads out of" in refused(*command)
    run = read_run(place / "run")
    assert run.status in ("unreadable", "missing")
    assert (place / "victim").read_text() == "precious"


@posix
def test_a_link_inside_the_folder_and_a_folder_that_is_a_link_are_followed(place: Path) -> None:
    (place / "run" / "config.yaml").rename(place / "run" / "real.yaml")
    (place / "run" / "config.yaml").symlink_to("real.yaml")
    (place / "link").symlink_to("run")
    assert SavedRun(place / "link").keys == ["first", "second"]


@posix
@pytest.mark.parametrize("name", ["results.csv", "RESULTS.md", "bundle.zip", "config.yaml"])
def test_a_link_in_place_of_a_temporary_file_is_not_followed(name: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / f"{name}.tmp").symlink_to(victim)
    write_atomically(tmp_path / name, "new")
    assert victim.read_text() == "precious"
    assert (tmp_path / name).read_text() == "new"
    assert not (tmp_path / name).is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "victim"])


@posix
def test_lock_and_metrics_are_never_opened_through_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    run = tmp_path / "run"
    run.mkdir()
    for name in ("lock", "metrics.jsonl"):
        (run / name).symlink_to(victim)
    with pytest.raises(UserError, match="lock"):
        FolderLock(run)
    RunWriter(run, step=0).log({}, step=1, epoch=1)  # the link is replaced: no line is kept
    assert not (run / "metrics.jsonl").is_symlink()
    assert victim.read_text() == "precious"
    victim.write_text("")  # nothing to cut
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").symlink_to(victim)
    with pytest.raises(UserError, match=r"metrics\.jsonl"):
        RunWriter(run, step=0)


@posix
@pytest.mark.parametrize("name", ["config.yaml", "summary.json", "checkpoints/last.pt"])
def test_a_pipe_is_refused_without_waiting(name: str, place: Path, refused: Refused) -> None:
    for file in ((place / "run" / name), (place / "run" / "checkpoints" / "step-4.pt")):
        file.unlink()
    os.mkfifo(place / "run" / name)
    with pytest.raises(UserError):
        SavedRun(place / "run")


# Size, depth, expansion


BOMBS = {  # the name of a file and its content
    "a million brackets": ("summary.json", b"[" * 10**6),
    "nested lists": ("summary.json", b'{"a":' + b"[" * 40 + b"]" * 40 + b"}"),
    "a number of many digits": ("summary.json", b'{"seed": ' + b"9" * 4000 + b"}"),
    "a number of too many digits": ("summary.json", b'{"seed": ' + b"9" * 5000 + b"}"),
    "too many bytes": ("summary.json", b" " * (limits.MAX_JSON + 1)),
    "a damaged failure": ("failure.json", b"[" * 10**6),
    "aliases": (
        "config.yaml",
        b"a: &a [x, x]\n" + b"".join(b"%c: &%c [*%c, *%c]\n" % (98 + i, 98 + i, 97 + i, 97 + i) for i in range(20)),
    ),
    "nested yaml": ("config.yaml", b"a: " + b"[" * 10_000),
    "nested mappings": ("config.yaml", b"{a: " * 40 + b"1" + b"}" * 40),
    "a tag": ("config.yaml", b"pair: !!python/object/apply:os.system [touch canary]\ndataset: {}\n"),
    "a merge key": ("config.yaml", b"x: &x {a: 1}\npair: {<<: *x}\ndataset: {}\n"),
    "a large config": ("config.yaml", b"# " + b"x" * limits.MAX_CONFIG),
    "bytes of no text": ("config.yaml", b"\xff\xfe\x00pair"),
}


@pytest.mark.parametrize(("name", "content"), BOMBS.values(), ids=BOMBS)
def test_a_report_of_all_runs_survives_a_bomb(name: str, content: bytes, place: Path) -> None:
    (place / "run" / "summary.json").unlink()
    (place / "run" / name).write_bytes(content)
    runs = list(map(read_run, find_runs(place)))
    assert len(runs) == 1
    assert not runs[0].finished
    assert runs[0].reason.isprintable()
    assert not Path(CANARY).exists()


@pytest.mark.parametrize(("name", "content"), BOMBS.values(), ids=BOMBS)
def test_a_bundle_with_a_bomb_is_refused(name: str, content: bytes, place: Path, refused: Refused) -> None:
    if name == "failure.json":
        pytest.skip("not read from bundles")
    rewrite_bundle(place / "bundle.zip", {name: content})
    refused("predict", "bundle.zip", "image.png")


@pytest.mark.parametrize(
    "line",
    [
        *(b"[" * 10**5, b"{" * 10**5, b'{"step": 1, "epoch": 1, "time": 1e999, "test/x": 1}'),
        *(
            b'{"step": true, "epoch": 1, "time": 1, "test/x": 1}',
            b'{"step": "1", "epoch": [], "time": {}, "test/x": 1}',
        ),
        *(b"\x00" * 100, b'{"step": 1' + b"0" * 5000 + b', "test/x": 1}', b" " * 2**21),
    ],
    ids=lambda line: f"{len(line)} bytes",
)
def test_a_damaged_line_of_metrics_is_noted(line: bytes, place: Path) -> None:
    with open(place / "run" / "metrics.jsonl", "ab") as file:
        file.write(line + b"\n")
    run = read_run(place / "run")
    assert run.finished
    assert any("cannot be read" in note for note in run.notes)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(place: Path, refused: Refused) -> None:
    with zipfile.ZipFile(place / "bundle.zip", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(limits.FREE_EXPANSION * 2))
    assert "would unpack to" in refused("predict", "bundle.zip", "image.png")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [["a", "a"], [f"{i}" for i in range(1001)]], ids=["a file twice", "many files"])
def test_odd_archives_are_refused(names: list[str], place: Path, refused: Refused) -> None:
    with zipfile.ZipFile(place / "bundle.zip", "w") as archive:
        for name in names:
            archive.writestr(name, b"")
    assert "a file twice" in refused("predict", "bundle.zip", "image.png")


def compressed(content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    return out.getvalue()


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (CANARY, "w")


def state(value: object) -> bytes:
    out = io.BytesIO()
    torch.save(value, out)
    return out.getvalue()


def nested(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value


def shared(levels: int) -> list[object]:
    value: list[object] = [0]
    for _ in range(levels):
        value = [value] * 10
    return value


STATES = {
    "a pickle that acts": lambda: state(Evil()),
    "a pickle inside": lambda: state({"network": {"a": [Evil()]}}),
    "compressed members": lambda: compressed(state({"a": torch.zeros(100_000)})),
    "deeply nested": lambda: state(nested(40)),
    "values that share and multiply": lambda: state(shared(9)),
    "a tensor larger than its storage": lambda: state(torch.zeros(1).expand(10**9)),
    "a sparse tensor": lambda: state(torch.zeros(3).to_sparse()),
    "a tensor without storage": lambda: state(torch.zeros(10**9, device="meta")),
    "an old pickle": lambda: b"\x80\x02cos\nsystem\nX\x0c\x00\x00\x00touch canary\x85R.",
    "nothing": lambda: b"",
    "gzip": lambda: gzip.compress(b"x"),
}


@pytest.mark.parametrize("content", STATES.values(), ids=STATES)
def test_only_tensors_and_plain_values_are_read(content: Callable[[], bytes], place: Path, refused: Refused) -> None:
    with pytest.raises(UserError, match="is refused"):
        load_state(io.BytesIO(content()), "sent.pt")
    Path("official.pth.tar").write_bytes(content())
    refused("import", "official.pth.tar", "--pair", "resnet32", "--out", "out")
    assert not Path("out").exists()


def packed(*members: tarfile.TarInfo, contents: bytes = b"x") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:xz") as archive:
        for member in members:
            member.size = len(contents) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(contents) if member.isreg() else None)
    return out.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


TARS = {
    "a path upwards": lambda: packed(member("runs/../../config.yaml")),
    "an absolute path": lambda: packed(member("/tmp/config.yaml")),
    "a link": lambda: packed(member("runs/config.yaml", tarfile.SYMTYPE, "/etc/passwd")),
    "a hard link": lambda: packed(member("runs/config.yaml", tarfile.LNKTYPE, "runs/summary.json")),
    "a device": lambda: packed(member("runs/config.yaml", tarfile.CHRTYPE)),
    "another file": lambda: packed(member("runs/x.pth")),
    "a control character": lambda: packed(member("runs/\x1b[2J/config.yaml")),
    "a file twice": lambda: packed(member("runs/config.yaml"), member("runs/config.yaml")),
    "cut short": lambda: packed(member("runs/config.yaml"))[:-20],
    "not compressed": lambda: lzma.decompress(packed(member("runs/config.yaml"))),
    "too large": lambda: lzma.compress(bytes(10**6)),
}


@pytest.mark.parametrize("content", TARS.values(), ids=TARS)
def test_an_archive_of_runs_unpacks_only_files_of_runs(
    content: Callable[[], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_ARCHIVE", 30_000)
    (tmp_path / "runs.tar.xz").write_bytes(content())
    with pytest.raises(UserError, match="cannot be unpacked") as error, archived_runs(tmp_path / "runs.tar.xz"):
        pass
    assert str(error.value).isprintable()


@pytest.mark.parametrize("key", ["classes", "preprocessing", "architecture", "key", "step", "name"])
@pytest.mark.parametrize("value", ["[" * 10**5, "null", '"\\u001b[2J"', "1e999", "{}", "nonsense"])
def test_metadata_of_an_export_is_limited(key: str, value: str, place: Path, refused: Refused) -> None:
    metadata = {name: json.dumps(each) for name, each in metadata_of(place).items()} | {key: value}
    if (key == "name" and value not in ("[" * 10**5, "nonsense")) or (key == "key" and value in ("null", "1e999")):
        pytest.skip("harmless: it is shown, or is a key like any other")
    save_safetensors(place / "network.safetensors", metadata)
    refused("predict", "network.safetensors", "image.png")


def test_a_graph_with_weights_elsewhere_or_control_flow_is_refused(place: Path, refused: Refused) -> None:
    onnx = pytest.importorskip("onnx")
    file = str(place / "network.onnx")
    model = onnx.load(file)
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    tensor.ClearField("raw_data")
    (place / "network.onnx").write_bytes(model.SerializeToString())
    assert "another file" in refused("predict", "network.onnx", "image.png")
    model = onnx.load(file, load_external_data=False)
    model.graph.initializer.pop(0)
    graph = onnx.helper.make_graph([], "body", [], [])
    model.graph.node.append(onnx.helper.make_node("Loop", ["a"], ["b"], body=graph))
    (place / "network.onnx").write_bytes(model.SerializeToString())
    assert "control flow" in refused("predict", "network.onnx", "image.png")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "large", "wb") as file:
        file.truncate(limits.MAX_JSON + 1)
    with pytest.raises(UserError, match="at most"):
        read_bytes(tmp_path / "large", limits.MAX_JSON)


def test_reading_allocates_what_the_file_has_and_not_the_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    tracemalloc.start()
    assert read_bytes(tmp_path / "file", limits.MAX_NETWORK) == b"content"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10**6


def test_too_little_memory_is_no_damage() -> None:
    with pytest.raises(UserError, match=r"^run needs more memory than is free\.$"), refuse_damaged("run"):
        raise MemoryError


def test_a_huge_number_does_not_break_a_report(place: Path) -> None:
    summary = json.loads((place / "run" / "summary.json").read_text())
    summary["networks"][0]["top1_last"] = 10**300
    with pytest.raises(UserError, match="too many digits"):
        decode_summary(json.dumps(with_checksum(summary)).encode(), "summary.json")


# What a bundle hands on


def test_a_bundle_has_no_local_path_and_no_secret(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "hunter2-secret")
    config = SavedRun(place / "run").stored
    local = {"root": "/home/somebody/private/photos", "cache_dir": "C:\\Users\\somebody\\cache", "name": "~/x/y"}
    config["dataset"] = {"_target_": "mcl.data.folder.Folder", **local}
    for file in (place / "run" / "checkpoints").iterdir():
        checkpoints.save(file, {**checkpoints.load(file), "config": config})
    for name in ("config.yaml", "summary.json"):
        (place / "run" / name).unlink()
    (place / "run" / "imported.json").write_text("{}")
    write_bundle(SavedRun(place / "run"), place / "out.zip")
    with zipfile.ZipFile(place / "out.zip") as archive:
        everything = b"".join(map(archive.read, archive.namelist()))
    for secret in (b"somebody", b"hunter2", str(place).encode()):
        assert secret not in everything
    assert b"photos" in everything


@pytest.mark.parametrize(
    ("value", "handed_on"),
    [
        *(("/a/b", "b"), ("C:\\a\\b", "b"), ("C:/a/b", "b"), ("~/a", "a"), ("a/b", "a/b"), ("x", "x"), (3, 3)),
        *((["/a/b"], ["b"]), ("sqlite:////a/b.db", "b.db"), ("file:/a/b", "b"), ("RUN:first:best", "RUN:first:best")),
        ("http://user:secret@host:5000", "host:5000"),
    ],
)
def test_absolute_paths_are_cut_to_their_last_part(value: object, handed_on: object) -> None:
    assert without_absolute_paths({"a": {"b": value}}) == {"a": {"b": handed_on}}
