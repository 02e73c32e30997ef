"""CIFAR and Fashion-MNIST in their layouts on disk, with few images."""

import gzip
import pickle
import shutil
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from mcl.data import cifar, fashion_mnist
from mcl.data.cifar import Cifar10, Cifar100
from mcl.data.fashion_mnist import FashionMNIST, read_idx
from mcl.data.fingerprint import same_images
from mcl.errors import UserError


class SmallCifar10(Cifar10):
    train_per_class = 10


class SmallCifar100(Cifar100):
    train_per_class = 1


class SmallFashionMNIST(FashionMNIST):
    train_per_class = 2


@pytest.fixture
def offline(monkeypatch) -> None:
    def refuse(url, folder, md5):
        raise OSError(f"no route to {url}")

    monkeypatch.setattr(cifar, "download", refuse)
    monkeypatch.setattr(fashion_mnist, "download", refuse)


def write_cifar(root: Path, kind: type, protocol: int = 2) -> dict[str, np.ndarray]:
    """Write the files of ``kind``; return their pixels by file."""
    rng = np.random.default_rng(0)
    folder = root / kind.subfolder
    folder.mkdir(parents=True)
    pixels = {}
    for name in kind.train_files + kind.test_files:
        count = kind.train_per_class * len(kind.classes) // len(kind.train_files)
        pixels[name] = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
        batch = {b"data": pixels[name], kind.label_key: [n % len(kind.classes) for n in range(count)]}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=protocol))
    return pixels


def write_idx(path: Path, array: np.ndarray) -> None:
    content = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}i", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def write_fashion(folder: Path, ending: str = ".gz") -> np.ndarray:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    labels = np.arange(20, dtype=np.uint8) % 10
    for part in ("train", "t10k"):
        write_idx(folder / f"{part}-images-idx3-ubyte{ending}", pixels)
        write_idx(folder / f"{part}-labels-idx1-ubyte{ending}", labels)
    return pixels


def test_specs_are_known_without_files(offline):
    assert Cifar10().spec.counts == (5000,) * 10
    assert Cifar100(validation=0.1).spec.counts == (450,) * 100
    assert len(set(Cifar100().spec.classes)) == 100
    assert FashionMNIST(limit=7).spec.counts == (7,) * 10
    assert len({kind().fingerprint() for kind in (Cifar10, Cifar100, FashionMNIST)}) == 3


@pytest.mark.parametrize("kind", [SmallCifar10, SmallCifar100])
@pytest.mark.parametrize("protocol", [2, 5])
def test_cifar_is_read_from_its_pickles(tmp_path, offline, kind, protocol):
    pixels = write_cifar(tmp_path, kind, protocol)
    for root in (tmp_path, tmp_path / kind.subfolder):
        splits = kind(root=str(root)).load()
        train = np.concatenate([pixels[name] for name in kind.train_files]).reshape(-1, 3, 32, 32)
        assert torch.equal(splits.train.images, torch.from_numpy(train))
        assert splits.train.labels.tolist()[:12] == [n % len(kind.classes) for n in range(12)]
        assert torch.equal(splits.test.images.flatten(1), torch.from_numpy(pixels[kind.test_files[0]]))


def test_fingerprint_follows_pixels_and_labels_but_not_the_location(tmp_path, offline):
    absent = SmallCifar10(root=str(tmp_path / "nowhere")).fingerprint()
    prints = []
    for place in ("one", "copy", "noisy"):
        write_cifar(tmp_path / place, SmallCifar10)
        if place == "noisy":
            file = tmp_path / place / SmallCifar10.subfolder / "test_batch"
            batch = pickle.loads(file.read_bytes())
            batch[b"labels"][0] = 7  # as sets for learning with wrong labels have it
            file.write_bytes(pickle.dumps(batch))
        dataset = SmallCifar10(root=str(tmp_path / place), limit=1)
        prints.append(dataset.fingerprint())
        dataset.load()
        assert dataset.fingerprint() == prints[-1]
    assert prints[0] == prints[1] != prints[2]
    assert all(same_images(absent, present) for present in prints)  # as a run of an earlier version has it


def test_cifar_is_unpacked_from_its_archive(tmp_path, offline):
    pixels = write_cifar(tmp_path / "made", SmallCifar10)
    root = tmp_path / "root"
    root.mkdir()
    with tarfile.open(root / Cifar10.archive, "w:gz") as tar:
        tar.add(tmp_path / "made" / Cifar10.subfolder, Cifar10.subfolder)
    for _ in range(2):
        test = SmallCifar10(root=str(root)).load().test
        assert torch.equal(test.images.flatten(1), torch.from_numpy(pixels["test_batch"]))
    (root / Cifar10.archive).unlink()
    assert len(SmallCifar10(root=str(root)).load().test.labels) == 20


