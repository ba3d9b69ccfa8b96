"""The day of a log file's first line: the file can't hold lines of an earlier one."""

import re
import zlib
from contextlib import suppress
from datetime import date, datetime

from log_archival.exceptions import SourceError
from log_archival.partition import Partition, zone
from log_archival.records import LogFile
from log_archival.sources.opening import open_unchecked

#: How much of a file is searched for the date of its first line.
FIRST_LINE_BYTES = 4096
_GZIP = b"\x1f\x8b"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_CLOCK = r"(?P<clock>\d\d:\d\d:\d\d)(?:[.,]\d+)?"
_OFFSET = r"(?P<offset>Z| ?[+-]\d\d:?\d\d)?"
_FORMS = (
    # ISO 8601, and nginx's error log.
    re.compile(rf"(?P<year>20\d\d)[-/](?P<month>\d\d)[-/](?P<day>\d\d)(?:[T ]{_CLOCK}{_OFFSET})?"),
    # The access logs of Apache and nginx.
    re.compile(rf"(?P<day>\d\d)/{_MONTH}/(?P<year>20\d\d)(?::{_CLOCK}{_OFFSET})?"),
    # Syslog's traditional form.
    re.compile(rf"\A(?:<\d+>)?{_MONTH} {{1,2}}(?P<day>\d{{1,2}}) {_CLOCK}"),
)


def first_day(file: LogFile, partition: Partition) -> date | None:
    """Return the day of a file's first line, in the archive's zone; None when it has no date in a usual form.

    :param file: on this machine; gzip is read, too
    :param partition: has the zone, and is near the day of a line without a year
    """
    with suppress(SourceError, OSError, zlib.error), open_unchecked(file) as stream:
        start = stream.read(FIRST_LINE_BYTES)
        if start.startswith(_GZIP):
            start = zlib.decompressobj(wbits=31).decompress(start, FIRST_LINE_BYTES)
        return day_of_line(start.partition(b"\n")[0].decode(errors="replace"), partition)
    return None


def day_of_line(line: str, partition: Partition) -> date | None:
    """Return the day of the first date in a line, in the archive's zone; None when it has none in a usual form.

    :param line: of a log; a time without an offset is one of the archive's zone
    :param partition: has the zone, and is near the day of a line without a year
    """
    matches = [match for form in _FORMS if (match := form.search(line))]
    if not matches:
        return None
    found = min(matches, key=re.Match.start).groupdict()
    month = _MONTHS.index(found["month"]) + 1 if found["month"] in _MONTHS else int(found["month"])
    around = partition.day.year
    days = []
    for year in [int(found["year"])] if "year" in found else (around - 1, around, around + 1):
        with suppress(ValueError):
            days.append(date(year, month, int(found["day"])))
    # Without a year, the nearest.
    day = min(days, key=lambda one: abs(one - partition.day), default=None)
    if day is None or not found.get("offset"):
        return day
    with suppress(ValueError):
        moment = datetime.fromisoformat(f"{day}T{found['clock']}{found['offset'].strip()}")
        return moment.astimezone(zone(partition.timezone)).date()
    return None
