"""Every reader of files is in `mcl.untrusted`, or is listed here with the reason why it meets no received file."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOOR = "mcl/untrusted/"
LAUNCHER = "packages/hydra_gpu_launcher/hydra_gpu_launcher"
PARSERS = ("load", "loads", "safe_load", "load_all", "full_load", "unsafe_load", "create", "loadtxt", "genfromtxt")
MODULES = ("torch", "json", "yaml", "pickle", "dill", "OmegaConf", "np", "numpy", "tomllib", "marshal", "onnx")
READERS = (  # of whatever module or object
    *("ZipFile", "is_zipfile", "TarFile", "safe_open", "load_file", "InferenceSession", "Unpickler", "unpack_archive"),
    *("extractall", "load_model", "load_model_from_string", "GzipFile", "BZ2File", "LZMAFile", "decompress"),
    *("read_text", "read_bytes"),
)
APART = {
    "mcl/benchmarking/isolated.py": "what a process of this benchmark answers",
    "mcl/benchmarking/measure.py": "what the benchmark asks of its own process",
    "mcl/config/build_network.py": "conf/",
    "mcl/config/catalog.py": "the files of conf/",
    "mcl/config/checks.py": "OmegaConf.create of options of this process",
    "mcl/config/loader.py": "compositions of this process",
    "mcl/config/signatures.py": "source files of installed packages",
    "mcl/data/available_memory.py": "/proc",
    "mcl/data/cifar.py": "images, by an unpickler that knows arrays alone; the archive is named by the user",
    "mcl/data/contents.py": "the user's cache",
    "mcl/data/decoding.py": "images, which Pillow decodes and limits",
    "mcl/data/digits.py": "images of scikit-learn",
    "mcl/data/fashion_mnist.py": "images, as arrays of bytes",
    "mcl/data/listed_files.py": "the user's cache",
    "mcl/data/imagenet.py": "the user's cache",
    "mcl/deploy/bundle.py": "only writes",
    "mcl/deploy/formats.py": "the header of bytes that this process has just encoded",
    f"{LAUNCHER}/attempt.py": "what a job of this launcher returned",
    f"{LAUNCHER}/leftovers.py": "/proc",
    f"{LAUNCHER}/slots.py": "/sys",
    "mcl/launching/gpu_query.py": "what a process of this launcher answers",
    "hydra_plugins/mcl_networks/source.py": "OmegaConf.create of a mapping that this project makes",
    "mcl/networks/library_names.py": "source files of installed packages",
    "mcl/peak_memory.py": "/proc",
    "mcl/reports/archive.py": "only writes",
    "mcl/reports/page/build.py": "files of this package",
    "mcl/runs/hydra_folder.py": "OmegaConf.create of mappings, to write them",
    "mcl/runs/stored_config.py": "OmegaConf.create of a mapping, to write it",
    "mcl/studies/study_page.py": "a study, which is a list of commands that the user starts",
}
OPENED = {  # open() or os.open(): the reason
    "mcl/data/cache.py": "flushes the files of the cache",
    "mcl/data/decoding.py": "an image, by Pillow",
    "mcl/data/encoded.py": "the header of an image, by Pillow",
    "mcl/__main__.py": "/dev/null",
    "mcl/files.py": "writes, by O_EXCL and O_NOFOLLOW",
    f"{LAUNCHER}/attempt.py": "the job's log, by O_NOFOLLOW; the last lines of the same file are read later",
    f"{LAUNCHER}/guard.py": "/proc",
    "mcl/runs/checkpoints.py": "the metrics of the run that is training, in a folder that RunFolder has checked",
    "mcl/runs/lock.py": "the lock, by O_NOFOLLOW",
    "mcl/runs/progress_estimate.py": "the last bytes of metrics.jsonl, each line parsed by the door",
    "mcl/signals.py": "/dev/null",
    "mcl/tracking/pictures.py": "a picture that this process made",
    "mcl/tracking/wandb.py": "a run of W&B, which is no file",
    "mcl/tracking/wandb_media.py": "a picture that this process made",
    "mcl/search/journal.py": "cuts a torn line off the journal of a search of this user",
    "mcl/runs/unreadable.py": "appends to unreadable.txt, by O_NOFOLLOW",
    "mcl/runs/writer.py": "appends to metrics.jsonl, by O_NOFOLLOW",
}


def readers(source: str) -> Iterator[str]:
    """Yield the calls in a module that parse or unpack a file."""
    imported: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mcl.untrusted"):
            imported |= {alias.asname or alias.name for alias in node.names}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call | ast.ClassDef):
            for part in [node.func] if isinstance(node, ast.Call) else node.bases:
                name = ast.unparse(part)
                module, _, function = name.rpartition(".")
                parses = function in PARSERS and module in MODULES
                if name not in imported and (function in READERS or parses or name in ("tarfile.open", "gzip.open")):
                    yield name


def opens(source: str) -> Iterator[str]:
    """Yield the calls in a module that open a file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            path_method = isinstance(node.func, ast.Attribute) and node.func.attr == "open" and node.args
            if name in ("open", "os.open", "io.open", "os.fdopen") or (path_method and "tarfile" not in name):
                yield ast.unparse(node)


def files() -> dict[str, str]:
    folders = ("mcl", "hydra_plugins", LAUNCHER)
    paths = [*(file for folder in folders for file in (ROOT / folder).rglob("*.py")), *ROOT.glob("*.py")]
    texts = {path.relative_to(ROOT).as_posix(): path.read_text() for path in paths}
    return {name: text for name, text in texts.items() if not name.startswith(DOOR)}


@pytest.mark.parametrize(
    "code",
    [
        "torch.load(path)",
        "json.load(file)",
        "json.loads(text)",
        "yaml.safe_load(text)",
        "OmegaConf.load(path)",
        "OmegaConf.create(text)",
        "zipfile.ZipFile(path)",
        "tarfile.open(path)",
        "tar.extractall(folder)",
        "safe_open(path, framework='pt')",
        "onnxruntime.InferenceSession(path)",
        "np.load(path)",
        "class Reader(pickle.Unpickler): ...",
        "path.read_text()",
        "path.read_bytes()",
        "def f():\n from mcl.runs.summary import read_bytes\n read_bytes(path)",
    ],
)
def test_a_reader_is_recognized(code: str) -> None:
    assert list(readers(code))


def test_the_doors_own_functions_are_no_readers() -> None:
    assert not list(readers("from mcl.untrusted.regular_files import read_bytes\nread_bytes(path, 10)"))


@pytest.mark.parametrize("code", ["open(p, 'wb')", "open(p)", "path.open('w')", "os.open(p, 0)", "(a / b).open('a')"])
def test_opening_a_file_is_recognized(code: str) -> None:
    assert list(opens(code))


def test_every_reader_goes_through_the_door_or_is_known() -> None:
    """A new one: read through `mcl.untrusted`. Only what never meets a received file may be listed in `APART`."""
    assert {name for name, text in files().items() if list(readers(text))} == set(APART)


def test_every_open_file_is_known() -> None:
    """A new one: read through `mcl.untrusted.regular_files`, write through `mcl.files`."""
    assert {name for name, text in files().items() if list(opens(text))} == set(OPENED)
