"""Every import is declared: in requirements.txt, or for dev/ and tests/ in requirements-dev.txt as well.

What the command imports is declared in pyproject.toml, too, so that it can be installed without Airflow.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PLUGINS = REPOSITORY / "plugins"
OURS = {"dev", "log_archival", "log_archival_plugin", "tests"}
#: Part of the standard library from Python 3.14 on.
STANDARD = sys.stdlib_module_names | {"compression"}
#: Runs in an environment of its own.
EXEMPT = {REPOSITORY / "dev" / "local_aws" / "server.py"}
ALWAYS = ("requirements.txt",)
FOR_DEVELOPMENT = ("requirements.txt", "requirements-dev.txt", "tests/bench/requirements.txt")


def normalized(distribution: str) -> str:
    # https://packaging.python.org/en/latest/specifications/name-normalization/
    return re.sub(r"[-_.]+", "-", distribution).lower()


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements below a node. Most of a tree are expressions, which import nothing."""
    for name in ("body", "handlers", "orelse", "finalbody", "cases"):
        for child in getattr(node, name, []):
            yield child
            yield from statements(child)


def imported(path: Path) -> Iterator[str]:
    """Yield the top-level modules that a file imports from elsewhere."""
    for node in statements(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def declared(*requirements: str) -> set[str]:
    lines = [line for name in requirements for line in (REPOSITORY / name).read_text().splitlines()]
    return {normalized(match[0]) for line in lines if (match := re.match(r"[A-Za-z0-9][\w.-]*", line))}


@cache
def distributions(module: str) -> set[str]:
    """Return the names of the distributions that a module may come from; its own name when it isn't installed."""
    return {normalized(name) for name in _installed().get(module, [module])}


@cache
def _installed() -> dict[str, list[str]]:
    return dict(packages_distributions())


@pytest.mark.parametrize(
    ("folder", "requirements"),
    [("plugins", ALWAYS), ("dags", ALWAYS), ("dev", FOR_DEVELOPMENT), ("tests", FOR_DEVELOPMENT)],
    ids=["plugins", "dags", "dev", "tests"],
)
def test_imports_are_declared(folder: str, requirements: tuple[str, ...]) -> None:
    known = declared(*requirements)
    undeclared = [
        f"{path.relative_to(REPOSITORY)}: {module}"
        for path in sorted((REPOSITORY / folder).rglob("*.py"))
        if path not in EXEMPT
        for module in sorted({*imported(path)} - STANDARD - OURS)
        if not distributions(module) & known
    ]
    assert undeclared == []


def base_requirements() -> list[str]:
    requirements: list[str] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["dependencies"]
    return requirements


def files_of(module: str) -> Iterator[Path]:
    """Yield the files that are read when a module of ours is imported: its own, and those of its packages."""
    parts = module.split(".")
    for length in range(1, len(parts) + 1):
        path = PLUGINS.joinpath(*parts[:length])
        yield from (file for file in (path / "__init__.py", path.with_suffix(".py")) if file.exists())


def our_imports(path: Path) -> Iterator[str]:
    """Yield what of this package a file imports, wherever in the file. `from x import y` may name a module, too."""
    for node in statements(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("log_archival"):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("log_archival"))


def closure(module: str) -> set[Path]:
    """Return the files of a module, and of all that it imports of this package."""
    found: set[Path] = set()
    new = set(files_of(module))
    while new:
        found |= new
        new = {file for path in new for name in our_imports(path) for file in files_of(name)} - found
    return found


def test_imports_of_the_command_are_its_dependencies() -> None:
    files = closure("log_archival.reader.cli")
    assert PLUGINS / "log_archival" / "reader" / "commands.py" in files  # which is imported in a function
    modules = {module for path in files for module in imported(path)} - STANDARD - OURS
    needed = {frozenset(distributions(module)) for module in modules}
    known = {normalized(re.split(r"[^\w.-]", requirement)[0]) for requirement in base_requirements()}
    assert [names for names in needed if not names & known] == []
    assert [name for name in known if not any(name in names for names in needed)] == []


def test_dependencies_of_the_command_have_the_bounds_that_are_tested() -> None:
    lines = (REPOSITORY / "requirements.txt").read_text().replace('"', "'").splitlines()
    # `pip install` beside Airflow 3.0, for the operators, keeps the botocore that its provider has.
    [oldest] = re.findall(r"^botocore==(\S+)$", (REPOSITORY / "dev" / "airflow_3_0.lock").read_text(), re.MULTILINE)
    assert [one for one in base_requirements() if one not in [*lines, f"botocore>={oldest}"]] == []
    assert f"botocore>={oldest}" in base_requirements()
