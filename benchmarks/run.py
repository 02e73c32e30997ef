"""Compare the speed of training with the reference implementation; write RESULTS.md and results.json.

    python benchmarks/run.py               # all parts
    python benchmarks/run.py whole loop    # only these; the others keep their figures

Ours and the textbook take turns; figures are medians. Nothing else should run on the machine.
"""

import argparse
import json
import os
import re
import sys
import traceback
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

from measuring import Options, in_new_process, measure_part, provenance

from mcl.files import write_atomically
from mcl.version import code_version

HERE = Path(__file__).parent
# Modules of this folder.
PARTS = ("whole", "operators", "contrast", "meta_round", "memory_bank", "loop", "growth", "startup", "first_run")
HEAD = """# Speed: ours compared with the textbook

The textbook (`mcl/reference/`) is the same training as one would first write it: loops over ordered pairs of networks
and stages, one number fetched at a time, images through PIL one by one, float32, a meta round by copies of the states.
`tests/reference` checks that ours gives the same numbers, to 1e-9 in float64. Here both take turns, on the CPU; figures
are medians, and `results.json` has every measurement.

`python benchmarks/run.py` measures everything again, `python benchmarks/run.py PART` one part.
"""


def main() -> None:
    arguments, options = _parse_arguments()
    results: dict[str, Any] = {}
    if (file := arguments.out / "results.json").is_file():
        results = json.loads(file.read_text())
    code = code_version()  # before the results of the first part make the checkout dirty
    failed = []
    for part in arguments.parts:
        print(f"measuring {part} ...", file=sys.stderr, flush=True)
        try:
            results[part] = in_new_process(measure_part, part, options, code)
        except Exception:  # the other parts are measured all the same
            traceback.print_exc()
            failed.append(part)
            continue
        _write(results, arguments.out)
    _write(results, arguments.out)
    print(arguments.out / "RESULTS.md")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _parse_arguments() -> tuple[argparse.Namespace, Options]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; default: all")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results; default: this one")
    parser.add_argument("--threads", type=int, help="threads of PyTorch; default: its own choice")
    parser.add_argument("--tiny", action="store_true", help="check with small sizes that everything runs; needs --out")
    parser.add_argument("--rewrite", action="store_true", help="measure nothing, write RESULTS.md from results.json")
    for field in fields(Options):
        tiny = field.metadata["tiny"]
        default = f"{field.default}" + (f", tiny {tiny}" if tiny != field.default else "")
        parser.add_argument(
            f"--{field.name.replace('_', '-')}", type=type(field.default), help=f"{field.metadata['help']} ({default})"
        )
    arguments = parser.parse_args()
    if unknown := [part for part in arguments.parts if part not in PARTS]:
        parser.error(f"unknown part: {', '.join(unknown)}. Choose from {', '.join(PARTS)}.")
    if arguments.tiny and arguments.out == HERE:
        parser.error("--tiny gives meaningless figures: give another folder with --out.")
    if arguments.threads:
        os.environ["OMP_NUM_THREADS"] = str(arguments.threads)  # inherited by every process that measures
    if arguments.rewrite:
        arguments.parts = []
    elif not arguments.parts:
        arguments.parts = list(PARTS)
    arguments.out.mkdir(parents=True, exist_ok=True)
    values = {field.name: field.metadata["tiny"] if arguments.tiny else field.default for field in fields(Options)}
    typed = {name: value for name in values if (value := getattr(arguments, name)) is not None}
    return arguments, Options(**{**values, **typed})


def _write(results: dict[str, Any], folder: Path) -> None:
    text = json.dumps({part: results[part] for part in PARTS if part in results}, indent=1)
    text = re.sub(r"\[[^][{}]*\]", lambda match: " ".join(match[0].split()), text)  # a list of numbers on one line
    write_atomically(folder / "results.json", text + "\n")
    lines = [HEAD]
    for part in PARTS:
        module = import_module(part)
        lines += [f"## {module.TITLE}", ""]
        if part not in results:
            lines += ["Not measured yet.", ""]
            continue
        try:
            lines += [*module.report(results[part], folder), f"<sub>{provenance(results[part])}</sub>", ""]
        except (KeyError, TypeError):  # measured by an earlier version of this part
            lines += [f"Measure again: `python benchmarks/run.py {part}`.", ""]
    write_atomically(folder / "RESULTS.md", "\n".join(lines))


if __name__ == "__main__":
    main()
