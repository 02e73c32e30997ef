"""``python -m mcl push``: hand the networks of a run on, in the layout of Hugging Face's Hub."""

import argparse
from pathlib import Path

from mcl.commands.arguments import add_run, check_out

HELP = "Write the networks of a run to a folder in Hugging Face's layout, or to a repository of its Hub."
EPILOG = """\
examples:

  python -m mcl push RUN --to ./resnet8
  python -m mcl push RUN --to my-user/resnet8 --dry-run
  python -m mcl push RUN --to my-user/resnet8

model.safetensors and config.json are the deployed network; the other networks, run.json and README.md, the card, lie
beside them. mcl.from_pretrained("my-user/resnet8") or mcl.from_pretrained("./resnet8") loads the network again. Nothing
is uploaded unless you are logged in: hf auth login."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``push``."""
    add_run(parser)
    parser.add_argument(
        "--to",
        required=True,
        metavar="PLACE",
        help="a folder, such as ./resnet8, or a repository, user/name, if no folder user exists here",
    )
    parser.add_argument("--license", default="MIT", help="SPDX identifier for the card; default: %(default)s")
    parser.add_argument("--private", action="store_true", help="a repository that is created is private")
    parser.add_argument("--dry-run", action="store_true", help="only list the files")


def run(arguments: argparse.Namespace) -> int:
    """Write the folder, check it, upload it if it goes to the Hub, and print what it holds."""
    import tempfile

    from mcl.console import display_path
    from mcl.deploy.hub import check_login, push_facts, repository, upload
    from mcl.deploy.release import write_release
    from mcl.deploy.release_card import check_license
    from mcl.deploy.saved_run import SavedRun
    from mcl.errors import UserError
    from mcl.runs.received import file_name

    license, name = check_license(arguments.license), repository(arguments.to)
    folder = Path(arguments.to)
    if name is None:
        check_out(folder, option="--to ")
        if arguments.private:
            raise UserError(f"--private: {folder} is a folder, and nothing is uploaded. Leave --private out.")
    elif not arguments.dry_run:
        check_login(name)
    saved = SavedRun(arguments.run, allow=arguments.allow, allow_older=arguments.allow_older)
    facts = push_facts(saved, name or file_name(folder.resolve().name), license)
    with tempfile.TemporaryDirectory() as temporary:
        apart = name is not None or arguments.dry_run
        files = write_release(saved, Path(temporary, "files") if apart else folder, facts)
        for file in files:
            print(f"{file.name}  {file.stat().st_size / 1e6:.2f} MB")
        if arguments.dry_run:
            print(f"dry run: nothing was written to {name or display_path(folder)}")
        elif name is not None:
            print(upload(Path(temporary, "files"), name, private=arguments.private))
        else:
            print(display_path(folder))
    return 0
