"""What a run did, in figures for XCom and in a table for people."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from log_archival.records import Archive, Outcome
from log_archival.pipeline.verify import Run
from log_archival.concurrency import human

FIGURES = ("files", "objects", "raw_bytes", "stored_bytes", "new", "already", "restored")
#: What each tier knows, in words that promise no more.
KNOWN = {
    "receipts": "S3 acknowledged every archive under its checksum; nobody looked whether it is still there",
    "probe": "every key is taken, as only its own archive could have taken it; nobody has read the objects",
    "read checksums": "every object is there with the size and the SHA-256 that it was sent with",
    "read bytes": "every object was downloaded, decompressed and hashed",
}


def outcomes(run: Run, restored: Iterable[Archive]) -> dict[str, Outcome]:
    """How each key came to hold its archive, once the run is verified."""
    found: dict[str, Outcome] = dict.fromkeys(run.known, "already")
    found |= {receipt.key: receipt.outcome for receipt in run.receipts}
    return found | dict.fromkeys((archive.key for archive in restored), "restored")


def summarize(run: Run, outcome: Mapping[str, Outcome], tier: str) -> dict[str, Any]:
    """The figures of a run, by source and in all: small enough for XCom."""
    by_source: dict[str, Counter[str]] = defaultdict(Counter)
    for file in run.files:
        by_source[file.source]["files"] += 1
    for archive in run.archives:
        counts = by_source[archive.source]
        counts["objects"] += 1
        counts["raw_bytes"] += archive.raw_size
        counts["stored_bytes"] += archive.stored_size
        counts[outcome.get(archive.key, "missing")] += 1
    sources = {
        source: {
            **{name: counts[name] for name in FIGURES},
            "ratio": round(counts["raw_bytes"] / counts["stored_bytes"], 2) if counts["stored_bytes"] else None,
        }
        for source, counts in sorted(by_source.items())
    }
    total: Counter[str] = Counter()
    for counts in by_source.values():
        total.update(counts)
    return {
        "tier": tier,
        **{name: total[name] for name in FIGURES},
        "sources": sources,
    }


def table(summary: dict[str, Any]) -> str:
    """The summary for people."""
    head = (
        f"{'source':<20} {'files':>8} {'raw':>10} {'stored':>10} {'ratio':>6} {'new':>8} {'already':>8} {'restored':>8}"
    )
    rows = [
        f"{name:<20} {c['files']:>8,} {human(c['raw_bytes']):>10} {human(c['stored_bytes']):>10} "
        f"{c['ratio'] or '-':>6} {c['new']:>8,} {c['already']:>8,} {c['restored']:>8,}"
        for name, c in summary["sources"].items()
    ]
    return "\n".join([head, *rows])
