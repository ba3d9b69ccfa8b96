"""Measuring what is compared: in turns, each time into a fresh bucket, and counting what has arrived."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.bench.harness import Bench, BenchError


@dataclass(frozen=True)
class Variant:
    """One way to do the same work.

    :param name: as in the table
    :param work: does it, given a bucket; returns its seconds when only part of the work counts, None when all does
    :param needs: the tools without which it can't run
    :param objects: how many objects it has to upload; None when it uploads none
    :param most: how often to run it at most, when it is too slow to run as often as the others
    """

    name: str
    work: Callable[[str], float | None]
    needs: Sequence[str] = ()
    objects: int | None = None
    most: int | None = None


@dataclass
class Measured:
    """The runs of a variant.

    :param seconds: of each run
    :param stored: the bytes of the objects that the last run uploaded
    :param missing: the tools without which it could not run
    """

    seconds: list[float] = field(default_factory=list)
    stored: int | None = None
    missing: tuple[str, ...] = ()

    @property
    def median(self) -> float | None:
        """The median in seconds; None when a tool is missing."""
        return statistics.median(self.seconds) if self.seconds else None

    def columns(self) -> dict[str, float | str | None]:
        """Return the columns `seconds` and `runs` (the fastest and the slowest) of a table."""
        if self.missing:
            return {"seconds": f"no {' '.join(self.missing)}", "runs": None}
        return {"seconds": self.median, "runs": spread(self.seconds)}


def spread(seconds: Sequence[float]) -> str:
    """Return the fastest and the slowest run, as text."""
    return f"{min(seconds):.3g}-{max(seconds):.3g}"


def sync_disks() -> None:
    """Flush what was written: otherwise that happens during whatever is measured next."""
    os.sync()


def in_turns(bench: Bench, variants: Sequence[Variant]) -> dict[str, Measured]:
    """Measure variants in turns, each as often as the benchmark repeats.

    :raises BenchError: when one has not uploaded what it had to
    """
    results = {variant.name: Measured() for variant in variants}
    for turn in range(bench.repeat):
        for variant in variants:
            measured = results[variant.name]
            measured.missing = tuple(tool for tool in variant.needs if tool not in bench.tools)
            if measured.missing or (variant.most is not None and turn >= variant.most):
                continue
            _run_once(bench, variant, measured)
            bench.log(f"  {turn + 1}/{bench.repeat}  {variant.name}: {measured.seconds[-1]:.2f} s")
    return results


def _run_once(bench: Bench, variant: Variant, measured: Measured) -> None:
    with bench.bucket() as bucket:
        bench.session()  # renewed now, if it has to be
        sync_disks()
        start = time.monotonic()
        seconds = variant.work(bucket)
        measured.seconds.append(time.monotonic() - start if seconds is None else seconds)
        if variant.objects is not None:
            objects, measured.stored = bench.stored(bucket)
            if objects != variant.objects:
                raise BenchError(f"{variant.name} uploaded {objects} objects instead of {variant.objects}")
