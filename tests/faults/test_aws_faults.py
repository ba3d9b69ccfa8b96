"""Faults between this machine and the archive: of each task, what it does, what it says, and what the archive has."""

from __future__ import annotations

import gc
import random
import secrets
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.faults.cases import (
    NETWORK,
    TRANSIENT,
    Archive,
    Begin,
    Case,
    always,
    cases,
    content,
    name_of,
    run_directly,
    run_tasks,
    write_day,
)
from tests.faults.tries import Tries
from tests.support.fault_proxy import (
    CutOff,
    Drips,
    Fault,
    NeverContinues,
    OtherHeaders,
    Refused,
    ResetBeforeTheAnswer,
    ResetInTheRequest,
    Stalled,
    What,
)
from tests.support.http_server import serving
from tests.support.operating import Run, write_logs
from tests.support.servers import free_port

WHERE = r"^PutObject s3://archive-\w+/logs/\S+ as arn:aws:iam::222222222222:role/LogWriterRole \(session log-archival@"
REDIRECT = {"Location": "http://127.0.0.1:9/elsewhere"}
SLOW_DOWN, DENIED = Refused(503, "SlowDown"), Refused(403, "AccessDenied")
RACE = Refused(409, "ConditionalRequestConflict")

PUTS = {
    "503 once": Case(SLOW_DOWN),
    "503 always": always(SLOW_DOWN, "retried", f"{WHERE}.* failed: 503 SlowDown: .*{TRANSIENT}"),
    "500 always": always(Refused(500, "InternalError"), "retried", f"500 InternalError.*{TRANSIENT}"),
    "502 of a proxy, in HTML": Case(Refused(502, body="<html>Bad Gateway</html>")),
    "409 once": Case(RACE),
    "409 always": always(RACE, "retried", f"409 ConditionalRequestConflict.*{TRANSIENT}"),
    "reset in the request": Case(ResetInTheRequest()),
    "reset in each request": always(ResetInTheRequest(), "retried", f"{WHERE}.*{NETWORK}"),
    "reset before the answer": Case(ResetBeforeTheAnswer()),
    "reset before each answer": always(ResetBeforeTheAnswer(), "retried", f"{WHERE}.*{NETWORK}"),
    "stalled once": Case(Stalled()),
    "stalled after it was carried out": always(Stalled(carried_out=True), "retried", f"Read timeout.*{NETWORK}"),
    "drips": always(Drips()),
    "no checksum and no ETag": always(OtherHeaders({"etag": None, "x-amz-checksum-sha256": None})),
    "another checksum": always(
        OtherHeaders({"x-amz-checksum-sha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}),
        "cleared", "^S3 stored s3://.* with SHA-256 e3b0c442.* was sent.*administers the archive.*versions",
    ),
    "clock skew": always(
        Refused(403, "RequestTimeTooSkewed"), "retried", "403 RequestTimeTooSkewed.*this machine's clock"
    ),
    "expired session": always(Refused(400, "ExpiredToken"), "retried", "400 ExpiredToken.*assumes the role again"),
    "denied": always(DENIED, "cleared", f"{WHERE}.* failed: 403 AccessDenied.*Likely"),
    "denied without a body": always(Refused(403), "cleared", f"{WHERE}.* failed: 403 403.*Likely"),
    "301": always(
        Refused(301, "PermanentRedirect", headers=REDIRECT), "cleared", "301 PermanentRedirect.*region_name"
    ),
    "307 without a body": always(Refused(307, headers=REDIRECT), "cleared", "failed: 307 307.*endpoint_url"),
}  # fmt: skip
FEW_PUTS = {
    name: PUTS[name]
    for name in (
        "503 once", "503 always", "409 always", "reset in each request", "reset before the answer",
        "reset before each answer", "denied",
    )
}  # fmt: skip


@cases(PUTS)
def test_upload_of_staged_archives(case: Case, archive: Archive, tmp_path: Path, day: str, tally: Begin) -> None:
    row = tally(name_of(case.what), "upload of staged archives")
    source, run = write_day(tmp_path, day), Run(archive.bucket, tmp_path / "staging", day)
    tries = Tries(run.context, archive.proxy.mend)
    archive.begin(case, "PutObject", "/app/web-")
    summary = run_tasks(run, tries, source)
    archive.judge(case, tries, row, archive.difference(day, content(tmp_path)))
    assert (summary["files"], summary["failed"]) == (4, 0)
    # Nothing tells whether a key that exists is of the put whose answer was lost.
    may_have_put = isinstance(case.what, ResetBeforeTheAnswer | Stalled | OtherHeaders)
    assert summary["existing"] == 0 or may_have_put


@cases(FEW_PUTS)
def test_upload_in_one_task(case: Case, archive: Archive, tmp_path: Path, day: str, tally: Begin) -> None:
    row = tally(name_of(case.what), "compress and upload")
    source, run = write_day(tmp_path, day), Run(archive.bucket, tmp_path, day)
    tries = Tries(run.context, archive.proxy.mend)
    archive.begin(case, "PutObject", "/app/web-")
    assert run_directly(run, tries, source)["files"] == 4
    archive.judge(case, tries, row, archive.difference(day, content(tmp_path)))


@cases(FEW_PUTS)
def test_put_of_the_manifest(case: Case, archive: Archive, tmp_path: Path, day: str, tally: Begin) -> None:
    row = tally(name_of(case.what), "verify: manifest")
    source, run = write_day(tmp_path, day), Run(archive.bucket, tmp_path / "staging", day)
    tries = Tries(run.context, archive.proxy.mend)
    archive.begin(case, "PutObject", "/_manifest-")
    summary = run_tasks(run, tries, source)
    archive.judge(case, tries, row, archive.difference(day, content(tmp_path)))
    assert len(summary["manifests"]) == 1


PROBES = {name: case for name, case in FEW_PUTS.items() if "409" not in name} | {
    "answers without a body": always(CutOff(0)),
}


@cases(PROBES)
def test_probes(case: Case, archive: Archive, tmp_path: Path, day: str, tally: Begin) -> None:
    row = tally(name_of(case.what), "verify: probe")
    source, run = write_day(tmp_path, day), Run(archive.bucket, tmp_path / "staging", day)
    tries = Tries(run.context, archive.proxy.mend)
    run.collect(source)
    run.compress()
    run.upload()
    archive.begin(case, "PutObject", "/app/web-")
    assert tries.run(run.verify)["tier"] == "probe"
    archive.judge(case, tries, row, archive.difference(day, content(tmp_path)))


def test_second_run_of_a_day_reads_412_without_a_body_as_existing(
    archive: Archive, tmp_path: Path, day: str, tally: Begin
) -> None:
    case = always(CutOff(0))
    row = tally(name_of(case.what), "compress and upload")
    source, run = write_day(tmp_path, day), Run(archive.bucket, tmp_path, day)
    tries = Tries(run.context)
    run_directly(run, tries, source)
    archive.begin(case, "PutObject", "/app/web-")
    assert run_directly(run, tries, source)["existing"] == 4
    archive.judge(case, tries, row, archive.difference(day, content(tmp_path)))


ROLE = (
    "^AssumeRole arn:aws:iam::222222222222:role/LogWriterRole as the credentials of connection 'log_archive' failed: "
)
NO_STS = "is the endpoint an STS.*role_arn.*external_id"
UNREADABLE = "the response can't be read.*a retry may succeed"
ROLES = {
    "429 once": Case(Refused(429, "TooManyRequestsException")),
    "429 always": always(Refused(429, "TooManyRequestsException"), "retried", f"{ROLE}429 .*{TRANSIENT}"),
    "400 throttling": always(Refused(400, "Throttling"), "retried", f"{ROLE}400 Throttling.*{TRANSIENT}"),
    "503": always(Refused(503, "ServiceUnavailable"), "retried", f"{ROLE}503 .*{TRANSIENT}"),
    "503 in plain text": always(Refused(503, body="no server"), "retried", f"{ROLE}503 {UNREADABLE}"),
    "reset before the answer": always(ResetBeforeTheAnswer(), "retried", NETWORK),
    "stalled": always(Stalled(), "retried", f"Read timeout.*{NETWORK}"),
    "drips": always(Drips()),
    "cut off": always(CutOff(0.7), "retried", f"{ROLE}200 {UNREADABLE}"),
    "cut off at once": always(CutOff(0), "retried", f"{ROLE}200 {UNREADABLE}"),
    "clock skew": always(Refused(403, "RequestTimeTooSkewed"), "retried", f"{ROLE}403 .*this machine's clock"),
    "denied": always(DENIED, "cleared", f"{ROLE}403 AccessDenied.*external_id.*trust policy"),
    "denied in HTML": always(Refused(403, body="<html><p>Forbidden</html>"), "cleared", f"{ROLE}403 .*{NO_STS}"),
    "denied without a body": always(Refused(403), "cleared", f"{ROLE}403 .*{NO_STS}"),
    "denied in S3's form": always(
        Refused(403, body="<Error><Code>AccessDenied</Code><RequestId>tx0</RequestId></Error>"),
        "cleared", f"{ROLE}403 AccessDenied.*external_id.*trust policy",
    ),
    "404 in JSON": always(Refused(404, body='{"code": 404}'), "cleared", f"{ROLE}404 .*{NO_STS}"),
    "404 in XML without a code": always(Refused(404, body="<Error/>"), "cleared", f"{ROLE}404 .*{NO_STS}"),
    "404 without a body": always(Refused(404), "cleared", f"{ROLE}404 .*{NO_STS}"),
    "expired credentials": always(Refused(403, "ExpiredToken"), "cleared", f"{ROLE}403 ExpiredToken.*renew them"),
    "307": always(Refused(307, headers=REDIRECT), "cleared", f"{ROLE}307 .*endpoint_url"),
    "a page of a proxy": always(Refused(200, body="<html><p>Log in</p></html>"), "retried", f"{ROLE}.*proxy"),
}  # fmt: skip


@cases(ROLES)
def test_assume_role(case: Case, archive: Archive, tmp_path: Path, day: str, tally: Begin) -> None:
    row = tally(name_of(case.what), "AssumeRole")
    source, run = write_day(tmp_path, day), Run(archive.bucket, tmp_path, day)
    tries = Tries(run.context, archive.proxy.mend)
    archive.begin(case, "AssumeRole")
    run_directly(run, tries, source)
    archive.judge(case, tries, row, archive.difference(day, content(tmp_path)))


@pytest.mark.parametrize("service", ["sts", "s3"])
@pytest.mark.parametrize("how", ["connection refused", "no such host"])
def test_server_that_is_not_there(
    how: str, service: str, archive: Archive, tmp_path: Path, day: str, tally: Begin
) -> None:
    row = tally(how, service)
    host = "127.0.0.1" if how == "connection refused" else "s3.nowhere.invalid"
    nowhere, there = f"http://{host}:{free_port()}", archive.proxy.url
    archive.monkeypatch.setattr(socket, "getaddrinfo", NoSuchHost(socket.getaddrinfo))
    archive.connect(nowhere if service == "s3" else there, sts_url=nowhere if service == "sts" else there)
    source, run = write_day(tmp_path, day), Run(archive.bucket, tmp_path, day)
    tries = Tries(run.context, archive.connect)
    run_directly(run, tries, source)
    archive.proxy.injected += 1
    case = always(Stalled(), "retried", f"{'AssumeRole' if service == 'sts' else 'PutObject'}.*{host}.*{NETWORK}")
    archive.judge(case, tries, row, archive.difference(day, content(tmp_path)))


class NoSuchHost:
    """Resolves names, and none of those that no server has, without asking one."""

    def __init__(self, resolve: Any) -> None:
        self._resolve = resolve

    def __call__(self, host: str, *arguments: Any, **options: Any) -> Any:
        if str(host).endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self._resolve(host, *arguments, **options)


#: Above it, a client asks whether it may send the body.
LARGE_BYTES = 5 << 20
LARGE = {
    "never told to continue": always(NeverContinues()),
    "reset in the request": Case(ResetInTheRequest()),
    "reset before the answer": Case(ResetBeforeTheAnswer()),
    "503 before the body": always(SLOW_DOWN, "retried", TRANSIENT),
}


@cases(LARGE)
def test_put_of_a_large_body(case: Case, archive: Archive, tmp_path: Path, day: str, tally: Begin) -> None:
    row = tally(name_of(case.what), "upload of a large archive")
    line = secrets.token_hex(500).encode() + b"\n"
    source = write_logs(tmp_path / "logs", day, {f"app-{day}.log": line * (LARGE_BYTES // len(line))})
    run = Run(archive.bucket, tmp_path / "staging", day)
    tries = Tries(run.context, archive.proxy.mend)
    archive.begin(case, "PutObject", "/app/app-")
    run.collect(source)
    run.compress(codec="none")
    tries.run(run.upload)
    archive.proxy.mend()
    run.verify()
    archive.judge(case, tries, row, archive.difference(day, content(tmp_path)))


@contextmanager
def foreign_host() -> Iterator[tuple[str, list[str]]]:
    """Run a server that nothing may be sent to, and yield its URL and what was."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            seen.append(str(self.rfile.readline()))
            self.close_connection = True

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url, seen


def probe(bucket: str) -> None:
    from log_archival.hooks import CrossAccountS3Hook

    CrossAccountS3Hook(bucket=bucket).writer.probe("logs/x")


def get_object(bucket: str) -> None:
    from log_archival.hooks.source_clients import source_client
    from log_archival.sources.s3 import CLIENT_CONFIG

    source_client("s3", "source", None, CLIENT_CONFIG).get_object(Bucket=bucket, Key="first")


REDIRECTED = {"PutObject": probe, "AssumeRole": probe, "GetObject": get_object}


def collect_what_urllib3_leaves_open() -> None:
    """Close sockets now, and not in another test: of a 303, urllib3 can't change botocore's headers, and breaks off."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("operation", REDIRECTED)
def test_redirect_to_a_foreign_host_is_not_followed(
    operation: str, status: int, archive: Archive, tmp_path: Path, day: str
) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    from log_archival.exceptions import LogArchivalError

    with foreign_host() as (url, seen):
        headers = {"Location": f"{url}/logs/x", "x-amz-bucket-region": "eu-west-3"}
        archive.proxy.faults = [Fault(Refused(status, headers=headers), operation)]
        with pytest.raises((LogArchivalError, ClientError, BotoCoreError)):
            REDIRECTED[operation](archive.bucket)
    if status == 303:
        collect_what_urllib3_leaves_open()
    assert archive.proxy.injected
    assert seen == []


MIX: dict[str, What] = {
    "503": SLOW_DOWN,
    "500": Refused(500, "InternalError"),
    "409": RACE,
    "expired session": Refused(400, "ExpiredToken"),
    "reset in the request": ResetInTheRequest(),
    "reset before the answer": ResetBeforeTheAnswer(),
    "dripping": Drips(),
    "no checksum": OtherHeaders({"etag": None, "x-amz-checksum-sha256": None}),
}


def test_runs_with_all_kinds_of_faults_at_random(
    archive: Archive, tmp_path: Path, tally: Begin, chance: random.Random, rounds: int
) -> None:
    row = tally("a mix, at random", "all requests")
    for number in range(2 * rounds):
        day = f"1970-{1 + number // 28 % 12:02}-{1 + number % 28:02}"
        folder = tmp_path / str(number)
        source, run = write_day(folder, day, 40), Run(archive.bucket, folder / "staging", day)
        # The last try has none.
        archive.proxy.faults = [Fault(what, chance=chance.uniform(0, 0.03)) for what in MIX.values()]
        tries = Tries(run.context, LastTry(archive, 3))
        (run_tasks if number % 2 else run_directly)(run, tries, source)
        found = archive.difference(day, content(folder))
        row.archived += tries.fate == "archived"
        row.passed_on_retry += tries.fate != "archived"
        row.add(found)
        assert (found.lines_lost, found.objects_twice, found.partial_objects) == (0, 0, 0)
    row.injected += archive.proxy.injected
    assert archive.proxy.injected


class LastTry:
    """Ends the faults before the last try of a task, so that each run ends."""

    def __init__(self, archive: Archive, failures: int) -> None:
        self._archive, self._left = archive, failures

    def __call__(self) -> None:
        self._left -= 1
        if not self._left:
            self._archive.proxy.mend()
