"""Faults between this machine and S3 or STS: of each task, what it does, what it says, and what the archive has."""

from __future__ import annotations

import functools
import logging
import random
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from botocore.loaders import create_loader

from log_archival.aws import writer as writer_module
from log_archival.sources.base import Source
from log_archival.sources.files import FileSource
from tests.faults.read_back import Difference, difference
from tests.faults.tally import Tally
from tests.faults.tries import Fate, Tries
from tests.support.fault_proxy import (
    Drips,
    Fault,
    FaultProxy,
    OtherHeaders,
    Refused,
    ResetBeforeTheAnswer,
    ResetInTheRequest,
    Stalled,
    StalledAnswer,
    What,
)
from tests.support.operating import Run, connect, write_logs

if TYPE_CHECKING:
    from tests.support.seaweed import Seaweed

Begin = Callable[[str, str], Tally]
#: A client's read time-out where nothing comes, and otherwise; and how many attempts it makes.
SHORT_SECONDS, LONG_SECONDS = 1, 30
ATTEMPTS = 2
NOTHING_WRONG = Difference()


@dataclass(frozen=True)
class Case:
    """A fault and what becomes of the task that meets it.

    :param what: happens
    :param fate: of the task
    :param says: a regular expression for its error
    :param times: to so many requests; None for all, until the task has failed
    """

    what: What
    fate: Fate = "archived"
    says: str = ""
    times: int | None = 1


def always(what: What, fate: Fate = "archived", says: str = "") -> Case:
    return Case(what, fate, says, None)


def cases(table: dict[str, Case]) -> Any:
    return pytest.mark.parametrize("case", table.values(), ids=table)


@dataclass
class Archive:
    """The archive bucket, behind a proxy, and the days' runs.

    :param store: the server
    :param proxy: in front of it
    :param bucket: the archive bucket
    """

    store: Seaweed
    proxy: FaultProxy
    bucket: str
    reader: Any
    monkeypatch: pytest.MonkeyPatch
    read_timeout: int = LONG_SECONDS

    def connection(self, endpoint_url: str = "", **extra: Any) -> dict[str, Any]:
        found = self.store.connection()
        url = endpoint_url or self.proxy.url
        retries = {"mode": "standard", "total_max_attempts": ATTEMPTS}
        found["extra"] |= {
            "endpoint_url": url,
            "service_config": {"sts": {"endpoint_url": url}},
            "config_kwargs": {"retries": retries, "read_timeout": self.read_timeout},
            **extra,
        }
        return found

    def source_connection(self, endpoint_url: str = "") -> dict[str, Any]:
        found = self.connection(endpoint_url, role_arn=None, external_id=None)
        return found | {"login": self.store.access_key, "password": self.store.secret_key}

    def begin(self, case: Case, operation: str, key: str = "") -> None:
        """Have the fault from now on."""
        if isinstance(case.what, Stalled | StalledAnswer):
            self.read_timeout = SHORT_SECONDS
            self.connect()
        self.proxy.faults = [Fault(case.what, operation, key, times=case.times)]

    def connect(self, endpoint_url: str = "") -> None:
        connect(self.monkeypatch, self.connection(endpoint_url))
        connect(self.monkeypatch, self.source_connection(endpoint_url), "source")

    def difference(self, day: str, written: list[bytes]) -> Difference:
        return difference(self.reader, self.bucket, f"logs/{day.replace('-', '/')}/", written)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the clients not wait before they try again, for which neither has a setting."""
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None))
    monkeypatch.setattr(writer_module._retried_after_a_race, "sleep", lambda _: None)


@pytest.fixture(scope="module", autouse=True)
def _one_loader() -> Iterator[None]:
    """Have botocore read its descriptions of services once, and not for each of some hundred clients."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.session.create_loader", functools.cache(create_loader))
        yield


@pytest.fixture(scope="module")
def bucket(store: Seaweed) -> str:
    name = store.bucket(f"archive-{secrets.token_hex(4)}")
    # The first put takes long: the store makes its volumes.
    store.client().put_object(Bucket=name, Key="first", Body=b"x")
    return name


@pytest.fixture(scope="module")
def reader(store: Seaweed) -> Any:
    return store.client()


@pytest.fixture
def archive(
    store: Seaweed,
    bucket: str,
    reader: Any,
    chance: random.Random,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Archive]:
    """The archive; afterwards, no log line may have had a secret, not even at level DEBUG."""
    caplog.set_level(logging.DEBUG)
    with FaultProxy(store.endpoint_url, chance).serve() as proxy:
        found = Archive(store, proxy, bucket, reader, monkeypatch)
        found.connect()
        yield found
    require_no_secrets(found, caplog.text)


def require_no_secrets(archive: Archive, text: str) -> None:
    known = {archive.store.user_secret_key, archive.store.secret_key, archive.connection()["extra"]["external_id"]}
    for secret in known | archive.proxy.secrets:
        assert secret not in text, "a secret was shown"