def test_cifar_is_downloaded_if_it_is_missing(tmp_path, monkeypatch):
    write_cifar(tmp_path / "made", SmallCifar10)
    requests = []

    def download(url, folder, md5):
        requests.append((url, md5))
        with tarfile.open(folder / "archive.tar.gz", "w:gz") as tar:
            tar.add(tmp_path / "made" / Cifar10.subfolder, Cifar10.subfolder)
        return folder / "archive.tar.gz"

    monkeypatch.setattr(cifar, "download", download)
    (tmp_path / "root").mkdir()
    for _ in range(2):
        SmallCifar10(root=str(tmp_path / "root")).load()
    assert requests == [(cifar._SITE + "cifar-10-python.tar.gz", Cifar10.md5)]
    remaining = [path.name for path in (tmp_path / "root").iterdir() if path.suffix != ".lock"]
    assert remaining == [Cifar10.subfolder]


def test_error_without_network_names_the_files_and_their_folder(tmp_path, offline):
    with pytest.raises(UserError) as error:
        Cifar100(root=str(tmp_path)).load()
    assert all(text in str(error.value) for text in ("cifar-100-python.tar.gz", str(tmp_path), "dataset.root"))
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte\.gz"):
        FashionMNIST(root=str(tmp_path)).load()


def test_damaged_archive_is_named(tmp_path, offline):
    (tmp_path / Cifar10.archive).write_text("not found")
    with pytest.raises(UserError, match=r"Cannot get cifar10"):
        Cifar10(root=str(tmp_path)).load()
    assert not (tmp_path / Cifar10.subfolder).exists()


def test_pickle_that_would_run_code_is_refused(tmp_path, offline):
    class Harmful:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "touched",))

    write_cifar(tmp_path, SmallCifar10)
    (tmp_path / Cifar10.subfolder / "test_batch").write_bytes(pickle.dumps({b"data": Harmful()}))
    with pytest.raises(UserError, match="damaged"):
        SmallCifar10(root=str(tmp_path)).load()
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x02", pickle.dumps([1]), pickle.dumps({b"data": np.zeros(3)})])
def test_damaged_cifar_file_is_named(tmp_path, offline, content):
    write_cifar(tmp_path, SmallCifar10)
    (tmp_path / Cifar10.subfolder / "test_batch").write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        SmallCifar10(root=str(tmp_path)).load()


def test_wrong_number_of_images_is_an_error(tmp_path, offline):
    write_cifar(tmp_path, SmallCifar10)
    with pytest.raises(UserError, match=r"100 training images where 50,000"):
        Cifar10(root=str(tmp_path)).load()


@pytest.mark.parametrize("place", ["", "FashionMNIST/raw"])
@pytest.mark.parametrize("ending", [".gz", ""])
def test_fashion_mnist_is_read_from_its_files(tmp_path, offline, place, ending):
    pixels = write_fashion(tmp_path / place, ending)
    splits = SmallFashionMNIST(root=str(tmp_path)).load()
    assert torch.equal(splits.train.images[:, 0], torch.from_numpy(pixels))
    assert splits.test.labels.tolist() == [n % 10 for n in range(20)]


def test_fashion_mnist_is_read_from_the_system_folder_unless_a_root_is_given(tmp_path, offline, monkeypatch):
    write_fashion(tmp_path / "system")
    monkeypatch.setattr(FashionMNIST, "system_folder", tmp_path / "system")
    assert len(SmallFashionMNIST().load().train.labels) == 20
    with pytest.raises(UserError, match="fashion_mnist is not there"):
        SmallFashionMNIST(root=str(tmp_path / "elsewhere")).load()


def test_fashion_mnist_is_downloaded_into_the_cache(tmp_path, monkeypatch):
    write_fashion(tmp_path / "made")
    monkeypatch.setattr(FashionMNIST, "system_folder", tmp_path / "nowhere")
    monkeypatch.setattr(
        fashion_mnist, "download", lambda url, folder, md5: shutil.copy(tmp_path / "made" / Path(url).name, folder)
    )
    SmallFashionMNIST().load()
    assert len(list((tmp_path / "cache/downloads/FashionMNIST/raw").glob("*.gz"))) == 4


@pytest.mark.parametrize(
    "damage", [b"", b"\x1f\x8b", gzip.compress(b"\0\0\x08\x01\0\0\0\x09ab", mtime=0), gzip.compress(b"no", mtime=0)]
)
def test_damaged_idx_file_is_named(tmp_path, offline, damage):
    write_fashion(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(damage)
    with pytest.raises(UserError, match="damaged"):
        SmallFashionMNIST(root=str(tmp_path)).load()


def test_idx_file_gives_its_array(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    write_idx(tmp_path / "a.gz", array)
    assert torch.equal(read_idx(tmp_path / "a.gz"), torch.from_numpy(array))


@pytest.mark.parametrize("kind", [SmallCifar10, SmallFashionMNIST])
def test_a_wrong_root_is_not_downloaded_into(kind: type, tmp_path: Path, offline) -> None:
    with pytest.raises(UserError, match="is not there; the folder does not exist"):
        kind(root=str(tmp_path / "missing")).load()
    assert not (tmp_path / "missing").exists()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match=r"has none of its files, but notes\.txt"):
        kind(root=str(tmp_path)).load()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    (tmp_path / "notes.txt").unlink()
    with pytest.raises(UserError, match="Cannot get"):  # an empty folder is meant for it
        kind(root=str(tmp_path)).load()
