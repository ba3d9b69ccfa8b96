"""Small files and a store that responds late: uploads a second, by how many requests are under way at once."""

from __future__ import annotations

import dataclasses
import shutil
from functools import partial

from tests.bench.harness import Bench
from tests.bench.report import Section, Target, ratio
from tests.bench.small import SIZE_BYTES, SmallFiles, boto3_name
from tests.bench.variants import Measured, Variant, in_turns
from tests.support.delay_proxy import delay_proxy

FILES, LEAST_FILES = 2_000, 200
#: `max_concurrent_requests` of our operator.
REQUESTS = (10, 32, 64)
#: Of a plain pool; 10 connections are boto3's default.
THREADS = (10, 32)
S5CMD = "s5cmd cp, its defaults (256 workers)"


def measure(bench: Bench) -> Section:
    """Measure ours, a plain pool and s5cmd, all through the same proxy."""
    count = bench.scaled(FILES, at_least=LEAST_FILES)
    folder = bench.new_folder("latency")
    with (
        delay_proxy(bench.store.endpoint_url, bench.delay_seconds) as url,
        bench.fresh_worker(dataclasses.replace(bench.store, endpoint_url=url)) as worker,
    ):
        logs = SmallFiles.write(bench, [worker], folder, count)
        with bench.bucket() as bucket:
            logs.one_task(bucket)  # what a process loads when it is first used doesn't count
        results = in_turns(bench, _variants(logs, url))
    shutil.rmtree(folder)
    title = f"{count:,} files of {SIZE_BYTES // 1024} KiB, responses {bench.delay_seconds * 1000:g} ms later"
    section = Section("latency", title, ("what", "PUT/s", "seconds", "runs"))
    _fill(section, results, count)
    section.notes = ["boto3 and s5cmd upload what is compressed already; ours reads, hashes and compresses, too"]
    return section


def _variants(logs: SmallFiles, url: str) -> list[Variant]:
    count = len(logs.files)
    return [
        *(Variant(boto3_name(threads), partial(logs.boto3_pool, threads, url), objects=count) for threads in THREADS),
        Variant(S5CMD, partial(logs.s5cmd, url), ("s5cmd",), count),
        *(
            Variant(_ours(requests), partial(logs.one_task, max_concurrent_requests=requests), objects=count)
            for requests in REQUESTS
        ),
    ]


def _fill(section: Section, results: dict[str, Measured], count: int) -> None:
    rate = {name: ratio(count, measured.median) for name, measured in results.items()}
    for name, measured in results.items():
        section.rows.append({"what": name, "PUT/s": rate[name], **measured.columns()})
    section.targets = [
        Target("32 requests at once, to 10", ratio(rate[_ours(32)], rate[_ours(10)]), 2),
        Target("32 requests at once, to boto3's default pool", ratio(rate[_ours(32)], rate[boto3_name(10)]), 2),
    ]


def _ours(requests: int) -> str:
    return f"ours, one task, {requests} requests at once"
