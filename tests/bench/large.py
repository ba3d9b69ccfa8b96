"""Large files: bytes a second, beside the stock hook, the command-line tools, and the limit."""

from __future__ import annotations

import queue
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.bench import corpus
from tests.bench.harness import Bench, Variant, in_turns
from tests.bench.report import Section, Target, ratio
from tests.bench.worker import Worker

BYTES, FILES = 1 << 30, 16
DAY = corpus.DAY.isoformat()
OURS, TWO_TASKS = "ours, one task, zstd", "ours, the DAG's two tasks, zstd"
STOCK, STOCK_TWO = "stock hook, 1 process", "stock hook, 2 processes"
S5CMD, LIMIT = "zstd -3 -T2, s5cmd cp", "limit: zstd -3 -T2 to nowhere"


def measure(bench: Bench) -> Section:
    """Measure them all."""
    total = int(BYTES * bench.scale)
    folder = bench.folder_for("large")
    bench.say(f"writing {total / 1e9:.2f} GB of logs in {FILES} files ...")
    files = corpus.large_files(folder / "logs", total, FILES)
    total = sum(path.stat().st_size for path in files)
    names = [str(path) for path in files]
    workers = bench.workers(2)
    one = workers[0]

    def ours(codec: str, plain_level: int | None = None) -> Callable[[str], float]:
        how = {"codec": codec, "plain_level": plain_level}
        return lambda bucket: float(one.call("put_files", paths=names, bucket=bucket, day=DAY, **how)["seconds"])

    def stock(bucket: str) -> float:
        return float(one.call("stock_hook", files=names, bucket=bucket)["seconds"])

    def stock_two(bucket: str) -> None:
        for number, worker in enumerate(workers):
            worker.begin("stock_hook", files=names[number::2], bucket=bucket)
        for worker in workers:
            worker.answer()

    def two_tasks(bucket: str) -> None:
        archive_as_the_dag(workers, bucket, folder / "logs", bench.folder_for("staging"), total // 4)

    def limit(_: str) -> float | None:
        if "zstd" not in bench.tools:
            return float(one.call("compress_to_nowhere", files=names)["seconds"])
        bench.run("zstd", "-3", "-T2", "-q", "-c", *files)
        return None

    variants = [
        Variant(STOCK, stock, objects=FILES, most=2),
        Variant(STOCK_TWO, stock_two, objects=FILES, most=2),
        Variant("pigz -6, aws s3 cp", with_tools(bench, files, "pigz", "aws"), ("pigz", "aws"), FILES),
        Variant("pigz -6, s5cmd cp", with_tools(bench, files, "pigz", "s5cmd"), ("pigz", "s5cmd"), FILES),
        Variant(S5CMD, with_tools(bench, files, "zstd", "s5cmd"), ("zstd", "s5cmd"), FILES),
        Variant(TWO_TASKS, two_tasks, objects=FILES),
        Variant(OURS, ours("zstd"), objects=FILES),
        Variant("… zstd 3 as it comes", ours("zstd", 3), objects=FILES),
        Variant("… zstd 1 as it comes", ours("zstd", 1), objects=FILES),
        Variant("ours, one task, gzip", ours("gzip"), objects=FILES),
        Variant(LIMIT, limit),
    ]
    found = in_turns(bench, variants)
    shutil.rmtree(folder)

    section = Section(
        "large",
        f"{total / 1e6:,.0f} MB of logs in {FILES} files",
        ("what", "MB/s raw", "x stock", "of limit", "stored/raw", "seconds", "runs"),
    )
    rate = {name: ratio(total / 1e6, measured.median) for name, measured in found.items()}
    for name, measured in found.items():
        section.rows.append(
            {
                "what": name,
                "MB/s raw": rate[name],
                "x stock": ratio(rate[name], rate[STOCK]),
                "of limit": ratio(rate[name], rate[LIMIT]),
                "stored/raw": ratio(measured.stored, total),
                "seconds": measured.median if not measured.missing else f"no {' '.join(measured.missing)}",
                "runs": measured.spread,
            }
        )
    section.targets = [
        Target("one task, to the stock hook in one process", ratio(rate[OURS], rate[STOCK]), 10),
        Target("one task, to the stock hook in two", ratio(rate[OURS], rate[STOCK_TWO]), 6),
        Target("one task, to zstd and s5cmd", ratio(rate[OURS], rate[S5CMD]), 1),
        Target("one task, of the limit", ratio(rate[OURS], rate[LIMIT]), 0.85),
        # What the stock hook stores is what gzip -9 makes of it: Python's gzip has 9 as its default level.
        Target("stored bytes, to gzip -9's", ratio(found[OURS].stored, found[STOCK].stored), 0.85, at_most=True),
    ]
    if "zstd" not in bench.tools:
        section.notes.append("no zstd program: the limit is python-zstandard with two threads, a file after the other")
    return section


def with_tools(bench: Bench, files: Sequence[Path], compressor: str, uploader: str) -> Callable[[str], None]:
    """Compress all files into a folder with one program, then put the folder with another, as one would by hand."""

    def work(bucket: str) -> None:
        folder = bench.folder_for(compressor)
        if compressor == "zstd":
            bench.run("zstd", "-3", "-T2", "-q", "--output-dir-flat", folder, *files)
        else:
            for path in files:
                with (folder / f"{path.name}.gz").open("wb") as output:
                    bench.run("pigz", "-6", "-c", path, stdout=output)
        put_folder(bench, folder, uploader, bucket)
        shutil.rmtree(folder)

    return work


def put_folder(bench: Bench, folder: Path, uploader: str, bucket: str) -> None:
    """Put a folder's files with `aws s3 cp` or `s5cmd cp`, both with the settings that they come with."""
    if uploader == "aws":
        bench.run("aws", "s3", "cp", "--recursive", "--only-show-errors", folder, f"s3://{bucket}/logs/")
    else:
        bench.run("s5cmd", "--log", "error", "cp", f"{folder}/", f"s3://{bucket}/logs/")


def archive_as_the_dag(workers: list[Worker], bucket: str, root: Path, staging: Path, batch_bytes: int) -> None:
    """Collect, then compress and upload each batch, in as many processes as there are workers.

    In the order of Airflow's scheduler: what has more tasks behind it goes first, so each batch is compressed
    before the first is uploaded, unless a process is free.
    """
    common: dict[str, Any] = {"bucket": bucket, "staging": str(staging), "day": DAY}
    batches = workers[0].call("collect", root=str(root), batch_bytes=batch_bytes, **common)["result"]
    tasks: queue.SimpleQueue[tuple[str, dict[str, Any]] | None] = queue.SimpleQueue()
    errors: list[BaseException] = []
    left, lock = [len(batches)], threading.Lock()
    for batch in batches:
        tasks.put(("compress", {"batch": batch}))

    def serve(worker: Worker) -> None:
        while task := tasks.get():
            try:
                done = worker.call(task[0], **task[1], **common)["result"]
            except BaseException as error:
                errors.append(error)
                break
            if task[0] == "compress":
                tasks.put(("upload", {"plan": done}))
                continue
            with lock:
                left[0] -= 1
                if not left[0]:
                    break
        for _ in workers:
            tasks.put(None)

    threads = [threading.Thread(target=serve, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shutil.rmtree(staging)
    if errors:
        raise errors[0]
