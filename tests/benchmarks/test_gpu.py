"""benchmarks/gpu.py on the CPU, at tiny sizes whose results mean nothing."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import gpu
import pytest
from on_gpu import contrasts, gpu_tests, in_short, requirements
from on_gpu.forms import PROBLEMS, TINY
from on_gpu.journal import Journal
from on_gpu.kernels import kind_of, shares
from on_gpu.plan import Item, items
from on_gpu.setup import Setup
from on_gpu.worker import InProcess

from mcl.config.compose import compose_train

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
REHEARSAL = ["--device", "cpu", "--tiny", "--minutes", "60"]
FEW = ["limits", "step/resnet32/bfloat16", "loop/resnet32/float32", "contrast", "kernels/resnet32/bfloat16/eager"]
OTHERS = [item for item in items(Setup("cpu", True, Path())) if item.name not in FEW]
ONE_OF_EACH_KIND = {item.module: item.name for item in OTHERS}.values()  # the last: several runs, several processes
Measure = Callable[..., int]


@pytest.fixture
def measure(tmp_path: Path) -> Measure:
    """``measure("limits", "contrast", minutes=5)``: measure items into ``tmp_path``; return the exit status."""

    def run(*names: str, minutes: float = 60) -> int:
        arguments = [*REHEARSAL, "--in-process", "--out", str(tmp_path), "--minutes", str(minutes)]
        return gpu.main([*arguments, "--only", *names])

    return run


def rows(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


def test_items_are_measured_once_and_shown(measure: Measure, tmp_path: Path) -> None:
    assert measure(*FEW) == 0
    assert {name: row["status"] for name, row in rows(tmp_path).items()} == dict.fromkeys(FEW, "measured")
    step = rows(tmp_path)["step/resnet32/bfloat16"]["found"]
    assert {"textbook", "eager"} <= set(step["seconds"])
    assert "captured" in step["not_available"]
    page = (tmp_path / "RESULTS.md").read_text()
    assert "A rehearsal" in page
    assert page.count("\n## ") == len(FEW) + 1  # what was not measured has a section, too
    assert "`step/wrn_16_2/float32`: not reached" in page
    pictures = {file.name for file in tmp_path.iterdir() if file.suffix in (".png", ".svg")}
    assert pictures == {f"{name}.{ending}" for name in ("times", "rates", "where") for ending in ("png", "svg")}
    assert all(f"({name}.png)" in page for name in ("times", "rates", "where"))

    lines = (tmp_path / "results.jsonl").read_bytes()
    (tmp_path / "results.jsonl").write_bytes(lines + lines[:50])  # a kill in the middle of a line
    assert measure(*FEW) == 0
    assert (tmp_path / "results.jsonl").read_bytes() == lines


@pytest.mark.parametrize(
    "item",
    [
        pytest.param(item, id=item.name, marks=() if item.name in ONE_OF_EACH_KIND else pytest.mark.slow)
        for item in OTHERS
    ],
)
def test_every_other_item_is_rehearsed(item: Item, warm: None, tmp_path: Path) -> None:
    setup = Setup("cpu", True, tmp_path)
    answer = InProcess(setup).measure(item.module, {**item.arguments, **({"seconds": 60.0} if item.grows else {})}, 60)
    if answer.status == "not available":
        assert any(word in answer.reason for word in ("a rehearsal on a CPU does not compile", "has no CUDA graphs"))
        return
    assert answer.status == "measured", answer.reason
    module = import_module(f"on_gpu.{item.module}")
    assert module.line(answer.found)
    assert module.report([{"item": item.name, "arguments": item.arguments, "found": answer.found}], {})


def test_an_item_that_does_not_fit_is_skipped_with_its_reason(measure: Measure, tmp_path: Path) -> None:
    assert measure("limits", "contrast", minutes=0.05) == 0
    assert {row["status"] for row in rows(tmp_path).values()} == {"skipped"}
    assert "`limits`: skipped: takes about 8 s, and 3 s were left" in (tmp_path / "RESULTS.md").read_text()


def test_an_item_that_fails_does_not_end_the_others(
    measure: Measure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(setup: Setup, **arguments: Any) -> None:
        raise RuntimeError("CUDA out of memory\nmore")

    with monkeypatch.context() as patched:
        patched.setattr(contrasts, "measure", fail)
        assert measure("contrast", "limits") == 1
    assert rows(tmp_path)["limits"]["status"] == "measured"
    assert rows(tmp_path)["contrast"]["reason"] == "RuntimeError: CUDA out of memory"
    assert measure("contrast", "limits") == 0
    assert rows(tmp_path)["contrast"]["status"] == "measured"


def test_results_of_another_machine_are_not_mixed(
    measure: Measure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = {"card": "cuda (NVIDIA H100)", "torch": "2.11.0", "tiny": False}
    row = {"item": "limits", "status": "measured", "where": where}
    (tmp_path / "results.jsonl").write_text(json.dumps(row) + "\n")
    assert measure("limits") == 1
    assert "has results of cuda (NVIDIA H100) with torch 2.11.0; this is a rehearsal on cpu" in capsys.readouterr().err


def test_a_measured_item_is_not_lost_to_a_later_failure(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for status in ("failed", "measured", "skipped"):
        journal.add({"item": "limits", "status": status, "where": {}})
    assert Journal(tmp_path).rows["limits"]["status"] == "measured"


def test_an_unknown_item_and_a_cpu_at_full_size_are_refused(measure: Measure, capsys: Any, tmp_path: Path) -> None:
    assert measure("speed") == 1
    assert "no such item: speed" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        gpu.main(["--device", "cpu", "--out", str(tmp_path)])
    assert "add --tiny" in capsys.readouterr().err


def test_what_is_missing_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(requirements.PACKAGES, "a_module_that_is_missing", "a-distribution")
    assert gpu.main(["--out", str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("missing: a-distribution. With internet: pip install a-distribution")
    assert "--wheels wheels" in line
    assert not (tmp_path / "out").exists()
    assert gpu.main(["--out", str(tmp_path / "out"), "--wheels", str(tmp_path / "none")]) == 1
    assert "there is no such folder" in capsys.readouterr().err


def test_the_main_question_comes_first_and_within_five_minutes(tmp_path: Path) -> None:
    plan = items(Setup("cuda", False, tmp_path))
    assert len({item.name for item in plan}) == len(plan)
    names = [item.name for item in plan]
    main = ["step/resnet32/bfloat16", "step/resnet32/float32", "loop/resnet32/bfloat16", "loop/resnet32/float32"]
    last = max(map(names.index, main))
    assert sum(item.seconds for item in plan[: last + 1]) < 5 * 60
    assert [item.grows for item in plan] == [False] * (len(plan) - 1) + [True]


def test_the_items_named_in_the_docs_exist(tmp_path: Path) -> None:
    page = (BENCHMARKS.parent / "docs" / "gpu.md").read_text()
    named = set(re.findall(r"`([a-z]+/[a-z0-9/]+)`", page.partition("## Measure it")[0]))
    assert len(named) >= 8
    assert named <= {item.name for item in items(Setup("cuda", False, tmp_path))}


@pytest.mark.parametrize("problem", [*PROBLEMS.values(), *TINY.values()], ids=lambda each: f"{each.pair}-{each.batch}")
def test_every_problem_is_a_valid_configuration(problem: Any, tmp_path: Path) -> None:
    composed = compose_train([*problem.overrides(Setup("cpu", True, tmp_path)), "tracking=none"])
    assert composed.trainer.batch_size == problem.batch


def test_kernels_are_sorted_by_kind() -> None:
    names = {
        "aten::convolution_backward": "convolution",
        "sm90_xmma_wgrad_implicit_gemm_bf16": "convolution",
        "void at::native::batch_norm_collect_statistics": "batch normalization",
        "void at::native::multi_tensor_apply_kernel<FusedSgdMathFunctor>": "optimizer",
        "nvjet_hsh_gemm": "matrix products",
        "Memcpy HtoD (Pinned -> Device)": "copies and casts",
        "something new": "other",
    }
    assert {name: kind_of(name) for name in names} == names
    assert shares({"seconds": {"aten::mm": 3.0, "something new": 1.0}}) == {"matrix products": 0.75, "other": 0.25}


DYING = """
import sys
from pathlib import Path
from on_gpu.setup import Setup
from on_gpu.worker import Worker

