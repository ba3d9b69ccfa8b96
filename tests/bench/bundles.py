"""Many small files: each an object of its own, or together in bundles, beside s5cmd; and one file out of a bundle."""

from __future__ import annotations

import dataclasses
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from functools import partial
from io import BytesIO
from typing import Any

from log_archival.keys import is_manifest_key
from log_archival.reader.archive import ArchiveReader
from log_archival.reader.cat import contents_of_one_file, write_content
from log_archival.reader.days import DateRange
from log_archival.reader.search import Search
from log_archival.reader.selection import Selection
from tests.bench import corpus
from tests.bench.harness import Bench, BenchError
from tests.bench.report import Section, Target, ratio
from tests.bench.small import SIZE_BYTES, SmallFiles
from tests.bench.variants import sync_disks
from tests.bench.worker import Worker
from tests.support.delay_proxy import delay_proxy

FILES, LEAST_FILES = (10_000, 100_000), 50
BUNDLE_BYTES = 64 << 20
PLAIN, BUNDLED, S5CMD = "ours, plain", "ours, bundled", "s5cmd cp, compressed before"
#: Dollars for a PUT in S3 Standard, us-east-1. https://aws.amazon.com/s3/pricing/
DOLLARS_A_PUT = 0.005 / 1000
FILES_A_DAY = 100_000
COLUMNS = (
    "what", "files", "store", "files/s", "seconds", "requests", "objects", "MB stored", "MB manifests", "$ a year",
)  # fmt: skip
#: The figures of one run, by column.
Figures = dict[str, Any]


def measure(bench: Bench) -> Section:
    """Archive both numbers of files, at once and with a store that responds late."""
    section = Section("bundles", f"many files of {SIZE_BYTES // 1024} KiB, one task", COLUMNS)
    late = f"{bench.delay_seconds * 1000:g} ms later"
    medians: dict[tuple[int, str, str], Figures] = {}
    for full_count in FILES:
        count = bench.scaled(full_count, at_least=LEAST_FILES)
        folder = bench.new_folder("bundles")
        bench.log(f"writing {count:,} small files ...")
        logs = SmallFiles.write(bench, bench.workers(1), folder, count)
        for store, endpoint in (("at once", _no_delay), (late, _delay)):
            with endpoint(bench) as (url, worker):
                for what, figures in _compare(_Runs(bench, logs, url, worker), section).items():
                    medians[full_count, store, what] = figures
                    section.rows.append({"what": what, "files": count, "store": store, **figures})
        shutil.rmtree(folder)
    section.targets = [
        Target(f"bundled to plain, {FILES[-1]:,} files, {store}", ratio(
            medians[FILES[-1], store, BUNDLED]["files/s"], medians[FILES[-1], store, PLAIN]["files/s"]), 3)
        for store in ("at once", late)
    ]  # fmt: skip
    section.notes += [
        f"$ a year: {FILES_A_DAY:,} such files a day, PUT requests at ${DOLLARS_A_PUT * 1000:g} for 1,000",
        f"s5cmd uploads what is compressed already; ours reads, hashes and compresses, too, in bundles of up to"
        f" {BUNDLE_BYTES >> 20} MiB, and lists each file in a manifest",
    ]
    return section


@contextmanager
def _no_delay(bench: Bench) -> Iterator[tuple[str | None, Worker]]:
    yield None, bench.workers(1)[0]


@contextmanager
def _delay(bench: Bench) -> Iterator[tuple[str | None, Worker]]:
    with (
        delay_proxy(bench.store.endpoint_url, bench.delay_seconds) as url,
        bench.fresh_worker(dataclasses.replace(bench.store, endpoint_url=url)) as worker,
    ):
        yield url, worker


