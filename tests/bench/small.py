"""Small files: puts a second, beside the stock operator, s5cmd, and the SDK by itself."""

from __future__ import annotations

import shutil

from tests.bench import corpus
from tests.bench.harness import Bench, Variant, in_turns
from tests.bench.large import DAY, archive_as_the_dag, put_folder
from tests.bench.report import Section, Target, ratio

FILES, SIZE, SAMPLE = 10_000, 8 << 10, 50
OURS, TWO_TASKS = "ours, one task", "ours, the DAG's two tasks"
STOCK, S5CMD = "stock operator, a file each", "s5cmd cp, compressed before"
COMPRESSED = "zstd -3, s5cmd cp"
THREADS = (10, 32)


def measure(bench: Bench) -> Section:
    """Measure them all."""
    count = max(SAMPLE, int(FILES * bench.scale))
    folder = bench.folder_for("small")
    bench.say(f"writing {count:,} small files ...")
    logs = folder / "logs"
    files = [str(path) for path in corpus.small_files(logs, count, SIZE)]
    workers = bench.workers(2)
    one = workers[0]
    packed = folder / "packed"
    packed.mkdir()
    one.call("compress_each", files=files, folder=str(packed))

    def stock(bucket: str) -> float:
        taken = one.call("stock_operator", files=files[:: count // SAMPLE][:SAMPLE], bucket=bucket)
        return float(taken["seconds"]) * count / SAMPLE

    def plain(bucket: str, threads: int) -> float:
        # What is read from the disk before the clock starts is not counted.
        answer = one.call("plain_boto3", folder=str(packed), bucket=bucket, store=bench.session(), threads=threads)
        return float(answer["result"])

    def compressed(bucket: str) -> None:
        target = bench.folder_for("zstd")
        listing = bench.folder / "files.txt"
        listing.write_text("\n".join(files) + "\n")
        bench.run("zstd", "-3", "-q", "--output-dir-flat", target, "--filelist", listing)
        put_folder(bench, target, "s5cmd", bucket)
        shutil.rmtree(target)

    def ours(bucket: str) -> float:
        answer = one.call("put_files", paths=[f"{logs}/**/*.log"], bucket=bucket, day=DAY)
        return float(answer["seconds"])

    def two_tasks(bucket: str) -> None:
        raw = count * SIZE * 2  # a file weighs at least 16 KiB: two batches
        archive_as_the_dag(workers, bucket, logs, bench.folder_for("staging"), raw // 2 + SIZE)

    variants = [
        Variant(STOCK, stock, objects=SAMPLE),
        Variant(S5CMD, lambda bucket: put_folder(bench, packed, "s5cmd", bucket), ("s5cmd",), count),
        Variant(COMPRESSED, compressed, ("zstd", "s5cmd"), count),
        *(
            Variant(_plain(threads), lambda bucket, threads=threads: plain(bucket, threads), objects=count)  # type: ignore[misc]
            for threads in THREADS
        ),
        Variant(TWO_TASKS, two_tasks, objects=count),
        Variant(OURS, ours, objects=count),
    ]
    found = in_turns(bench, variants)
    shutil.rmtree(folder)

    rate = {name: ratio(count, measured.median) for name, measured in found.items()}
    section = Section(
        "small", f"{count:,} files of {SIZE // 1024} KiB", ("what", "PUT/s", "x stock", "seconds", "runs")
    )
    for name, measured in found.items():
        section.rows.append(
            {
                "what": name,
                "PUT/s": rate[name],
                "x stock": ratio(rate[name], rate[STOCK]),
                "seconds": measured.median if not measured.missing else f"no {' '.join(measured.missing)}",
                "runs": measured.spread,
            }
        )
    sdk = max(rate[_plain(threads)] or 0 for threads in THREADS)
    section.targets = [
        Target("one task, to the stock operator", ratio(rate[OURS], rate[STOCK]), 10),
        Target("one task, to a plain boto3 thread pool", ratio(rate[OURS], sdk), 1),
        Target("one task, to s5cmd with compressing", ratio(rate[OURS], rate[COMPRESSED]), 1),
        Target("one task, to s5cmd of compressed files", ratio(rate[OURS], rate[S5CMD]), 1),
    ]
    section.notes = [
        f"the stock operator put {SAMPLE} files; its seconds are for {count:,}, in proportion, and without what"
        " Airflow adds for each task (section `airflow` has that)",
        "boto3 and `s5cmd cp, compressed before` put what is compressed already; ours reads, hashes and compresses too",
    ]
    return section


def _plain(threads: int) -> str:
    return f"boto3 put_object, {threads} threads"
