"""Speed of training beside the reference implementation: measures and writes RESULTS.md and results.json.

    python benchmarks/run.py               # all parts
    python benchmarks/run.py whole loop    # these alone: the others keep the figures they have

Ours and the textbook take turns; figures are medians. Nothing else should be running.
"""

import argparse
import json
import os
import re
import sys
from dataclasses import asdict, fields
from importlib import import_module
from pathlib import Path
from typing import Any

from measuring import Options, apart, circumstances, measured

from mcl.files import write_atomically
from mcl.version import code_version

HERE = Path(__file__).parent
PARTS = ("whole", "contrast", "meta_round", "memory_bank", "loop", "growth", "startup")  # modules of this folder
HEAD = """# Speed: ours beside the textbook

The textbook (`mcl/reference/`) is the same training as one would first write it: loops over ordered pairs of networks
and stages, one number fetched at a time, images through PIL one by one, float32, a meta round by copies of the states.
`tests/reference` holds ours to its numbers, to 1e-9 in float64. Here both take turns, on the CPU; figures are medians,
and `results.json` has every single one.

`python benchmarks/run.py` measures all of this anew, `python benchmarks/run.py PART` a part of it.
"""


def main() -> None:
    given, options = _arguments()
    results: dict[str, Any] = {}
    if (file := given.out / "results.json").is_file():
        results = json.loads(file.read_text())
    code = code_version()  # before the results of the first part lie there uncommitted
    failed = []
    for part in given.parts:
        print(f"measuring {part} ...", file=sys.stderr, flush=True)
        try:
            results[part] = apart(measured, part=part, options=asdict(options), code=code)
        except RuntimeError as error:
            print(f"{part}: {error}", file=sys.stderr)
            failed.append(part)
            continue
        _write(results, given.out)
    _write(results, given.out)
    print(given.out / "RESULTS.md")
    if failed:
        sys.exit(f"without figures: {', '.join(failed)}")


def _arguments() -> tuple[argparse.Namespace, Options]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (all)")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results (this one)")
    parser.add_argument("--threads", type=int, help="of PyTorch (as many as it takes by itself)")
    parser.add_argument("--tiny", action="store_true", help="small sizes, to see that all works; needs --out")
    parser.add_argument("--rewrite", action="store_true", help="measure nothing, write RESULTS.md from results.json")
    for field in fields(Options):
        small = field.metadata["tiny"]
        usual = f"{field.default}" + (f", tiny {small}" if small != field.default else "")
        parser.add_argument(
            f"--{field.name.replace('_', '-')}", type=type(field.default), help=f"{field.metadata['help']} ({usual})"
        )
    given = parser.parse_args()
    if wrong := [part for part in given.parts if part not in PARTS]:
        parser.error(f"no such part: {', '.join(wrong)}. There are {', '.join(PARTS)}.")
    if given.tiny and given.out == HERE:
        parser.error("--tiny makes figures that mean nothing: give another folder with --out.")
    if given.threads:
        os.environ["OMP_NUM_THREADS"] = str(given.threads)  # of all the processes that measure
    given.parts = [] if given.rewrite else given.parts or list(PARTS)
    given.out.mkdir(parents=True, exist_ok=True)
    usual = {field.name: field.metadata["tiny"] if given.tiny else field.default for field in fields(Options)}
    typed = {name: value for name in usual if (value := getattr(given, name)) is not None}
    return given, Options(**{**usual, **typed})


def _write(results: dict[str, Any], folder: Path) -> None:
    text = json.dumps({part: results[part] for part in PARTS if part in results}, indent=1)
    text = re.sub(r"\[[^][{}]*\]", lambda found: " ".join(found[0].split()), text)  # a list of numbers is one line
    write_atomically(folder / "results.json", text + "\n")
    lines = [HEAD]
    for part in PARTS:
        module = import_module(part)
        lines += [f"## {module.TITLE}", ""]
        if part not in results:
            lines += ["Not measured yet.", ""]
            continue
        try:
            lines += [*module.report(results[part], folder), f"<sub>{circumstances(results[part])}</sub>", ""]
        except (KeyError, TypeError):  # figures of an earlier form of this part
            lines += [f"To be measured again: `python benchmarks/run.py {part}`.", ""]
    write_atomically(folder / "RESULTS.md", "\n".join(lines))


if __name__ == "__main__":
    main()