@dataclasses.dataclass(frozen=True)
class _Runs:
    """Each way to archive the files.

    :param url: of the store, where it isn't the benchmark's own
    """

    bench: Bench
    logs: SmallFiles
    url: str | None
    worker: Worker

    def ours(self, bundle: int | None, bucket: str) -> dict[str, Any]:
        """Archive with our operator; return its seconds and requests."""
        arguments = {"root": str(self.logs.folder), "bucket": bucket, "day": corpus.DAY_KEY, "bundle": bundle}
        done = self.worker.run("archive_source", **arguments)
        return {"seconds": done["seconds"], "requests": done["result"]["requests"]}

    def s5cmd(self, bucket: str) -> dict[str, Any]:
        """Upload with s5cmd, which sends a request for each file."""
        start = time.monotonic()
        self.logs.s5cmd(self.url, bucket)
        return {"seconds": time.monotonic() - start, "requests": len(self.logs.files)}


def _compare(runs: _Runs, section: Section) -> dict[str, Figures]:
    bench, count = runs.bench, len(runs.logs.files)
    variants: dict[str, Callable[[str], dict[str, Any]]] = {
        BUNDLED: partial(runs.ours, BUNDLE_BYTES),
        PLAIN: partial(runs.ours, None),
    }
    if "s5cmd" in bench.tools:
        variants[S5CMD] = runs.s5cmd
    found: dict[str, list[Figures]] = {name: [] for name in variants}
    # Each takes minutes with many files.
    for turn in range(bench.repeat if count <= FILES[0] else 1):
        for name, archive in variants.items():
            with bench.bucket() as bucket:
                bench.session()
                sync_disks()
                run = archive(bucket)
                objects, stored = bench.stored(bucket)
                if objects != count and name is not BUNDLED:
                    raise BenchError(f"{name} uploaded {objects} objects instead of {count}")
                if name is BUNDLED and not found[BUNDLED] and runs.url is None:
                    section.notes.append(_one_file(bench, bucket, count))
                manifests = _manifest_bytes(bench, bucket)
            puts_a_year = run["requests"] * FILES_A_DAY / count * 365
            found[name].append(
                {
                    "files/s": count / run["seconds"],
                    **run,
                    "objects": objects,
                    "MB stored": stored / 1e6,
                    "MB manifests": manifests / 1e6,
                    "$ a year": puts_a_year * DOLLARS_A_PUT,
                }
            )
            bench.log(f"  {turn + 1}/{bench.repeat}  {name}: {run['seconds']:.2f} s")
    return {
        name: {column: statistics.median(one[column] for one in its_runs) for column in its_runs[0]}
        for name, its_runs in found.items()
    }


def _manifest_bytes(bench: Bench, bucket: str) -> int:
    listed = ArchiveReader(bench.admin_client, bucket).list_objects("logs/")
    return sum(one.size for one in listed if is_manifest_key(one.key))


def _one_file(bench: Bench, bucket: str, count: int) -> str:
    """Read one file out of a bundle as `log-archival cat` does, check it, and return what that took."""
    requests: list[tuple[str, int]] = []
    client = bench.store.client()
    client.meta.events.register(
        "after-call.s3.GetObject",
        lambda parsed, **_: requests.append((parsed.get("ContentRange", ""), parsed["ContentLength"])),
    )
    name = f"{count // 2 // corpus.FILES_A_FOLDER:04d}/app-{count // 2:06d}.log"
    day = date.fromisoformat(corpus.DAY_KEY)
    search = Search(ArchiveReader(client, bucket), "logs/", Selection(paths=[name], days=DateRange(day, day)))
    [version] = contents_of_one_file(search)
    output = BytesIO()
    write_content(search.reader, version, output)
    [entry] = version.parts
    reads = [size for content_range, size in requests if content_range]
    if reads != [entry.stored_size] or len(output.getvalue()) != version.size:
        raise BenchError(f"{name} was read in {reads} bytes, {entry.stored_size} are listed")
    return (
        f"one of {count:,} files out of a bundle: {reads[0]:,} bytes read of {entry.bundle_size:,} in one request, once"
        f" {sum(size for content_range, size in requests if not content_range):,} bytes of manifests have said where"
    )
