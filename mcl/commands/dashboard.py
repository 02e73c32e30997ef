"""``python -m mcl dashboard``: the panels of a W&B project."""

import argparse
from pathlib import Path

HELP = "Build a W&B workspace for the runs of a project, as a file, and put it there when logged in."
EPILOG = """\
The file holds the workspace in W&B's own form. Panels: accuracy, loss terms, matching, cost, comparison.

  python -m mcl dashboard
  python -m mcl dashboard --project digits --networks 3 --offline"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be typed after ``dashboard``."""
    parser.add_argument("--project", default="mcl", help="W&B project; default: %(default)s")
    parser.add_argument("--entity", help="team or user it belongs to; default: that of the login")
    parser.add_argument("--networks", type=int, default=2, help="of a run; default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("dashboard.json"), metavar="FILE", help="default: %(default)s")
    parser.add_argument("--offline", action="store_true", help="write the file alone")


def run(arguments: argparse.Namespace) -> int:
    """Write the file, push the workspace where that can be done, and say what was done."""
    from mcl.errors import UserError
    from mcl.extras import require

    require("dashboard", asked="python -m mcl dashboard")
    keys = ("first", "second", "third", "fourth", "fifth", "sixth")
    if not 1 <= arguments.networks <= len(keys):
        raise UserError(f"--networks {arguments.networks}: from 1 to {len(keys)}.")
    import wandb

    from mcl.console import display_path
    from mcl.files import write_atomically
    from mcl.tracking.dashboard import workspace

    logged_in = not arguments.offline and wandb.login(prompt=False, verify=False)
    entity = arguments.entity or (wandb.Api().default_entity if logged_in else "") or ""
    built = workspace(arguments.project, entity, keys[: arguments.networks])
    write_atomically(
        arguments.out, built._to_model().model_dump_json(by_alias=True, exclude_none=True, indent=2) + "\n"
    )
    print(display_path(arguments.out))
    if arguments.offline:
        return 0
    if not logged_in:
        print("W&B: not logged in, so it was not put there. To log in: wandb login")
        return 0
    try:
        built.save()
    except Exception as error:  # of requests, of W&B, of GraphQL
        raise UserError(f"W&B did not take the dashboard: {error}") from error
    print(built.url)
    return 0
