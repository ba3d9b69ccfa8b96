"""What Airflow's database remembers of a day: asset events for days that are archived, and an XCom of each run.

The page *Log archive* and the runs' notes are made of these. Nothing else keeps history: there is no store of ours.

- The event of the *day asset* ``s3://BUCKET/logs/``, one for each run that succeeded, has what `verify` returned. Other
  teams' DAGs name this asset as well, and what they write of it may win: it is known by its name alone.
- The event of the *contents asset*, of the same task, lists the archives: a page of 90 days needn't read them. It is
  ours alone, so the page finds the DAGs that archive by it.
- The XCom `OUTCOME` is small, and exists of failed tasks, too: they have no events.
"""

import base64
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import islice
from typing import Any
from urllib.parse import quote

from log_archival.records import Archive, Receipt

#: How names of contents assets begin, and how they end. Airflow leaves URIs of such schemes as they are.
#: https://airflow.apache.org/docs/apache-airflow/stable/authoring-and-scheduling/assets.html
CONTENTS_SCHEME, CONTENTS_END = "x-log-archive://", "contents"
#: Where Airflow's web server has the page, below its own path.
PAGE_PREFIX = "/log-archive"
#: The key of the XCom with what a task did, or why it failed.
OUTCOME = "outcome"
#: Of one run, so many archives are listed; all of them are in its manifest. About 80 bytes each.
MAX_LISTED_ARCHIVES = 1_000
_MAX_LISTING_BYTES = 4 << 20


def day_asset_name(bucket: str, prefix: str) -> str:
    """Return the name of a day asset, which is its URI.

    :param bucket: the archive bucket
    :param prefix: what the archive account's policies allow, with its slash
    """
    return f"s3://{bucket}/{prefix}"


def contents_asset_name(day_asset: str) -> str:
    """Return the name of the contents asset, which is its URI.

    :param day_asset: the name of the day asset
    """
    return f"{CONTENTS_SCHEME}{day_asset.removeprefix('s3://')}{CONTENTS_END}"


def page_url(base_url: str, dag_id: str, day: str | None = None) -> str:
    """Return the address of the page *Log archive*, at a DAG or one of its days.

    :param base_url: Airflow's, with or without a path; when empty, the address is of the same host
    :param dag_id: the DAG that archives
    :param day: ``2026-11-22``
    """
    parts = [dag_id, day] if day else [dag_id]
    return f"{base_url.rstrip('/')}{PAGE_PREFIX}/#/{'/'.join(quote(part, safe='') for part in parts)}"


def leading_lines(error: str) -> list[str]:
    """Return the lines of an error that say what it is: the first; of a list of problems, the first problem as well.

    :param error: an error's message
    """
    lines = error.strip().splitlines() or [""]
    return lines[: 2 if lines[0].endswith(":") else 1]


@dataclass(frozen=True)
class ListedArchive:
    """One archive, as the history has it.

    :param source: the source's name
    :param path: the log file's absolute path, or its URL
    :param part: the part's number, from 1
    :param parts: how many parts the file has
    :param key: the object's key
    :param raw_size: of the uncompressed content, in bytes
    :param stored_size: of the object, in bytes
    :param raw_sha256: of the uncompressed content, in hex
    :param is_new: whether this run put the object; otherwise its key existed already
    """

    source: str
    path: str
    part: int
    parts: int
    key: str
    raw_size: int
    stored_size: int
    raw_sha256: str
    is_new: bool


def list_archives(archives: Sequence[Archive], receipts: Iterable[Receipt]) -> dict[str, Any]:
    """Return the extra of the contents asset's event.

    :param archives: of a run
    :param receipts: of these archives
    """
    new = {receipt.key for receipt in receipts if receipt.outcome == "new"}
    listed = [
        astuple(
            ListedArchive(
                one.source,
                one.path,
                one.part,
                one.parts,
                one.key,
                one.raw_size,
                one.stored_size,
                one.raw_sha256,
                one.key in new,
            )
        )
        for one in islice(archives, MAX_LISTED_ARCHIVES)
    ]
    # Names may hold bytes that are no UTF-8, as surrogates: JSON's escapes carry them.
    text = zlib.compress(json.dumps(listed, separators=(",", ":")).encode(), 9)
    return {"count": len(archives), "listed": len(listed), "archives": base64.b64encode(text).decode()}


def listed_archives(extra: Mapping[str, Any]) -> list[ListedArchive]:
    """Read back what `list_archives` wrote. Whoever may create asset events may have written something else.

    :param extra: of the event
    :raises ValueError: for anything else
    """
    try:
        expand = zlib.decompressobj()
        text = expand.decompress(base64.b64decode(extra["archives"], validate=True), _MAX_LISTING_BYTES)
        if not expand.eof:
            raise ValueError(f"more than {_MAX_LISTING_BYTES:,} bytes, or cut off")
        return [_listed(*row) for row in json.loads(text)]
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise ValueError(f"not a list of archives: {error}") from None


def _listed(*row: Any) -> ListedArchive:
    archive = ListedArchive(*row)
    if [type(value) for value in row] != [str, str, int, int, str, int, int, str, bool]:
        raise ValueError("a field is of another type")
    return archive
