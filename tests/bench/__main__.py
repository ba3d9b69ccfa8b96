"""`make bench`, with its arguments in ARGS: `make bench ARGS="--only large small --scale 0.1"`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.bench import airflow_runs, bundles, dag, growth, large, latency, memory, peers, small, staging
from tests.bench.harness import Bench
from tests.bench.report import Section
from tests.support.seaweed import Seaweed

SECTIONS: dict[str, Callable[[Bench], Section]] = {
    "large": large.measure,
    "small": small.measure,
    "latency": latency.measure,
    "bundles": bundles.measure,
    "dag": dag.measure,
    "staging": staging.measure,
    "airflow": airflow_runs.measure,
    "memory": memory.measure,
    "growth": growth.measure,
}


def main(arguments: Sequence[str] | None = None) -> list[Section]:
    """Measure, print the tables, write bench.json."""
    options = _parse(arguments)
    begin = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=options.dir) as name,
        Seaweed.start(options.dir) as store,
        Bench(store, Path(name), options.repeat, options.scale, options.delay_ms / 1000) as bench,
    ):
        bench.tools = peers.find_tools(bench.log, install=not options.no_install)
        sections = []
        for section in options.only:
            bench.log(f"{section} ...")
            sections.append(SECTIONS[section](bench))
            print(sections[-1], flush=True)
    missing = sorted({*peers.PYPI, *peers.SYSTEM} - set(bench.tools))
    if missing:
        print(f"\nMissing, and left out: {', '.join(missing)}. pigz and zstd are packages of the system.")
    if options.scale < 1:
        print("\nThe targets are meant for --scale 1: with less work, the start of a client outweighs it.")
    seconds = round(time.monotonic() - begin)
    document = {
        "machine": _machine(),
        "settings": {"repeat": options.repeat, "scale": options.scale, "delay_ms": options.delay_ms},
        "missing": missing,
        "seconds": seconds,
        "sections": {section.name: section.to_dict() for section in sections},
    }
    options.output.write_text(json.dumps(document, indent=2) + "\n")
    print(f"\nmeasured in {seconds} s; the figures are in {options.output}")
    return sections


def _machine() -> dict[str, Any]:
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION", help=", ".join(SECTIONS)
    )
    parser.add_argument("--repeat", type=int, default=3, help="runs of each; the table has their median (%(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="of the bytes and the files (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="the same as --repeat 1 --scale 0.1")
    parser.add_argument(
        "--delay-ms",
        type=float,
        default=30,
        help="how late a store responds that is not near (%(default)s)",
    )
    parser.add_argument("--dir", type=Path, help="for the logs and the store's data; the system's by default")
    parser.add_argument("--output", type=Path, default=Path("bench.json"), help="(%(default)s)")
    parser.add_argument("--no-install", action="store_true", help="use only the tools that are installed")
    options = parser.parse_args(arguments)
    if options.quick:
        options.repeat, options.scale = 1, 0.1
    return options


if __name__ == "__main__":
    main()