def written(path: Path) -> list[bytes]:
    return [one.read_bytes() for one in sorted(path.rglob("*")) if one.is_file()]


def logs(path: Path, day: str) -> FileSource:
    """Write files whose archives differ from those of other days, so that none is there before."""
    files = {f"web-{number}/app-{day}.log": f"{day} line of {number}\n".encode() * 200 for number in range(4)}
    return write_logs(path / "logs", day, files)


def judge(archive: Archive, case: Case, tries: Tries, row: Tally, found: Difference) -> None:
    """Check what became of a run, and count it."""
    row.injected += archive.proxy.injected
    row.archived += tries.fate == "archived"
    row.passed_on_retry += tries.fate != "archived"
    row.add(found)
    assert archive.proxy.injected, "the fault has to happen"
    assert found == NOTHING_WRONG
    assert tries.fate == case.fate, tries.errors
    if case.says:
        message = tries.message()
        assert re.search(case.says, message, re.DOTALL), message
        assert "\n" in message, f"there is no hint: {message}"
        require_no_secrets(archive, message)


TRANSIENT = "This error is transient: a retry may succeed"
NETWORK = "Is the network up"
WHERE = r"^PutObject s3://archive-\w+/logs/\S+ as arn:aws:iam::222222222222:role/LogWriterRole \(session log-archival@"
REDIRECT = {"Location": "http://127.0.0.1:9/elsewhere"}

PUT_FAULTS = {
    "503 once": Case(Refused(503, "SlowDown")),
    "503 always": always(Refused(503, "SlowDown"), "retried", f"{WHERE}.* failed: 503 SlowDown: .*{TRANSIENT}"),
    "500 once": Case(Refused(500, "InternalError")),
    "500 always": always(Refused(500, "InternalError"), "retried", f"500 InternalError.*{TRANSIENT}"),
    "502 of a proxy, in HTML": Case(Refused(502, body="<html>Bad Gateway</html>")),
    "409 once": Case(Refused(409, "ConditionalRequestConflict")),
    "409 always": always(
        Refused(409, "ConditionalRequestConflict"), "retried", f"409 ConditionalRequestConflict.*{TRANSIENT}"
    ),
    "reset in the request": Case(ResetInTheRequest()),
    "reset in each request": always(ResetInTheRequest(), "retried", f"{WHERE}.*{NETWORK}"),
    "reset before the answer": Case(ResetBeforeTheAnswer()),
    "reset before each answer": always(ResetBeforeTheAnswer(), "retried", f"{WHERE}.*{NETWORK}"),
    "stalled once": Case(Stalled()),
    "stalled always": always(Stalled(), "retried", f"{WHERE}.*Read timeout.*{NETWORK}"),
    "stalled after it was carried out": always(Stalled(carried_out=True), "retried", f"Read timeout.*{NETWORK}"),
    "drips": always(Drips()),
    "no checksum and no ETag": always(OtherHeaders({"etag": None, "x-amz-checksum-sha256": None})),
    "another checksum": always(
        OtherHeaders({"x-amz-checksum-sha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}),
        "retried", "^S3 stored s3://.* with SHA-256 e3b0c442.* was sent.*retry",
    ),
    "clock skew": always(
        Refused(403, "RequestTimeTooSkewed"), "retried", "403 RequestTimeTooSkewed.*this machine's clock"
    ),
    "expired session": always(Refused(400, "ExpiredToken"), "retried", "400 ExpiredToken.*assumes the role again"),
    "denied": always(Refused(403, "AccessDenied"), "cleared", f"{WHERE}.* failed: 403 AccessDenied.*Likely"),
    "denied without a body": always(Refused(403), "cleared", f"{WHERE}.* failed: 403 403.*Likely"),
    "301": always(
        Refused(301, "PermanentRedirect", headers=REDIRECT), "cleared", "301 PermanentRedirect.*region_name"
    ),
    "307": always(
        Refused(307, "TemporaryRedirect", headers=REDIRECT), "cleared", "307 TemporaryRedirect.*endpoint_url"
    ),
    "307 without a body": always(Refused(307, headers=REDIRECT), "cleared", "failed: 307 307.*endpoint_url"),
}  # fmt: skip


def run_staged(run: Run, tries: Tries, source: Source) -> dict[str, Any]:
    """Run the four tasks, and return what `verify` returns."""
    tries.run(lambda: run.collect(source))
    tries.run(run.compress)
    tries.run(run.upload)
    return tries.run(run.verify)


@cases(PUT_FAULTS)
def test_upload_of_staged_archives(case: Case, archive: Archive, tmp_path: Path, day: str, tally: Begin) -> None:
    row = tally(type(case.what).__name__, "upload, staged")
    source, run = logs(tmp_path, day), Run(archive.bucket, tmp_path / "staging", day)
    tries = Tries(run.context, archive.proxy.mend)
    archive.begin(case, "PutObject", "/app/web-")
    summary = run_staged(run, tries, source)
    judge(archive, case, tries, row, archive.difference(day, written(tmp_path / "logs")))
    assert summary["files"] == 4
