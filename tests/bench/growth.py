"""Growth: the time of one task against bytes and against files. Linear is a slope of 1."""

from __future__ import annotations

import math
import shutil
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.bench import corpus
from tests.bench.harness import Bench
from tests.bench.report import Section, Target
from tests.bench.small import SIZE_BYTES
from tests.bench.variants import Variant, in_turns

LARGE_FILES = 16
#: More objects than this are archived once only.
MANY_OBJECTS = 50_000


@dataclass(frozen=True)
class _Series:
    """The same work in growing amounts; each is a multiple of the first.

    :param write: writes that much into a folder, and returns the number of files
    """

    what: str
    amounts: Sequence[int]
    write: Callable[[int, Path], int]

    def scaled(self, bench: Bench) -> list[int]:
        first = bench.scaled(self.amounts[0], at_least=20)
        return [first * (amount // self.amounts[0]) for amount in self.amounts]


SERIES = (
    _Series(
        f"bytes, in {LARGE_FILES} files",
        (64 << 20, 256 << 20, 1 << 30),
        lambda amount, folder: len(corpus.large_files(folder, amount, LARGE_FILES)),
    ),
    _Series(
        "files of 8 KiB",
        (1_000, 10_000, 100_000),
        lambda amount, folder: len(corpus.small_files(folder, amount, SIZE_BYTES)),
    ),
)


def measure(bench: Bench) -> Section:
    """Measure both."""
    section = Section("growth", "one task, against bytes and files", ("what", "amount", "seconds", "per second"))
    for series in SERIES:
        _measure_series(bench, section, series)
    return section


def _measure_series(bench: Bench, section: Section, series: _Series) -> None:
    folder = bench.new_folder("growth")
    amounts = series.scaled(bench)
    variants = []
    for amount in amounts:
        bench.log(f"writing {amount:,} {series.what} ...")
        objects = series.write(amount, folder / str(amount))
        archive = partial(_archive, bench, folder / str(amount))
        variants.append(Variant(f"{amount:,}", archive, objects=objects, most=1 if objects > MANY_OBJECTS else None))
    with bench.bucket() as bucket:
        variants[0].work(bucket)  # what a process loads when it is first used is no part of the growth
    seconds = [measured.median or 0.0 for measured in in_turns(bench, variants).values()]
    for amount, taken in zip(amounts, seconds, strict=True):
        section.rows.append({"what": series.what, "amount": amount, "seconds": taken, "per second": amount / taken})
    section.targets.append(Target(f"slope over {series.what}, log-log", slope(amounts, seconds), 1.1, at_most=True))
    shutil.rmtree(folder)


def _archive(bench: Bench, logs: Path, bucket: str) -> float:
    (worker,) = bench.workers()
    return worker.seconds("put_files", paths=[f"{logs}/**/*.log"], bucket=bucket, day=corpus.DAY_KEY)


def slope(amounts: Sequence[float], seconds: Sequence[float]) -> float:
    """Return the exponent with which the time grows: of the straight line through the logarithms."""
    x, y = [math.log(amount) for amount in amounts], [math.log(taken) for taken in seconds]
    return statistics.linear_regression(x, y).slope
