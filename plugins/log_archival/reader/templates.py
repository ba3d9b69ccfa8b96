"""The command ``log-archival templates``: the files of include/, which an installed package brings along."""

import argparse
from pathlib import Path

import log_archival
from log_archival.exceptions import LogArchivalError

_PACKAGE = Path(log_archival.__file__).parent
_DESCRIPTION = "Writes the CloudFormation templates of both accounts, and an example of archive.yaml."
_EPILOG = "exit status: 0 all files are there; 2 the command failed. Sends no request, and needs no credentials."


def add_templates_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the arguments of ``log-archival templates``.

    :param commands: the command line's
    """
    parser = commands.add_parser(
        "templates", help="write the CloudFormation templates", description=_DESCRIPTION, epilog=_EPILOG
    )
    parser.add_argument("--to", required=True, metavar="DIR", help="the folder to write into, created if need be")
    parser.add_argument("--overwrite", action="store_true", help="replace files in DIR that differ from the package's")
    parser.set_defaults(json=False)


def run_templates(options: argparse.Namespace) -> int:
    """Write the files, print their names, and return the exit status.

    :param options: the arguments
    :raises LogArchivalError: when a file of another content exists, or can't be written
    """
    for path in write_templates(Path(options.to), overwrite=options.overwrite):
        print(path, flush=True)
    return 0


def write_templates(folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Write the templates and archive.yaml into a folder, and return their paths.

    :param folder: created if need be
    :param overwrite: replace files that differ; otherwise they are an error, and nothing is written
    :raises LogArchivalError: when a file of another content exists, or can't be written
    """
    shipped = _shipped_folder()
    contents = {folder / path.relative_to(shipped): path.read_bytes() for path in sorted(shipped.rglob("*.yaml"))}
    try:
        different = [path for path, content in contents.items() if path.exists() and path.read_bytes() != content]
        if different and not overwrite:
            raise LogArchivalError(
                f"nothing was written, since these exist with another content: {', '.join(map(str, different))}",
                hint="Name another folder with --to, or replace them with --overwrite.",
            )
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except OSError as error:
        raise LogArchivalError(f"can't write {error.filename}: {error.strerror}") from None
    return list(contents)


def _shipped_folder() -> Path:
    """Return the folder of the templates: in the installed package, or include/ beside the repository's plugins/."""
    for folder in (_PACKAGE / "templates", _PACKAGE.parents[1] / "include"):
        if (folder / "cloudformation").is_dir():
            return folder
    raise LogArchivalError(
        f"the templates are neither in {_PACKAGE} nor in a folder include/ beside {_PACKAGE.parent}",
        hint="Install the package (pip install log-archival), or copy include/ from the repository.",
    )
