"""The demo's own checks, as the archive account's administrator and reader, and with the writer's credentials.

Nothing here asks Airflow or imports `log_archival`: the keys are computed from the files' own bytes.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from backports import zstd
from botocore.exceptions import ClientError

from dev.demo.report import Keys
from dev.demo.workspace import ROOT, DemoError, Workspace
from dev.local_aws import REGION, LocalAws

#: (key, version id) of each object version, and its size in bytes; a delete marker has the size None.
Versions = Mapping[tuple[str, str], int | None]
_OWNER_ACL = "bucket-owner-full-control"
_COMMAND_SECONDS = 180.0  # a command takes a few


def require(holds: bool, claim: str) -> None:
    """Raise DemoError if a claim of the demo doesn't hold."""
    if not holds:
        raise DemoError(f"this should hold and doesn't: {claim}")


def key_of(folder: Workspace, day: date, path: Path) -> str:
    """Return the key that a file must be archived under: its day, source, path and the SHA-256 of its bytes."""
    name = PurePosixPath(path.relative_to(folder.logs).as_posix())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:32]
    codec = "" if name.suffix == ".gz" else ".zst"  # already compressed files stay as they are
    return f"logs/{day:%Y/%m/%d}/{quote(str(name.with_suffix('')), safe='/!_.-()')}-{digest}{name.suffix}{codec}"


def object_versions(aws: LocalAws) -> dict[tuple[str, str], int | None]:
    """Return every version of every object in the bucket."""
    found: dict[tuple[str, str], int | None] = {}
    for page in aws.archive_client("s3").get_paginator("list_object_versions").paginate(Bucket=aws.bucket):
        found |= {(version["Key"], version["VersionId"]): version["Size"] for version in page.get("Versions", [])}
        found |= {(marker["Key"], marker["VersionId"]): None for marker in page.get("DeleteMarkers", [])}
    return found


def check_archived(aws: LocalAws, versions: Versions, keys: Keys) -> None:
    """Check that the bucket holds exactly these files and one manifest a day.

    :raises DemoError: with the keys that are missing, unexpected or different.
    """
    expected = {key: path for of_day in keys.values() for key, path in of_day.items()}
    found = {key for key, _ in versions}
    manifests = {key for key in found if PurePosixPath(key).name.startswith("_manifest-")}
    missing, unexpected = expected.keys() - found, found - manifests - expected.keys()
    require(not missing | unexpected, f"the archive holds these files: {missing=}, {unexpected=}")
    require(len(versions) == len(found) and None not in versions.values(), "each object has one version")
    s3 = aws.archive_client("s3")

    def body(key: str) -> bytes:
        data: bytes = s3.get_object(Bucket=aws.bucket, Key=key)["Body"].read()
        return data

    for day, of_day in keys.items():
        listings = [json.loads(body(key)) for key in manifests if key.startswith(f"logs/{day:%Y/%m/%d}/")]
        listed = [{entry["key"] for entry in listing["archives"]} for listing in listings]
        require(listed == [of_day.keys()], f"{day} has one manifest, which lists its files; it has {len(listings)}")

    def differs(key: str) -> bool:
        stored = body(key)
        return (zstd.decompress(stored) if key.endswith(".zst") else stored) != expected[key].read_bytes()

    with ThreadPoolExecutor(8) as pool:
        different = [key for key, unequal in zip(expected, pool.map(differs, expected), strict=True) if unequal]
    require(not different, f"each archive holds its file's bytes, but not {different[:5]}")


def try_forbidden(aws: LocalAws, key: str) -> list[tuple[str, str, str]]:
    """Try, with the writer's and Airflow's own credentials, what neither may do.

    The writer's session is the widest there is, without the session policy that narrows it in each run.

    :param key: of an archived log.
    :returns: what was tried, the expected error code of S3 or STS, and the one that came, or "no error".
    """
    writer = aws.assume(session_name="log-archival@demo").client("s3")
    airflow = aws.airflow_client("s3")
    archived = {"Bucket": aws.bucket, "Key": key}
    new = {"Bucket": aws.bucket, "Key": "logs/new.log"}
    body = {"Body": b"not what was archived"}
    agreed = {**body, "ACL": _OWNER_ACL, "IfNoneMatch": "*"}
    denied = "AccessDenied"
    attempts: Sequence[tuple[str, str, Callable[[], Any]]] = [
        ("read a log", denied, lambda: writer.get_object(**archived)),
        ("ask whether a log exists", "403", lambda: writer.head_object(**archived)),
        ("list the logs", denied, lambda: writer.list_objects_v2(Bucket=aws.bucket, Prefix="logs/")),
        ("delete a log", denied, lambda: writer.delete_object(**archived)),
        # This error also shows that the credentials work: the put as such was allowed.
        ("overwrite a log with If-None-Match", "PreconditionFailed", lambda: writer.put_object(**archived, **agreed)),
        ("overwrite a log without it", denied, lambda: writer.put_object(**archived, **body, ACL=_OWNER_ACL)),
        ("write outside logs/", denied, lambda: writer.put_object(Bucket=aws.bucket, Key="other/new.log", **agreed)),
        ("write without the ACL", denied, lambda: writer.put_object(**new, **body, IfNoneMatch="*")),
        ("write with Airflow's own keys, without the role", denied, lambda: airflow.put_object(**new, **agreed)),
        ("assume the role with a wrong external id", denied, lambda: aws.assume("a-wrong-external-id")),
        ("assume the role without an external id", denied, lambda: aws.assume(None)),
    ]
    return [(tried, expected, _error_code(call)) for tried, expected, call in attempts]


def _error_code(call: Callable[[], Any]) -> str:
    try:
        call()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "no error"


def run_reader(aws: LocalAws, *arguments: str) -> dict[str, Any]:
    """Run `python -m log_archival.reader.cli` with the reader role's credentials only; return its JSON.

    :raises DemoError: when its exit status isn't 0, with what it printed.
    """
    print(f"  $ python -m log_archival.reader.cli {' '.join(arguments)}")
    done = subprocess.run(
        [sys.executable, "-m", "log_archival.reader.cli", *arguments, "--json"],
        env={"PATH": os.defpath, "AWS_CONFIG_FILE": os.devnull, **reader_environment(aws)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_COMMAND_SECONDS,
        check=False,
    )
    printed = f"{done.stdout[-2000:]}{done.stderr[-2000:]}"
    require(done.returncode == 0, f"`log_archival {arguments[0]}` succeeds:\n{printed}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def reader_environment(aws: LocalAws) -> dict[str, str]:
    """Return the variables with which `python -m log_archival.reader.cli` reads the archive, for an hour."""
    credentials = aws.assume_reader().credentials
    return {
        "AWS_ACCESS_KEY_ID": credentials.access_key,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
        "AWS_SESSION_TOKEN": credentials.token or "",
        "AWS_ENDPOINT_URL": aws.endpoint_url,
        "AWS_DEFAULT_REGION": REGION,
        "PYTHONPATH": str(ROOT / "plugins"),
    }


def check_restored(folder: Workspace, originals: Iterable[Path]) -> int:
    """Check that exactly these files were restored, byte for byte; return their number.

    :raises DemoError: with the names that differ.
    """
    expected = {path.relative_to(folder.logs): path.read_bytes() for path in originals}
    restored = [path for path in folder.restored.rglob("*") if not path.is_dir()]
    found = {path.relative_to(folder.restored): path.read_bytes() for path in restored}
    different = [str(name) for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
    require(not different, f"the restored files are the originals, but not {sorted(different)[:5]}")
    return len(found)
