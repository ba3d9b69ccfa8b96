"""Small files: uploads a second, beside the stock operator, s5cmd, and the SDK by itself."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.bench import corpus
from tests.bench.dag import Tasks
from tests.bench.harness import Bench
from tests.bench.large import upload_folder
from tests.bench.report import Section, Target, ratio
from tests.bench.variants import Measured, Variant, in_turns
from tests.bench.worker import Worker

FILES, SIZE_BYTES, SAMPLE_FILES = 10_000, 8 << 10, 50
OURS, TWO_TASKS = "ours, one task", "ours, the DAG's two tasks"
STOCK, S5CMD = "stock operator, a file each", "s5cmd cp, compressed before"
COMPRESSED = "zstd -3, s5cmd cp"
THREADS = (10, 32)


def measure(bench: Bench) -> Section:
    """Measure them all."""
    count = bench.scaled(FILES, at_least=SAMPLE_FILES)
    folder = bench.new_folder("small")
    bench.log(f"writing {count:,} small files ...")
    logs = SmallFiles.write(bench, bench.workers(2), folder, count)
    results = in_turns(bench, _variants(logs))
    shutil.rmtree(folder)
    section = Section(
        "small", f"{count:,} files of {SIZE_BYTES // 1024} KiB", ("what", "PUT/s", "x stock", "seconds", "runs")
    )
    _fill(section, results, count)
    section.notes = [
        f"the stock operator uploaded {SAMPLE_FILES} files; its seconds are for {count:,}, in proportion, and without"
        " what Airflow adds for each task (section `airflow` has that)",
        "boto3 and `s5cmd cp, compressed before` upload what is compressed already; ours reads, hashes and compresses,"
        " too",
    ]
    return section


@dataclass(frozen=True)
class SmallFiles:
    """Small files, and each way to archive them into a bucket."""

    bench: Bench
    workers: list[Worker]
    folder: Path
    files: list[str]
    compressed: Path

    @classmethod
    def write(cls, bench: Bench, workers: list[Worker], folder: Path, count: int) -> SmallFiles:
        """Write them, and a compressed copy of each."""
        files = [str(path) for path in corpus.small_files(folder / "logs", count, SIZE_BYTES)]
        compressed = folder / "compressed"
        compressed.mkdir()
        workers[0].run("compress_each", files=files, folder=str(compressed))
        return cls(bench, workers, folder / "logs", files, compressed)

    def stock(self, bucket: str) -> float:
        """Upload a sample with the stock operator; return the seconds of all, in proportion."""
        count = len(self.files)
        sample = self.files[:: count // SAMPLE_FILES][:SAMPLE_FILES]
        return self.workers[0].seconds("stock_operator", files=sample, bucket=bucket) * count / SAMPLE_FILES

    def s5cmd(self, endpoint_url: str | None, bucket: str) -> None:
        """Upload the compressed files with s5cmd."""
        upload_folder(self.bench, self.compressed, "s5cmd", bucket, endpoint_url)

    def compress_then_s5cmd(self, bucket: str) -> None:
        """Compress with zstd and upload with s5cmd, as one would by hand."""
        target = self.bench.new_folder("zstd")
        listing = self.bench.folder / "files.txt"
        listing.write_text("\n".join(self.files) + "\n")
        self.bench.run("zstd", "-3", "-q", "--output-dir-flat", target, "--filelist", listing)
        upload_folder(self.bench, target, "s5cmd", bucket)
        shutil.rmtree(target)

    def boto3_pool(self, threads: int, endpoint_url: str | None, bucket: str) -> float:
        """Upload the compressed files with the SDK; reading them before the clock starts."""
        store = self.bench.session()
        if endpoint_url:
            store = store | {"endpoint_url": endpoint_url}
        arguments = {"folder": str(self.compressed), "store": store, "threads": threads}
        return float(self.workers[0].run("boto3_pool", bucket=bucket, **arguments)["result"])

    def two_tasks(self, bucket: str) -> None:
        """Archive as the DAG does, in two batches."""
        staging = self.bench.new_folder("staging")
        # A batch counts a small file as 16 KiB.
        batch_bytes = len(self.files) * SIZE_BYTES + SIZE_BYTES
        Tasks(bucket, self.folder, staging, batch_bytes).compress_and_upload(self.workers)
        shutil.rmtree(staging)

    def one_task(self, bucket: str, **settings: int) -> float:
        """Archive with our operator by itself and these of its arguments."""
        paths = [f"{self.folder}/**/*.log"]
        return self.workers[0].seconds("put_files", paths=paths, bucket=bucket, day=corpus.DAY_KEY, **settings)


def boto3_name(threads: int) -> str:
    """Return the name of the variant with so many threads."""
    return f"boto3 put_object, {threads} threads"


def _variants(logs: SmallFiles) -> list[Variant]:
    count = len(logs.files)
    return [
        Variant(STOCK, logs.stock, objects=SAMPLE_FILES),
        Variant(S5CMD, partial(logs.s5cmd, None), ("s5cmd",), count),
        Variant(COMPRESSED, logs.compress_then_s5cmd, ("zstd", "s5cmd"), count),
        *(Variant(boto3_name(threads), partial(logs.boto3_pool, threads, None), objects=count) for threads in THREADS),
        Variant(TWO_TASKS, logs.two_tasks, objects=count),
        Variant(OURS, logs.one_task, objects=count),
    ]


def _fill(section: Section, results: dict[str, Measured], count: int) -> None:
    rate = {name: ratio(count, measured.median) for name, measured in results.items()}
    for name, measured in results.items():
        x_stock = ratio(rate[name], rate[STOCK])
        section.rows.append({"what": name, "PUT/s": rate[name], "x stock": x_stock, **measured.columns()})
    sdk = max(rate[boto3_name(threads)] or 0 for threads in THREADS)
    section.targets = [
        Target("one task, to the stock operator", ratio(rate[OURS], rate[STOCK]), 10),
        # The limit of one process: ours uploads with the same client, and does more than that.
        Target("one task, of a plain boto3 thread pool", ratio(rate[OURS], sdk), 0.7),
    ]
