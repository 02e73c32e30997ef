"""``python -m mcl latency``: how fast exported files are on this CPU."""

import argparse
from pathlib import Path

from mcl.commands.arguments import check_out, require_at_least

HELP = "How fast exported files classify on this CPU: one image, and batches; several files in turns."
EPILOG = """\
examples:

  python -m mcl latency RUN/export/first-resnet32.onnx
  python -m mcl latency RUN/export/*.onnx --threads 2

ONNX files run in onnxruntime, .pt and .safetensors files in PyTorch, both on the CPU. Files take turns, call by call,
so ratios hold on a machine that other programs use, too; milliseconds do not. An int8 file is compared with its
float32 file if that is named, too; any other file with the first. A deviation is the median absolute deviation from
the median."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``latency``."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="exported files")
    parser.add_argument("--threads", type=int, default=1, help="threads of each file; default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=64, metavar="N", help="images in a batch; default: 64")
    parser.add_argument("--turns", type=int, default=200, metavar="N", help="timed calls; default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results as JSON")
    parser.add_argument(
        "--allow", action="append", default=[], metavar="MODULE", help="a module of yours that a file may build from"
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure, print a table, and write the file."""
    import json
    from dataclasses import asdict

    from mcl.errors import UserError

    for option, value in {"threads": arguments.threads, "batch-size": arguments.batch_size}.items():
        require_at_least(1, f"--{option}", value)
    require_at_least(3, "--turns", arguments.turns)
    check_out(arguments.json, is_file=True, option="--json ")
    for file in arguments.files:
        if not file.is_file():
            raise UserError(f"{file}: there is no such file. Name files that python -m mcl export wrote.")

    from mcl.benchmarking.exported_speed import measure_latency
    from mcl.console import announced, display_path, make_console, plain_table, pluralize, print_table
    from mcl.files import write_atomically

    with announced(f"timing {pluralize(len(arguments.files), 'file')}"):
        results = measure_latency(
            arguments.files,
            batch_size=arguments.batch_size,
            threads=arguments.threads,
            turns=arguments.turns,
            allow=arguments.allow,
        )
    console = make_console()
    batch = f"images/s, {arguments.batch_size} at once"
    headers = ["in", "MB", "one image, ms", batch, "times as fast: one image", "batch", "as file"]
    table = plain_table(pluralize(arguments.threads, "thread"), numbers=headers)
    for number, each in enumerate(results, 1):
        one_image = f"{each.milliseconds:.3f} ± {each.deviation:.3f}"
        in_batches = f"{each.images_per_second:,.0f} ± {each.images_per_second_deviation:,.0f}"
        size, ratios = f"{each.bytes / 1e6:.2f}", (f"{each.speedup:.2f}", f"{each.batch_speedup:.2f}")
        reference = str(arguments.files.index(each.reference) + 1)
        name = f"{number} {each.path.name}"
        table.add_row(name, each.runtime, size, one_image, in_batches, *ratios, reference)
    print_table(console, table)
    console.print("\nmedian ± median absolute deviation; times as fast: median of the ratios of all turns", style="dim")
    if arguments.json is not None:
        shown = ("path", "reference")
        values = [asdict(each) | {name: display_path(getattr(each, name)) for name in shown} for each in results]
        settings = {name: getattr(arguments, name) for name in ("threads", "batch_size", "turns")}
        write_atomically(arguments.json, json.dumps(settings | {"files": values}, indent=2) + "\n")
        console.print(display_path(arguments.json), style="dim", soft_wrap=True)
    return 0
