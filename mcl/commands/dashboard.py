"""``python -m mcl dashboard``: build the panels of a W&B project."""

import argparse
from pathlib import Path

HELP = "Write a W&B workspace for the runs of a project to a file, and upload it when logged in."
EPILOG = """\
The file holds the workspace in W&B's own form. Panels: accuracy, loss terms, matching, cost, comparison.

  python -m mcl dashboard
  python -m mcl dashboard --project digits --networks 3 --offline"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``dashboard``."""
    parser.add_argument("--project", help="W&B project; default: WANDB_PROJECT, else mcl")
    parser.add_argument("--entity", help="team or user of the project; default: that of the login")
    parser.add_argument("--networks", type=int, default=2, help="networks of a run; default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("dashboard.json"), metavar="FILE", help="default: %(default)s")
    parser.add_argument("--offline", action="store_true", help="only write the file")


def run(arguments: argparse.Namespace) -> int:
    """Write the file, upload the workspace when logged in, and print where both are."""
    from mcl.errors import UserError
    from mcl.extras import require

    require("dashboard", asked="python -m mcl dashboard")
    keys = ("first", "second", "third", "fourth", "fifth", "sixth")
    if not 1 <= arguments.networks <= len(keys):
        raise UserError(f"--networks {arguments.networks}: must be from 1 to {len(keys)}.")
    import wandb

    from mcl.console import display_path
    from mcl.files import write_atomically
    from mcl.tracking.wandb_session import project_of
    from mcl.tracking.wandb_workspace import workspace

    logged_in = not arguments.offline and wandb.login(prompt=False, verify=False)
    entity = arguments.entity or (wandb.Api().default_entity if logged_in else "") or ""
    project = arguments.project or project_of(wandb.setup(wandb.Settings(silent=True)).settings)
    built = workspace(project, entity, keys[: arguments.networks])
    write_atomically(
        arguments.out, built._to_model().model_dump_json(by_alias=True, exclude_none=True, indent=2) + "\n"
    )
    print(display_path(arguments.out))
    if arguments.offline:
        return 0
    if not logged_in:
        print("W&B: not logged in, so it was not uploaded. To log in: wandb login")
        return 0
    try:
        built.save()
    except Exception as error:  # from requests, W&B or GraphQL
        raise UserError(f"W&B did not accept the dashboard: {error}") from error
    print(built.url)
    return 0
