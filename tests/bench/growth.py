"""Growth: the time of one task against bytes and against files. Linear is a slope of 1."""

from __future__ import annotations

import math
import shutil
import statistics
from collections.abc import Sequence
from pathlib import Path

from tests.bench import corpus
from tests.bench.harness import Bench, Variant, in_turns
from tests.bench.large import DAY
from tests.bench.report import Section, Target
from tests.bench.small import SIZE

BYTES = (64 << 20, 256 << 20, 1 << 30)
FILES = (1_000, 10_000, 100_000)


def measure(bench: Bench) -> Section:
    """Measure both."""
    section = Section("growth", "one task, against bytes and files", ("what", "amount", "seconds", "per second"))
    folder = bench.folder_for("growth")
    (worker,) = bench.workers()

    def large(amount: int, into: Path) -> int:
        return len(corpus.large_files(into, amount, 16))

    def small(amount: int, into: Path) -> int:
        return len(corpus.small_files(into, amount, SIZE))

    for what, amounts, write in (("bytes, in 16 files", BYTES, large), ("files of 8 KiB", FILES, small)):
        first = max(int(amounts[0] * bench.scale), 20)
        scaled = [first * (amount // amounts[0]) for amount in amounts]
        variants = []
        for amount in scaled:
            logs = folder / f"{what[:5]}-{amount}"
            bench.say(f"writing {amount:,} {what} ...")
            objects = write(amount, logs)

            def work(bucket: str, logs: Path = logs) -> float:
                answer = worker.call("put_files", paths=[f"{logs}/**/*.log"], bucket=bucket, day=DAY)
                return float(answer["seconds"])

            variants.append(Variant(f"{amount:,}", work, objects=objects, most=1 if objects > 50_000 else None))
        # The first use of a process loads what is loaded when it is first used; that is no part of the growth.
        with bench.bucket() as bucket:
            variants[0].work(bucket)
        found = in_turns(bench, variants)
        seconds = [found[f"{amount:,}"].median or 0.0 for amount in scaled]
        for amount, took in zip(scaled, seconds, strict=True):
            section.rows.append({"what": what, "amount": amount, "seconds": took, "per second": amount / took})
        section.targets.append(
            Target(f"slope over {what}, log-log", slope(scaled, seconds), 1.1, at_most=True),
        )
        shutil.rmtree(folder, ignore_errors=True)
    return section


def slope(amounts: Sequence[float], seconds: Sequence[float]) -> float:
    """The exponent with which the time grows: of the straight line through the logarithms."""
    x, y = [math.log(amount) for amount in amounts], [math.log(took) for took in seconds]
    return statistics.linear_regression(x, y).slope
