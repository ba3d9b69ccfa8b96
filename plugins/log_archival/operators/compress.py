"""CompressLogsOperator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import Context

from log_archival.codecs import DEFAULT_PART_BYTES, codec_named
from log_archival.exceptions import SourceError
from log_archival.operators.base import PartitionOperator, fail_permanent_errors_at_once, list_problems
from log_archival.pipeline.compress import Compressor, compress_batch
from log_archival.pipeline.run_dir import RunDirectory


class CompressLogsOperator(PartitionOperator):
    """Compresses a batch into the run directory; see `PartitionOperator` for the other parameters.

    Files that can't be read fail the task, which is retried; the last try compresses the others, and verification
    names these.

    :param batch: one of the dicts that `CollectLogsOperator` returned (templated)
    :param codec: ``zstd``, ``gzip`` or ``none`` (templated); files that are compressed already stay as they are
    :param part_size: a stored object has at most this many bytes; larger files are cut at line ends
    :param check_compressed: whether each block is decompressed and compared before it is written
    :returns: a small dict for `CrossAccountPutOperator`: run directory, batch, how many objects, bytes and failures
    """

    template_fields: Sequence[str] = (*PartitionOperator.template_fields, "batch", "codec")
    ui_color = "#fbeedb"

    def __init__(
        self,
        *,
        batch: Mapping[str, Any],
        codec: str = "zstd",
        part_size: int = DEFAULT_PART_BYTES,
        check_compressed: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.batch = batch
        self.codec = codec
        self.part_size = part_size
        self.check_compressed = check_compressed

    def execute(self, context: Context) -> dict[str, Any]:
        """Compress.

        :param context: the task's
        """
        ti = context["ti"]
        with fail_permanent_errors_at_once():
            run_dir, number = RunDirectory(self.batch["run_directory"]), int(self.batch["batch"])
            compressor = Compressor(
                self.day(context), self.keys, codec_named(self.codec), self.part_size, self.check_compressed
            )
            archives, failures = compress_batch(compressor, run_dir, number)
            if failures and ti.try_number <= (ti.max_tries or 0):
                raise SourceError(
                    list_problems(
                        [failure.error for failure in failures],
                        f"{len(failures)} of {self.batch['files']} files could not be read",
                    ),
                    hint="The next try reads them again; the last one archives the others, and `verify` names these.",
                )
            run_dir.write_compressed(number, archives, failures)
            return {
                "run_directory": str(run_dir),
                "batch": number,
                "objects": len(archives),
                "stored_bytes": sum(archive.stored_size for archive in archives),
                "failed": len(failures),
            }
