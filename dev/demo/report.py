"""What the demo prints: steps with the elapsed seconds, and tables of what was archived, tried and refused."""

import re
import textwrap
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

#: By day, the key of each file's archive, and the file.
Keys = Mapping[date, Mapping[str, Path]]
_START = time.monotonic()


def step(text: str) -> None:
    """Print a step, with the elapsed seconds in front."""
    print(f"{time.monotonic() - _START:5.1f} s  {text}")


def table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows with aligned columns; columns of figures are aligned on the right."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    figures = [all(cell[:1].isdigit() or cell == "-" for cell in column[1:]) for column in columns]
    for row in rows:
        cells = zip(row, widths, figures, strict=True)
        print("  " + "  ".join(f"{c:>{w}}" if right else f"{c:<{w}}" for c, w, right in cells).rstrip())


def human(size_bytes: float) -> str:
    """Return a size for people: `12.3 MB`."""
    for unit in ("B", "kB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"


def shown(path: Path) -> str:
    """Return a path for people: relative if it is below the current folder."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def show_examples(bucket: str, logs: Path, keys: Mapping[str, Path], sizes: Mapping[str, int]) -> None:
    """Print where one day's largest file of each source went, and the name of a manifest.

    :param logs: the folder of the log files.
    :param keys: of that day, key to file.
    :param sizes: the stored bytes of each key in the bucket.
    """
    print(f"\nWhat went where, from {shown(logs)} to s3://{bucket}, for example")
    by_size = sorted(keys.items(), key=lambda item: item[1].stat().st_size)
    largest = {path.relative_to(logs).parts[0]: (key, path) for key, path in by_size}
    for _, (key, path) in sorted(largest.items()):
        print(f"  {path.relative_to(logs)}, {human(path.stat().st_size)}\n    -> {key}, {human(sizes[key])}")
    manifest = max(key for key in sizes if "/_manifest-" in key)
    print(f"  and for each day a manifest, which lists its archives:\n    -> {manifest}")


def show_figures(keys: Keys, sizes: Mapping[str, int], summaries: Mapping[str, Mapping[str, Any]]) -> None:
    """Print files, bytes, ratio and verification of each day.

    :param summaries: by day, what `verify` returned.
    """
    print("\nHow much, and how sure")
    rows = [("day", "files", "objects", "raw", "stored", "ratio", "verified", "tier")]
    for day, of_day in keys.items():
        raw, stored = sum(path.stat().st_size for path in of_day.values()), sum(sizes[key] for key in of_day)
        count, summary = str(len(of_day)), summaries[str(day)]
        figures = (human(raw), human(stored), f"{raw / stored:.2f}", str(summary["verified"]), summary["tier"])
        rows.append((str(day), count, count, *figures))
    table(rows)
    for reason in sorted({summary["tier_reason"] for summary in summaries.values() if summary["tier_reason"]}):
        print(textwrap.fill(f"Why this tier: {reason}", 118, initial_indent="  ", subsequent_indent="  "))
    print(
        "  So much the DAG can know with nothing but its permission to add. The demo has then looked as the archive\n"
        "  account's administrator: the bucket holds these objects and the manifests, nothing else, and each object\n"
        "  decompresses to its file, byte for byte."
    )


def show_privileges(log: str) -> None:
    """Print the table in the log of check_least_privilege, a row a check."""
    print("\nWhat check_least_privilege has tried, the DAG that proves the role's limits where it runs")
    found = re.search(r"^least privilege:\n(.*?)(?: level=|\Z)", log, re.DOTALL | re.MULTILINE)
    print(textwrap.indent(found[1], "  ") if found else "  no table: its task has ended before")
