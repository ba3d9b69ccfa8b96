"""The tables of the demo: what went where, how much, and what was tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from dev.demo.checks import Refusal, Versions
from dev.demo.console import Console, human
from dev.demo.settings import DemoFolder, shown

#: By day, the key of each file's archive, and the file.
Keys = Mapping[date, Mapping[str, Path]]


def show_examples(console: Console, folder: DemoFolder, bucket: str, keys: Keys, versions: Versions) -> None:
    """The largest file of each source on the last day, where it went, and the day's manifest."""
    sizes = {key: size or 0 for (key, _), size in versions.items()}
    console.title(f"What went where, from {shown(folder.logs)} to s3://{bucket}, for example")
    largest = {
        path.relative_to(folder.logs).parts[0]: (key, path)
        for key, path in sorted(keys[max(keys)].items(), key=lambda item: item[1].stat().st_size)
    }
    for _, (key, path) in sorted(largest.items()):
        console.line(f"  {path.relative_to(folder.logs)}, {human(path.stat().st_size)}")
        console.line(f"    -> {key}, {human(sizes[key])}")
    manifest = max(key for key in sizes if "/_manifest-" in key)
    console.line(f"  and for each day a manifest, which lists its archives:\n    -> {manifest}")


def show_figures(console: Console, keys: Keys, versions: Versions, summaries: Sequence[Mapping[str, Any]]) -> None:
    """By day: files, bytes, ratio, and how many were verified at which tier."""
    sizes = {key: size or 0 for (key, _), size in versions.items()}
    told = {summary["partition"]: summary for summary in summaries}
    console.title("How much, and how sure")
    rows = [("day", "files", "objects", "raw", "stored", "ratio", "verified", "tier")]
    for day, of_day in keys.items():
        raw, stored = sum(path.stat().st_size for path in of_day.values()), sum(sizes[key] for key in of_day)
        count, verified, tier = str(len(of_day)), str(told[str(day)]["verified"]), told[str(day)]["tier"]
        rows.append((str(day), count, count, human(raw), human(stored), f"{raw / stored:.2f}", verified, tier))
    console.table(rows)
    console.line(
        "  Tier `probe`: each key is taken, which the DAG can ask with nothing but its permission to add. Whether all\n"
        "  of this is true was then looked at as the archive account's administrator: the bucket holds these objects\n"
        "  and the manifests, nothing else, and each object decompresses to its file, byte for byte."
    )


def show_refusals(console: Console, refusals: Sequence[Refusal]) -> None:
    """What was tried with the source account's credentials, and what the answer was."""
    console.title("What the source account's credentials can do besides adding logs")
    console.table([("tried", "answer"), *((refusal.tried, refusal.outcome) for refusal in refusals)])


def show_privileges(console: Console, results: Sequence[Mapping[str, Any]], not_tried: Mapping[str, str]) -> None:
    """What check_least_privilege found, a line a check."""
    console.title("What check_least_privilege has tried, the DAG that proves the role's limits where it runs")
    rows = [(one["check"], one["expected"], one["verdict"], _short(one["happened"])) for one in results]
    console.table([("check", "expected", "verdict", "what happened"), *rows])
    for name, reason in not_tried.items():
        console.line(f"  not tried: {name} ({reason})")


def _short(text: str, most: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
