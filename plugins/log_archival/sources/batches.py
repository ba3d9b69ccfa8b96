"""Cutting a partition's log files into batches, one for each mapped task."""

from log_archival.records import LogFile

#: A file costs some time whatever its size, so each counts for at least this much.
MIN_WEIGHT_BYTES = 16 << 10
#: What a file counts for whose size isn't known before it is read.
UNKNOWN_WEIGHT_BYTES = 1 << 20


def cut_batches(
    files: list[LogFile], *, batch_bytes: int, max_files: int = 20_000, max_batches: int = 512
) -> list[list[LogFile]]:
    """Cut files into batches of about equal size.

    :param files: the log files, in the order in which they are to be archived, those of a bundle together
    :param batch_bytes: a batch is closed when it has this many raw bytes; a larger file is a batch by itself
    :param max_files: a batch is closed at this many files, too
    :param max_batches: batches grow rather than become more than this: Airflow maps at most
        ``[core] max_map_length`` (1024 by default) tasks.
        https://airflow.apache.org/docs/apache-airflow/stable/configurations-ref.html#max-map-length
    """
    weights = [UNKNOWN_WEIGHT_BYTES if file.size is None else max(file.size, MIN_WEIGHT_BYTES) for file in files]
    limit = max(batch_bytes, -(-sum(weights) // max_batches))
    file_limit = max(max_files, -(-len(files) // max_batches))
    batches: list[list[LogFile]] = []
    total = 0
    for file, weight in zip(files, weights, strict=True):
        is_full = not batches or total + weight > limit or len(batches[-1]) >= file_limit
        # One task makes the whole of a bundle.
        if is_full and not (batches and _same_bundle(file, batches[-1][-1])):
            batches.append([])
            total = 0
        batches[-1].append(file)
        total += weight
    return batches


def _same_bundle(one: LogFile, other: LogFile) -> bool:
    return one.bundle > 0 and (one.source, one.bundle) == (other.source, other.bundle)
