"""``python -m mcl push`` and ``mcl.from_pretrained``: Hugging Face's layout, in a folder and on a fake Hub."""

import inspect
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from support.releases import drawn, header_of, logits_of, small_study
from torch import Tensor

import mcl
from mcl.__main__ import main
from mcl.deploy import check_release
from mcl.deploy.hub import repository
from mcl.errors import UserError
from mcl.runs import checkpoints
from mcl.runs.reading import find_runs
from mcl.runs.summary import with_checksum

__all__ = ["small_study"]
FILES = ["README.md", "config.json", "model.safetensors", "run.json", "second-resnet8.safetensors"]
hub = pytest.importorskip("huggingface_hub")


@pytest.fixture(scope="session")
def trained(small_study: Path) -> Path:
    return sorted(find_runs(small_study.parents[1] / "runs"))[0]


@pytest.fixture(scope="session")
def shipped(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Push the run to a folder."""
    folder = tmp_path_factory.mktemp("out") / "net"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder.parent)
        assert main(["push", str(trained), "--to", "./net"]) == 0
    return folder


@pytest.fixture
def pushed(shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder, in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MCL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "get_token", lambda: None)
    return Path(shutil.copytree(shipped, tmp_path / "net"))


def logits(place: object, network: Any = None, load: Callable[..., Any] = mcl.from_pretrained) -> Tensor:
    loaded = load(place, network)
    assert not loaded.training
    with torch.no_grad():
        values: Tensor = loaded(loaded.preprocessing.normalize(drawn(1, 8)))
    return values


@pytest.mark.parametrize("network", [None, "first", "second", 1])
def test_a_pushed_network_loads_back_with_equal_logits(network: Any, pushed: Path, trained: Path) -> None:
    assert sorted(file.name for file in pushed.iterdir()) == FILES
    expected = logits(trained, network, mcl.load)
    assert torch.equal(logits("net", network), expected)
    assert torch.equal(logits("net", network, mcl.load), expected)
    assert check_release(pushed) < 1e-3


def test_the_leader_is_the_main_network(pushed: Path, trained: Path) -> None:
    led = Path(shutil.copytree(trained, "led"))
    checkpoint, summary = led / "checkpoints" / "last.pt", json.loads((led / "summary.json").read_text())
    checkpoints.save(checkpoint, {**checkpoints.load(checkpoint), "deployed": ["second"]})
    (led / "summary.json").write_text(json.dumps(with_checksum({**summary, "deployed": ["second"]})))
    assert main(["push", "led", "--to", "leader"]) == 0
    assert json.loads(Path("leader/config.json").read_text())["key"] == "second"
    for network in (None, "second"):
        assert torch.equal(logits("leader", network), logits(trained, "second", mcl.load))
    assert torch.equal(logits("leader", "first"), logits(trained, "first", mcl.load))
    card = Path("leader/README.md").read_text()
    assert '# the network second; network="first" for another\nnetwork = mcl.from_pretrained("leader")\n' in card
    metrics = header_of(card)["model-index"][0]["results"][0]["metrics"]
    assert [metric["name"] for metric in metrics] == ["top-1 of second", "top-1 of first"]


def test_two_files_suffice_for_the_main_network(pushed: Path, trained: Path) -> None:
    for name in set(FILES) - {"config.json", "model.safetensors"}:
        (pushed / name).unlink()
    assert torch.equal(logits("net"), logits(trained, 0, mcl.load))
    assert mcl.from_pretrained("net", "resnet8").classes == ("class_0", "class_1", "class_2", "class_3")
    assert torch.equal(logits("net", "0"), logits("net"))  # as `--network 0` gives it
    with pytest.raises(UserError, match=r"network second: net holds one network, first \(resnet8\)"):
        mcl.from_pretrained("net", "second")
    with pytest.raises(UserError, match="net holds one network as it was exported: only a run has a choice"):
        mcl.load("net", weights="best")


def test_the_header_of_the_card_is_valid_for_the_hub(pushed: Path, trained: Path) -> None:
    metadata = hub.metadata_load(pushed / "README.md")
    assert metadata == header_of((pushed / "README.md").read_text())
    data = hub.ModelCardData(**metadata)
    assert (data.license, data.library_name, data.pipeline_tag) == ("mit", "mcl", "image-classification")
    assert (data.datasets, data.metrics) == (["synthetic"], ["accuracy"])
    assert "knowledge-distillation" in data.tags
    networks = json.loads((trained / "summary.json").read_text())["networks"]
    assert [(each.metric_type, each.metric_name, each.metric_value) for each in data.eval_results] == [
        ("accuracy", f"top-1 of {network['key']}", round(network["top1_last"], 2)) for network in networks
    ]
    assert {(each.task_type, each.dataset_name, each.dataset_split) for each in data.eval_results} == {
        ("image-classification", "synthetic", "test")
    }
    again = hub.metadata_load(_saved(hub.ModelCard.load(pushed / "README.md"), pushed / "again.md"))
    assert again["model-index"][0]["results"][0]["metrics"] == metadata["model-index"][0]["results"][0]["metrics"]


def _saved(card: Any, path: Path) -> Path:
    card.save(path)
    return path


def test_the_card_says_how_to_load_this_folder_and_its_logits_hold(pushed: Path) -> None:
    card = (pushed / "README.md").read_text()
    assert '# the first network; network="second" for another\nnetwork = mcl.from_pretrained("net")\n' in card
    assert "python -m mcl evaluate net " in card
    assert "hf download" not in card
    assert "nothing is known of the spread over seeds" in card
    assert "Study" not in card
    assert torch.allclose(logits("net"), logits_of(card)["first"], atol=1e-3)
    (plain,) = re.findall(r"```python\n(import mcl, numpy, torch\n.*?)```", card, re.DOTALL)
    scope: dict[str, Any] = {}
    os.chdir(pushed)
    exec(plain, scope)
    assert torch.allclose(scope["logits"], logits("."), atol=1e-5)


def test_config_json_describes_the_main_network(pushed: Path) -> None:
    config = json.loads((pushed / "config.json").read_text())
    assert (config["library_name"], config["name"], config["num_classes"]) == ("mcl", "resnet8", 4)
    assert config["architecture"]["_target_"] == "mcl.networks.resnet.ResNet"
    assert config["preprocessing"]["image_size"] == 8


def test_pushing_again_gives_the_same_bytes_and_other_files_are_not_touched(
    pushed: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file.name: file.read_bytes() for file in pushed.iterdir()}
    (pushed / ".git").mkdir()  # a clone of a repository
    assert main(["push", str(trained), "--to", "net"]) == 0
    assert {file.name: file.read_bytes() for file in pushed.iterdir() if file.is_file()} == before
    (pushed / "run.json").unlink()
    assert main(["push", str(trained), "--to", "net"]) == 1
    assert "holds other files. Choose another folder.\n" in capsys.readouterr().err


def test_a_release_keeps_what_chose_it(pushed: Path, small_study: Path) -> None:
    place = small_study.parents[1]
    assert main(["release", str(small_study), "--out", "released"]) == 0
    assert main(["push", "released/independent-resnet8", "--to", "./chosen", "--license", "Apache-2.0"]) == 0
    header = header_of(Path("chosen/README.md").read_text())
    assert (header["mcl"]["chosen"], header["mcl"]["seeds"], header["license"]) == ("validation", 2, "apache-2.0")
    assert (
        "one of 2. It is the one with the best accuracy on the validation images"
        in Path("chosen/README.md").read_text()
    )
    assert str(place) not in Path("chosen/README.md").read_text() + Path("chosen/run.json").read_text()


def test_photos_that_are_elsewhere_need_not_be_there(command: Callable[..., Any]) -> None:
    for i in range(8):
        Path(f"my photos/class_{i % 2}").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (30 * i, 0, 0)).save(f"my photos/class_{i % 2}/{i}.png")
    photos = ["dataset=folder", "dataset.root=my photos", "trainer.max_steps=1", "trainer.batch_size=2"]
    done = command(*photos, "pair=single", "loss=independent", "hydra.run.dir=run", "tracking=none")
    assert done.status == 0, done.err
    Path("my photos").rename("moved")
    assert main(["push", "run", "--to", "./new"]) == 0
    assert header_of(Path("new/README.md").read_text())["datasets"] == ["my_photos"]


@pytest.mark.parametrize("place", ["./new", "me/new"])
def test_dry_run_lists_the_files_and_writes_nothing(
    place: str, pushed: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(trained), "--to", place, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert sorted(line.split()[0] for line in printed.splitlines()[:-1]) == FILES
    assert "dry run: nothing was written to" in printed
    assert not Path(place).exists()


def test_without_a_login_nothing_is_uploaded(
    pushed: Path, trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "HfApi", pytest.fail)
    assert main(["push", str(trained), "--to", "me/new"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "error: --to me/new: not logged in to Hugging Face. Type hf auth login, or give a folder: --to ./me/new."
    )


def test_a_folder_is_not_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["push", "run", "--to", "./new", "--private"]) == 1
    assert (
        capsys.readouterr().err == "error: --private: new is a folder, and nothing is uploaded. Leave --private out.\n"
    )


REAL = {name: inspect.signature(getattr(hub.HfApi, name)) for name in ("create_repo", "upload_folder")}
REAL["snapshot_download"] = inspect.signature(hub.snapshot_download)


class FakeApi:
    """A stand-in of the Hub, which takes what the real one takes."""

    repositories: dict[str, dict[str, bytes]]

    def create_repo(self, repo_id: str, **options: Any) -> str:
        REAL["create_repo"].bind(self, repo_id, **options)
        assert options == {"private": True, "exist_ok": True}
        self.repositories.setdefault(repo_id, {})
        return f"https://hub.example/{repo_id}"

    def upload_folder(self, **options: Any) -> None:
        REAL["upload_folder"].bind(self, **options)
        assert options["delete_patterns"] == ["*.safetensors"]
        files = options["folder_path"].iterdir()
        self.repositories[options["repo_id"]] = {file.name: file.read_bytes() for file in files}


def test_to_the_hub_and_back(
    pushed: Path, trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    repositories: dict[str, dict[str, bytes]] = {}
    monkeypatch.setattr(FakeApi, "repositories", repositories, raising=False)
    monkeypatch.setattr(hub, "HfApi", FakeApi)
    monkeypatch.setattr(hub, "get_token", lambda: "hf_x")
    assert main(["push", str(trained), "--to", "me/new", "--private"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "https://hub.example/me/new"
    assert sorted(repositories["me/new"]) == FILES
    card = repositories["me/new"]["README.md"].decode()
    assert 'mcl.from_pretrained("me/new")' in card
    assert "hf download me/new --local-dir new\npython -m mcl predict new image.png" in card

    def snapshot_download(repo_id: str, **options: Any) -> None:
        REAL["snapshot_download"].bind(repo_id, **options)
        assert options["revision"] == "v1"
        options["local_dir"].mkdir(parents=True)
        for name, content in repositories[repo_id].items():
            (options["local_dir"] / name).write_bytes(content)

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    loaded, expected = mcl.from_pretrained("me/new", revision="v1").state_dict(), mcl.load(trained).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in expected.items())
    with pytest.raises(UserError, match="me/other cannot be downloaded from Hugging Face: KeyError"):
        mcl.from_pretrained("me/other", revision="v1")


def test_what_the_hub_refuses_is_one_line(
    pushed: Path, trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route\nto the Hub")

    monkeypatch.setattr(FakeApi, "create_repo", refuse)
    monkeypatch.setattr(hub, "HfApi", FakeApi)
    monkeypatch.setattr(hub, "get_token", lambda: "hf_x")
    assert main(["push", str(trained), "--to", "me/new"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "error: --to me/new: Hugging Face did not accept it: ConnectionError: no route"


def test_an_unfinished_run_is_not_pushed(pushed: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (Path(shutil.copytree(trained, "unfinished")) / "summary.json").unlink()
    assert main(["push", "unfinished", "--to", "./new"]) == 1
    assert "is not a finished run" in capsys.readouterr().err
    assert not Path("new").exists()


def test_where_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    places = ["me/name", "out/name", "./me/name", "name", "/tmp/name", "../name", "a/b/c", "~/name"]
    assert [place for place in places if repository(place)] == ["me/name"]
    with pytest.raises(UserError, match="nowhere: there is no such folder, and it is not the name of a repository"):
        mcl.from_pretrained("nowhere")


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda c: c["architecture"].update(_target_="os.system"), "a received file may build only"),
        (lambda c: c["architecture"].update(name="${oc.env:HOME}"), "interpolation"),
        (lambda c: c.update(key="../../x"), "cannot be a network's key"),
        (lambda c: c["architecture"].update(depths=[2, 1, 1]), "do not fit its configuration"),
        (lambda c: c.pop("classes"), "is not a file that python -m mcl export wrote"),
    ],
)
def test_config_json_is_a_received_file(pushed: Path, alter: Callable[[Any], object], message: str) -> None:
    config = json.loads((pushed / "config.json").read_text())
    alter(config)
    (pushed / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"net/config\.json is damaged or was altered"):
        mcl.from_pretrained("net")
    (pushed / "README.md").unlink()
    with pytest.raises(UserError, match=message):
        mcl.from_pretrained("net")


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_link_out_of_the_folder_is_refused(pushed: Path, name: str) -> None:
    (pushed / "README.md").unlink()
    (pushed / name).rename("moved")
    (pushed / name).symlink_to(Path("moved").absolute())
    with pytest.raises(UserError, match="is a link that leads out of"):
        mcl.from_pretrained("net")
