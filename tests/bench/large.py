"""Large files: bytes a second, beside the stock hook, the command-line tools, and the limit."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.bench import corpus
from tests.bench.dag import Tasks
from tests.bench.harness import Bench
from tests.bench.report import Section, Target, ratio
from tests.bench.variants import Measured, Variant, in_turns
from tests.bench.worker import Worker

BYTES, FILES = 1 << 30, 16
OURS, UNCHECKED = "ours, one task, zstd", "ours, one task, zstd, unchecked"
TWO_TASKS, TWO_TASKS_UNCHECKED = "ours, the DAG's two tasks, zstd", "ours, the DAG's two tasks, zstd, unchecked"
STOCK, STOCK_TWO = "stock hook, 1 process", "stock hook, 2 processes"
S5CMD, LIMIT = "zstd -3 -T2, s5cmd cp", "limit: zstd -3 -T2 to nowhere"


def measure(bench: Bench) -> Section:
    """Measure them all."""
    total = bench.scaled(BYTES, at_least=FILES)
    folder = bench.new_folder("large")
    bench.log(f"writing {total / 1e9:.2f} GB of logs in {FILES} files ...")
    paths = corpus.large_files(folder, total, FILES)
    logs = _Logs(bench, bench.workers(2), folder, paths, sum(path.stat().st_size for path in paths))
    results = in_turns(bench, _variants(logs))
    shutil.rmtree(folder)
    section = Section(
        "large",
        f"{logs.total / 1e6:,.0f} MB of logs in {FILES} files",
        ("what", "MB/s raw", "x stock", "of limit", "stored/raw", "seconds", "runs"),
    )
    _fill(section, results, logs.total)
    section.notes.append("unchecked: without decompressing each compressed block and comparing it with what went in")
    if "zstd" not in bench.tools:
        section.notes.append("no zstd program: the limit is the library with two threads, one file after the other")
    return section


@dataclass(frozen=True)
class _Logs:
    """The files, and each way to archive them into a bucket."""

    bench: Bench
    workers: list[Worker]
    folder: Path
    paths: list[Path]
    total: int

    @property
    def names(self) -> list[str]:
        return [str(path) for path in self.paths]

    def stock(self, bucket: str) -> float:
        return self.workers[0].seconds("stock_hook", files=self.names, bucket=bucket)

    def stock_in_two(self, bucket: str) -> None:
        for number, worker in enumerate(self.workers):
            worker.start("stock_hook", files=self.names[number::2], bucket=bucket)
        for worker in self.workers:
            worker.wait()

    def with_tools(self, compressor: str, uploader: str, bucket: str) -> None:
        """Compress all files into a folder with one program, then upload it with another, as one would by hand."""
        target = self.bench.new_folder(compressor)
        if compressor == "zstd":
            self.bench.run("zstd", "-3", "-T2", "-q", "--output-dir-flat", target, *self.paths)
        else:
            for path in self.paths:
                with (target / f"{path.name}.gz").open("wb") as output:
                    self.bench.run("pigz", "-6", "-c", path, stdout=output)
        upload_folder(self.bench, target, uploader, bucket)
        shutil.rmtree(target)

    def two_tasks(self, check_compressed: bool, bucket: str) -> None:
        staging = self.bench.new_folder("staging")
        tasks = Tasks(bucket, self.folder, staging, self.total // 4, check_compressed)
        tasks.compress_and_upload(self.workers)
        shutil.rmtree(staging)

    def one_task(self, codec: str, check_compressed: bool, bucket: str) -> float:
        settings = {"codec": codec, "check_compressed": check_compressed}
        return self.workers[0].seconds("put_files", paths=self.names, bucket=bucket, day=corpus.DAY_KEY, **settings)

    def limit(self, _: str) -> float | None:
        if "zstd" not in self.bench.tools:
            return self.workers[0].seconds("compress_to_nowhere", files=self.names)
        self.bench.run("zstd", "-3", "-T2", "-q", "-c", *self.paths)
        return None


def _variants(logs: _Logs) -> list[Variant]:
    return [
        Variant(STOCK, logs.stock, objects=FILES, most=2),
        Variant(STOCK_TWO, logs.stock_in_two, objects=FILES, most=2),
        Variant("pigz -6, aws s3 cp", partial(logs.with_tools, "pigz", "aws"), ("pigz", "aws"), FILES),
        Variant("pigz -6, s5cmd cp", partial(logs.with_tools, "pigz", "s5cmd"), ("pigz", "s5cmd"), FILES),
        Variant(S5CMD, partial(logs.with_tools, "zstd", "s5cmd"), ("zstd", "s5cmd"), FILES),
        Variant(TWO_TASKS, partial(logs.two_tasks, True), objects=FILES),
        Variant(TWO_TASKS_UNCHECKED, partial(logs.two_tasks, False), objects=FILES),
        Variant(OURS, partial(logs.one_task, "zstd", True), objects=FILES),
        Variant(UNCHECKED, partial(logs.one_task, "zstd", False), objects=FILES),
        Variant("ours, one task, gzip", partial(logs.one_task, "gzip", True), objects=FILES),
        Variant(LIMIT, logs.limit),
    ]


def _fill(section: Section, results: dict[str, Measured], total: int) -> None:
    rate = {name: ratio(total / 1e6, measured.median) for name, measured in results.items()}
    for name, measured in results.items():
        section.rows.append(
            {
                "what": name,
                "MB/s raw": rate[name],
                "x stock": ratio(rate[name], rate[STOCK]),
                "of limit": ratio(rate[name], rate[LIMIT]),
                "stored/raw": ratio(measured.stored, total),
                **measured.columns(),
            }
        )
    section.targets = [
        Target("one task, to the stock hook in one process", ratio(rate[OURS], rate[STOCK]), 10),
        # None of the others checks what it compressed.
        Target("one task, unchecked, to the stock hook in two", ratio(rate[UNCHECKED], rate[STOCK_TWO]), 6),
        Target("one task, unchecked, to zstd and s5cmd", ratio(rate[UNCHECKED], rate[S5CMD]), 1),
        Target("one task, unchecked, of the limit", ratio(rate[UNCHECKED], rate[LIMIT]), 0.85),
        # What the stock hook stores is what gzip -9 makes of it: Python's gzip has 9 as its default level.
        Target("stored bytes, to gzip -9's", ratio(results[OURS].stored, results[STOCK].stored), 0.85, at_most=True),
    ]


def upload_folder(bench: Bench, folder: Path, uploader: str, bucket: str, endpoint_url: str | None = None) -> None:
    """Upload a folder's files with `aws s3 cp` or `s5cmd cp`, both with the settings that they come with."""
    target = f"s3://{bucket}/logs/"
    if uploader == "aws":
        bench.run("aws", "s3", "cp", "--recursive", "--only-show-errors", folder, target, endpoint_url=endpoint_url)
    else:
        bench.run("s5cmd", "--log", "error", "cp", f"{folder}/", target, endpoint_url=endpoint_url)
