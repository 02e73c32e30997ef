"""Kill runs and multiruns, tear files, and check that nothing is lost and no number is wrong; write ENDURANCE.md.

    python benchmarks/endurance.py --out FOLDER                  # all parts in turns, to the end: hours
    python benchmarks/endurance.py --out FOLDER --minutes 30     # for half an hour; type it again to continue
    python benchmarks/endurance.py --out FOLDER --part torn --again   # repeat what gave other numbers
    python benchmarks/endurance.py --out FOLDER --minutes 0 --table benchmarks/ENDURANCE.md   # only the table

Every trial is a line of FOLDER/trials.jsonl as soon as it is known. Linux only. The machine may have other work.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # before torch and numpy are imported: threads do not fork
    os.environ[variable] = "1"
os.environ |= {"COLUMNS": "300", "WANDB_MODE": "disabled", "MPLBACKEND": "Agg"}  # long lines keep file names whole
sys.path.insert(0, str(Path(__file__).parents[1]))

PARTS = ("kills", "parents", "torn")
RECORDS, TABLE = "trials.jsonl", "ENDURANCE.md"


def main() -> None:
    """Make trials until the time is over or all are made, and write the table."""
    arguments = _parse_arguments()
    import typed
    from endurance_table import describe, faults_of, write_table
    from measuring import read_records

    typed.prepare()
    arguments.out.mkdir(parents=True, exist_ok=True)
    os.environ["MCL_CACHE"] = str(arguments.out / "cache")
    records = read_records(arguments.out / RECORDS)
    end = time.monotonic() + 60 * arguments.minutes
    parts = {part: Part(part, arguments.out, records, again=arguments.again) for part in arguments.part or PARTS}
    while time.monotonic() < end and (waiting := [part for part in parts.values() if not part.finished]):
        part = min(waiting, key=lambda part: part.seconds)  # the parts have equal shares of the time
        if (record := part.next_record()) is not None:
            records.append(record)
            with open(arguments.out / RECORDS, "a") as file:
                file.write(json.dumps(record) + "\n")
            print(describe(record), flush=True)
            write_table(records, arguments.table or arguments.out / TABLE)
    write_table(records, arguments.table or arguments.out / TABLE)
    print(arguments.table or arguments.out / TABLE)
    sys.exit(any(faults_of(record) for record in records))


class Part:
    """One kind of trials.

    Args:
        name: one of PARTS.
        out: folder of all files.
        records: of all parts so far.
        again: whether to repeat torn files that gave other numbers or a fault.
    """

    def __init__(self, name: str, out: Path, records: list[dict[str, Any]], *, again: bool):
        from importlib import import_module

        from endurance_table import is_unsettled

        from mcl.version import code_version

        self.name = name
        self.finished = False
        self.code = code_version()
        self.seconds = 0.0  # that its trials have taken
        (out / name).mkdir(exist_ok=True)
        ours = [record for record in records if record["part"] == name]
        kept = [record for record in ours if not (again and is_unsettled(record))]
        self._trials: Iterator[dict[str, Any]] = import_module(name).trials(kept, out / name)

    def next_record(self) -> dict[str, Any] | None:
        """Make the next trial; None if there is none left."""
        start = time.monotonic()
        trial = next(self._trials, None)
        self.seconds += time.monotonic() - start
        if trial is None:
            self.finished = True
            return None
        code = f"{self.code['version']} {self.code['commit'][:10]}{'+' if self.code['dirty'] else ''}"
        return {"part": self.name, "code": code, "at": time.strftime("%Y-%m-%d %H:%M:%S"), **trial}


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of all files; type it again to continue")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many; default: at the end")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this one; repeat for more")
    parser.add_argument("--again", action="store_true", help="repeat torn files that gave other numbers or a fault")
    parser.add_argument("--table", type=Path, help=f"default: OUT/{TABLE}")
    arguments = parser.parse_args()
    arguments.out = arguments.out.resolve()
    return arguments


if __name__ == "__main__":
    main()
