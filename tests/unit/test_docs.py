"""The documentation: its links lead somewhere, its commands and its code exist, and no setting is left out."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from log_archival.config import Settings

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]

for_each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def code_blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.M), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@for_each_page
def test_links_lead_to_existing_files_and_headings(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@for_each_page
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    # In code only, since "make" is an English word, too.
    code = "\n".join([*re.findall(r"`([^`\n]+)`", page.read_text()), *code_blocks(page, r"\w*")])
    commands = re.findall(r"^(?:\$ )?make ([^#\n]*)", code, re.MULTILINE)
    named = {word for command in commands for word in re.sub(r'[A-Z]+=("[^"]*"|\S+)', "", command).split()}
    assert named <= targets


def names_in(module: str) -> set[str]:
    """Return what a module defines and imports, without importing it: Airflow takes seconds."""
    path = (ROOT / "plugins").joinpath(*module.split("."))
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    nodes = ast.parse(source.read_text()).body
    imported = {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    return imported | {node.name for node in nodes if isinstance(node, ast.ClassDef | ast.FunctionDef)}


@for_each_page
def test_python_examples_compile_and_import_what_exists(page: Path) -> None:
    for block in code_blocks(page, "python"):
        compile(block, page.name, "exec")
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("log_archival"):
                assert {alias.name for alias in node.names} <= names_in(node.module)


def test_readme_shows_the_operator_in_a_dag() -> None:
    assert any("CrossAccountPutOperator(" in block for block in code_blocks(ROOT / "README.md", "python"))


def settings_fields(model: type[BaseModel]) -> list[str]:
    fields: list[str] = []
    for name, field in model.model_fields.items():
        fields.append(name)
        for annotation in (field.annotation, *get_args(field.annotation)):
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                fields += settings_fields(annotation)
    return fields


@pytest.mark.parametrize("field", settings_fields(Settings))
def test_settings_are_all_in_the_shipped_file(field: str) -> None:
    # In a comment when it is left out by default.
    assert re.search(rf"^ *(- |# )?{field}:", (ROOT / "include" / "archive.yaml").read_text(), re.MULTILINE)
