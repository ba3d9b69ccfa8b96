"""The partition: the calendar day that a run archives, in the archive's time zone."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from log_archival.exceptions import SettingsError

#: For a DAG with the param.
OPEN_DAY_HINT = "Wait for the day to end, or set the param `allow_open_day` to archive what is there so far."


@dataclass(frozen=True)
class Partition:
    """One calendar day.

    :param day: the day
    :param timezone: the IANA name of the zone whose midnight bounds it, for example ``Europe/Paris``
    :raises SettingsError: when there is no such zone
    """

    day: date
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        zone(self.timezone)

    @classmethod
    def parse(cls, text: str, timezone: str = "UTC") -> Self:
        """Read ``2026-11-22``.

        :param text: the day
        :param timezone: the IANA name of the zone
        :raises SettingsError: for anything else, a time of day included: a partition is a whole day
        """
        try:
            # fromisoformat alone would accept 20261122, which would then name another Airflow partition key.
            day = date.fromisoformat(text)
            if day.isoformat() != text:
                raise ValueError(text)
        except (TypeError, ValueError):
            raise SettingsError(f"partition {text!r} is not a day such as 2026-11-22") from None
        return cls(day, timezone)

    @property
    def key(self) -> str:
        """The day as Airflow's partition key has it: ``2026-11-22``."""
        return self.day.isoformat()

    @property
    def start(self) -> datetime:
        """The first instant of the day. Days are not all 24 hours long, so `end` is not this plus 24 h."""
        return datetime.combine(self.day, time.min, zone(self.timezone))

    @property
    def end(self) -> datetime:
        """The first instant after the day.

        :raises SettingsError: for the last day that there is, 9999-12-31
        """
        if self.day == date.max:
            raise SettingsError(f"{self.key} can't be archived: no day follows it")
        return datetime.combine(self.day + timedelta(days=1), time.min, zone(self.timezone))

    def contains(self, mtime_ns: int) -> bool:
        """Return whether a modification time is within the day.

        :param mtime_ns: in nanoseconds since the epoch
        """
        # In whole seconds, with which a day begins: a float can't hold the epoch's nanoseconds.
        return self.start.timestamp() <= mtime_ns // 10**9 < self.end.timestamp()


def zone(name: str) -> ZoneInfo:
    """Return a time zone.

    :param name: its IANA name
    :raises SettingsError: when there is no such zone
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError):  # of a path outside, of a folder such as Europe, …
        raise SettingsError(f"{name!r} is not a time zone such as Europe/Paris") from None


def choose_partition(
    partition_key: str | None,
    date_param: str | None,
    logical_date: datetime | None,
    run_after: datetime | None,
    timezone: str,
) -> Partition:
    """Return the day that a run archives.

    It is the run's partition key, else its ``date`` param, else its logical date's day. A run that names none of them,
    such as one of the trigger form as it opens, archives the last day that was over when it was triggered.

    Never the wall clock: a backfill of March writes into March, and a retry into the first try's day, whenever they
    run.

    :param partition_key: the run's partition key
    :param date_param: the run's param ``date``
    :param logical_date: the run's logical date
    :param run_after: the earliest time at which the run may start, which of a run by hand is when it was triggered:
        https://airflow.apache.org/docs/apache-airflow/stable/core-concepts/dag-run.html
    :param timezone: the archive's time zone
    :raises SettingsError: when the run names no day, or a partition key and a ``date`` that differ
    """
    if partition_key and date_param and partition_key != date_param:
        raise SettingsError(
            f"the run's partition key is {partition_key} and its `date` param {date_param}",
            hint="Give one of them, or the same day twice.",
        )
    if partition_key or date_param:
        return Partition.parse(partition_key or date_param or "", timezone)
    here = zone(timezone)
    try:
        if logical_date is not None:
            return Partition(logical_date.astimezone(here).date(), timezone)
        if run_after is not None:
            return Partition(run_after.astimezone(here).date() - timedelta(days=1), timezone)
    except OverflowError:
        raise SettingsError(f"{logical_date or run_after} is on no day in {timezone}") from None
    raise SettingsError(
        "the run names no day to archive: it has no partition key, no `date` param, no logical date and no `run_after`",
        hint="Trigger it with a partition key or with `date` set to a day such as 2026-11-22.",
    )


def require_over(partition: Partition, now: datetime, *, allow_open: bool = False, hint: str = OPEN_DAY_HINT) -> None:
    """Refuse a day that is not over: its files still grow.

    :param partition: the day
    :param now: an aware datetime
    :param allow_open: whether to accept the day all the same, as it is now
    :param hint: what to do otherwise
    :raises SettingsError: when the day is not over
    """
    if not allow_open and now < partition.end:
        here = now.astimezone(zone(partition.timezone))
        raise SettingsError(
            f"{partition.key} is not over in {partition.timezone} (it is {here:%Y-%m-%d %H:%M} there), so its log files"
            " may still grow",
            hint=hint,
        )
