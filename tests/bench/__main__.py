"""`make bench`, with its arguments in ARGS: `make bench ARGS="--only large small --scale 0.1"`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "include"), str(ROOT / "plugins")]

from tests.bench import airflow_runs, growth, large, memory, peers, repeat, small  # noqa: E402
from tests.bench.harness import Bench  # noqa: E402
from tests.bench.report import Section  # noqa: E402
from tests.support.seaweed import Seaweed  # noqa: E402

SECTIONS: dict[str, Callable[[Bench], Section]] = {
    "large": large.measure,
    "small": small.measure,
    "airflow": airflow_runs.measure,
    "memory": memory.measure,
    "growth": growth.measure,
    "repeat": repeat.measure,
}


def main(arguments: Sequence[str] | None = None) -> list[Section]:
    """Measure, print the tables, write bench.json."""
    options = _options(arguments)
    begin = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=options.dir) as name,
        Seaweed.start(options.dir) as store,
        Bench(store, Path(name), repeat=options.repeat, scale=options.scale) as bench,
    ):
        bench.tools = peers.find_tools(bench.say, install=not options.no_install)
        missing = sorted({*peers.PYPI, *peers.SYSTEM} - set(bench.tools))
        sections = []
        for section in options.only:
            bench.say(f"{section} ...")
            sections.append(SECTIONS[section](bench))
            print(sections[-1], flush=True)
    if missing:
        print(f"\nMissing, and left out: {', '.join(missing)}. pigz and zstd are packages of the system.")
    if options.scale < 1:
        print("\nThe targets are meant for --scale 1: with less work, the start of a client outweighs it.")
    document = {
        "machine": {
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "settings": {"repeat": options.repeat, "scale": options.scale},
        "missing": missing,
        "seconds": round(time.monotonic() - begin),
        "sections": {section.name: section.to_dict() for section in sections},
    }
    options.output.write_text(json.dumps(document, indent=2) + "\n")
    print(f"\nmeasured in {document['seconds']} s; the figures are in {options.output}")
    return sections


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION", help=", ".join(SECTIONS)
    )
    parser.add_argument("--repeat", type=int, default=3, help="runs of each; the table has their median (%(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="of the bytes and the files (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="the same as --repeat 1 --scale 0.1")
    parser.add_argument("--dir", type=Path, help="where the logs and the store's data go; the system's by default")
    parser.add_argument("--output", type=Path, default=Path("bench.json"), help="(%(default)s)")
    parser.add_argument("--no-install", action="store_true", help="use only the tools that are there")
    options = parser.parse_args(arguments)
    if options.quick:
        options.repeat, options.scale = 1, 0.1
    return options


if __name__ == "__main__":
    main()