worker = Worker(Setup("cpu", True, Path(sys.argv[1])))
statuses = [worker.measure("limits", {}, 300).status]
first = worker.process.pid
worker.process.kill()
worker.process.join()
statuses += [worker.measure("limits", {}, 300).status for _ in range(2)]
print(*statuses, worker.process.pid != first, worker.measure("limits", {}, 0).reason, sep=", ")
worker.stop()
"""


def test_the_short_answer_is_a_step_and_its_share_of_a_meta_round() -> None:
    def row(precision: str, **found: Any) -> dict[str, Any]:
        return {"arguments": {"problem": "resnet32", "precision": precision}, "found": {"interval": 50, **found}}

    steps = [
        row("float32", seconds={"textbook": [0.8], "captured": [0.2]}),
        row("bfloat16", seconds={"textbook": [0.5], "captured": [0.1]}),
    ]
    rounds = [
        row("float32", seconds={"textbook": [10.0], "keep": [5.0]}),
        row("bfloat16", seconds={"textbook": [5.0], "keep": [2.5]}),
    ]
    page = "\n".join(in_short.report(steps, rounds))
    assert "| resnet32 | float32 | captured | 300 | 3.33 | 3.33 | 4 |" in page  # 1.0 s and 0.3 s
    assert "| resnet32 | bfloat16 | captured | 150 | 4.00 | 6.67 | 8 |" in page  # 0.6 s, 1.0 s and 0.15 s
    assert in_short.report(steps, []) == []


@pytest.mark.slow
def test_a_process_that_dies_is_replaced(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(BENCHMARKS), str(BENCHMARKS.parent)])}
    command = [sys.executable, "-c", DYING, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "measured, failed, measured, True, stopped after 0 s"


@pytest.mark.slow
def test_tests_that_ended_before_the_others_were_stopped_are_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tests = "import time\nimport pytest\n\n\n@pytest.mark.gpu\ndef test_one():\n    pass\n\n\n"
    tests += "@pytest.mark.gpu\ndef test_two():\n    time.sleep(600)\n"
    (tmp_path / "test_times.py").write_text(tests)
    monkeypatch.setattr(gpu_tests, "_places", lambda root: [str(tmp_path / "test_times.py")])
    found = gpu_tests.measure(Setup("cpu", False, tmp_path), fast=True, seconds=20)
    assert len(found["passed"]) == 1
    assert gpu_tests.line(found).endswith("stopped after 20 s")
    (row,) = [
        line for line in gpu_tests.report([{"arguments": {"fast": True}, "found": found}], {}) if "fast ones," in line
    ]
    assert row.startswith("| the fast ones, those that ended in 20 s | 1 |")


@pytest.mark.slow
def test_the_whole_command_is_killed_and_typed_again(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), *REHEARSAL, "--out", str(tmp_path)]
    process = subprocess.Popen(command)
    lines = tmp_path / "results.jsonl"
    while not (lines.exists() and lines.read_bytes().count(b"\n") >= 3):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = lines.read_bytes()
    before = before[: before.rindex(b"\n") + 1]
    subprocess.run(command, check=True)
    assert lines.read_bytes().startswith(before)
    statuses = {name: row["status"] for name, row in rows(tmp_path).items()}
    assert set(statuses) == {item.name for item in items(Setup("cpu", True, tmp_path))}
    assert set(statuses.values()) <= {"measured", "not available"}
    for module in ("meta/resnet32/float32", "runs/2", "scaling/2", "loading", "training"):
        assert statuses[module] == "measured"
