"""CompressLogsOperator."""

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import Context

from log_archival.exceptions import SourceError
from log_archival.hooks.source_clients import source_client
from log_archival.operators.base import (
    CompressionOperator,
    has_tries_left,
    list_problems,
    reported_outcome,
    with_connections,
)
from log_archival.pipeline.compress import compress_batch
from log_archival.pipeline.run_dir import RunDirectory
from log_archival.records import objects_of
from log_archival.sources.base import Source


class CompressLogsOperator(CompressionOperator):
    """Compresses a batch into the run directory; see `CompressionOperator` for the other parameters.

    Files that can't be read fail the task, which is retried; the last try compresses the others, and verification
    names these.

    :param batch: one of the dicts that `CollectLogsOperator` returned (templated)
    :param sources: where the log files are, as `CollectLogsOperator` has them
    :returns: a small dict for `CrossAccountPutOperator`: run directory, batch and its label, how many objects,
        bytes and failures
    """

    template_fields: Sequence[str] = (*CompressionOperator.template_fields, "batch")
    ui_color = "#fbeedb"

    def __init__(self, *, batch: Mapping[str, Any], sources: Sequence[Source], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.batch = batch
        self.sources = sources

    def execute(self, context: Context) -> dict[str, Any]:
        """Compress.

        :param context: the task's
        """
        with reported_outcome(context):
            run_dir, number = RunDirectory.at(self.batch["run_directory"], source_client), int(self.batch["batch"])
            compressor = self.compressor(self.day(context), with_connections(self.sources))
            archives, failures = compress_batch(compressor, run_dir, number)
            if failures and has_tries_left(context):
                headline = f"{len(failures)} of {self.batch['files']} files could not be read"
                raise SourceError(
                    list_problems([failure.error for failure in failures], headline),
                    hint="The next try reads them again; the last one archives the others, and `verify` names these.",
                )
            run_dir.write_compressed(number, archives, failures)
            objects = objects_of(archives)
            return {
                "run_directory": str(run_dir),
                "batch": number,
                "label": self.batch.get("label", str(number)),
                "objects": len(objects),
                "stored_bytes": sum(one.size for one in objects),
                "failed": len(failures),
            }
