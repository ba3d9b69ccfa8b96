"""What a run did, in figures for XCom and in a table for people."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from log_archival.pipeline.run_dir import RunRecords
from log_archival.progress import human_size
from log_archival.records import objects_of

#: `failed`: not archived, or not as it should be; `skipped`: left out, and that was accepted.
FIGURES = ("files", "objects", "raw_bytes", "stored_bytes", "new", "existing", "failed", "skipped")
#: What each tier proves, in words that promise no more.
PROOF = {
    "sent": "every archive was sent, and nothing shows that the server has these bytes",
    "receipts": "S3 compared what this run put with its checksums; nobody has looked whether it still exists",
    "probe": "every key exists, and S3 compared what this run put with its checksums; nobody has read the objects",
    "read checksums": "every object exists with the size and the SHA-256 that it was sent with",
    "read bytes": "every object was downloaded, decompressed and hashed",
}


def summarize(records: RunRecords, sources: Iterable[str] = ()) -> dict[str, Any]:
    """Return the figures of a run, by source and in all: small enough for XCom.

    :param records: what the run's tasks wrote, checked: every archive has its receipt
    :param sources: the names of the sources that were asked for: those without files are in the result, too
    """
    outcomes = {receipt.key: receipt.outcome for receipt in records.receipts}
    by_source: dict[str, Counter[str]] = defaultdict(Counter, {name: Counter() for name in sources})
    for file in records.files:
        by_source[file.source]["files"] += 1
    for failure in records.failures:
        by_source[failure.source]["skipped" if failure.accepted else "failed"] += 1
    for one in objects_of(records.archives):
        counts = by_source[one.archives[0].source]
        counts["objects"] += 1
        counts["raw_bytes"] += one.raw_size
        counts["stored_bytes"] += one.size
        counts[outcomes[one.key]] += 1
    total = sum(by_source.values(), Counter[str]())
    return {
        **{name: total[name] for name in FIGURES},
        "sources": {
            source: {
                **{name: counts[name] for name in FIGURES},
                "ratio": round(counts["raw_bytes"] / counts["stored_bytes"], 2) if counts["stored_bytes"] else None,
            }
            for source, counts in sorted(by_source.items())
        },
    }


def format_table(summary: dict[str, Any]) -> str:
    """Return the summary as a table.

    :param summary: what `summarize` returned
    """
    rows = [["source", "files", "raw", "stored", "ratio", "new", "existing", "failed", "skipped"]]
    for name, c in summary["sources"].items():
        sizes = [human_size(c["raw_bytes"]), human_size(c["stored_bytes"]), str(c["ratio"] or "-")]
        rows.append([name, f"{c['files']:,}", *sizes, *(f"{c[figure]:,}" for figure in rows[0][5:])])
    return "\n".join(f"{row[0]:<20} " + " ".join(f"{cell:>10}" for cell in row[1:]) for row in rows)
