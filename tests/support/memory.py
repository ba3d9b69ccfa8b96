"""Peak memory of the package's work, each measured in a process of its own.

As a command, ``python -m tests.support.memory WORK FILE RUN_DIRECTORY BUCKET PART_SIZE`` does one piece of work on one
file, and prints a line of JSON: the peak resident memory of the process and, for comparison, its peak before the work.
The Airflow connection comes from the environment, as for a task.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DAY = "2026-11-22"
BATCH = 1
WORKS = ("compress", "upload", "one task")


@dataclass(frozen=True)
class Measured:
    """Of one piece of work: memory in MiB, what was archived in bytes."""

    work: str
    idle: float
    peak: float
    raw_bytes: int
    raw_sha256: str
    objects: list[str]  # their keys, in order

    @property
    def added(self) -> float:
        """What the work added to the idle process, MiB."""
        return self.peak - self.idle


def measured(
    work: str, file: Path, run_directory: Path, *, bucket: str, connection: dict[str, Any], part_size: int
) -> Measured:
    """Do one piece of work in a fresh process.

    :param work: one of ``WORKS``; ``upload`` puts what ``compress`` has staged in the same run directory before
    """
    paths = [str(ROOT / folder) for folder in ("plugins", ".")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "AIRFLOW_CONN_LOG_ARCHIVE": json.dumps(connection),
    }
    command = [
        sys.executable,
        "-m",
        "tests.support.memory",
        work,
        str(file),
        str(run_directory),
        bucket,
        str(part_size),
    ]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {result.returncode}:\n{result.stderr[-4000:]}")
    return Measured(**json.loads(result.stdout.splitlines()[-1]))


def measured_command(*arguments: str, environment: dict[str, str]) -> float:
    """Run ``python -m log_archival.reader.cli`` with these arguments in a fresh process, and return its peak, MiB."""
    program = (
        "import sys; from log_archival.reader.cli import main; from tests.support.memory import _peak;"
        " code = main(sys.argv[1:]); print(_peak()); sys.exit(code)"
    )
    paths = os.pathsep.join([str(ROOT / "plugins"), str(ROOT)])
    result = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise RuntimeError(f"{arguments} ended with {result.returncode}:\n{result.stdout}{result.stderr[-4000:]}")
    return float(result.stdout.splitlines()[-1])


def _peak() -> float:
    """This process's own peak, MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: across fork and exec, it is at least what the parent had.
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)


def main(work: str, file: str, run_directory: str, bucket: str, part_size: str) -> None:
    """Do one piece of work, and print what it took."""
    from log_archival.hooks import CrossAccountS3Hook
    from log_archival.keys import KeyTemplate
    from log_archival.partition import Partition
    from log_archival.pipeline.compress import compress_batch
    from log_archival.pipeline.compressor import Compressor
    from log_archival.pipeline.run_dir import RunDirectory
    from log_archival.pipeline.upload import compress_and_upload, upload_batch
    from log_archival.records import LogFile
    from log_archival.sources.files import FileSource

    path, run_dir = Path(file), RunDirectory.at(run_directory)
    source = FileSource("app", str(path.parent))
    compressor = Compressor(Partition.parse(DAY), KeyTemplate(), {"app": source}, part_size=int(part_size))
    writer = CrossAccountS3Hook(bucket=bucket, prefix=compressor.keys.day_prefix(compressor.partition)).writer
    # What an idle task has in memory already: the libraries, and a client.
    writer.assume_role()
    files = []
    if work != "upload":
        status = path.stat()
        files = [LogFile("app", str(path.parent), path.name, status.st_size, status.st_mtime_ns, str(status.st_ino))]
    idle = _peak()
    if work == "compress":
        run_dir.create([files])
        archives, failures = compress_batch(compressor, run_dir, BATCH)
        run_dir.write_compressed(BATCH, archives, failures)
    elif work == "upload":
        archives, failures = run_dir.archives(BATCH), []
        receipts = upload_batch(writer, run_dir, BATCH, compressor.partition, compressor.keys)
        if {receipt.outcome for receipt in receipts} != {"new"}:
            raise RuntimeError(f"expected new objects only: {receipts}")
    else:
        records = compress_and_upload(writer, compressor, files)
        archives, failures = records.archives, records.failures
    if failures:
        raise RuntimeError(str(failures))
    archives.sort(key=lambda archive: archive.part)
    result = {
        "work": work,
        "idle": idle,
        "peak": _peak(),
        "raw_bytes": sum(archive.raw_size for archive in archives),
        "raw_sha256": archives[0].file_sha256,
        "objects": [archive.key for archive in archives],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
