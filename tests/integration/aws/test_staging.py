"""The run directory in the source account: the policy of docs/deployment.md is enough for it, and is needed."""

from __future__ import annotations

import json
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from log_archival.exceptions import StagingError
from log_archival.pipeline.run_dir import RunDirectory, delete_abandoned_runs
from log_archival.pipeline.verified import Verified
from log_archival.records import objects_of
from tests.support.run_dir_contract import BATCH, FILES, LARGE, stage
from tests.support.source_users import user_with

if TYPE_CHECKING:
    from dev.local_aws import LocalAws

DEPLOYMENT = Path(__file__).parents[3] / "docs" / "deployment.md"


def documented(bucket: str) -> list[dict[str, Any]]:
    """Return the statements of the page for a bucket of the test's own."""
    [text] = re.findall(r"```json\n(\{\n  \"Version\".*?)```", DEPLOYMENT.read_text(), re.DOTALL)
    statements: list[dict[str, Any]] = json.loads(text.replace("acme-airflow", bucket))["Statement"]
    return statements


@pytest.fixture(scope="module")
def bucket(aws: LocalAws) -> str:
    name = f"airflow-{secrets.token_hex(4)}"
    aws.source_client("s3").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    return name


def run_with(aws: LocalAws, bucket: str, *policy: dict[str, Any]) -> RunDirectory:
    client = user_with(aws, *policy).client("s3")
    return RunDirectory.of_run(f"s3://staging@{bucket}/staging", "dag", secrets.token_hex(4), lambda *_: client)


def test_run_directory_works_with_the_documented_policy(aws: LocalAws, bucket: str) -> None:
    run_dir = run_with(aws, bucket, *documented(bucket))
    run_dir.create([FILES])
    run_dir.begin_batch(BATCH)
    archives = stage(run_dir, [b"small", b"x" * LARGE])
    run_dir.write_compressed(BATCH, archives, [])
    assert [content for _, content in run_dir.read_staged(objects_of(archives))] == [b"small", None]
    with run_dir.receipt_writer(BATCH):
        pass
    run_dir.delete_data(BATCH)
    assert run_dir.read_records().files == FILES
    assert run_dir.verified() is None
    run_dir.write_verified(verified := Verified({}, {}, cleaned_up=True))
    assert run_dir.verified() == verified
    client = user_with(aws, *documented(bucket)).client("s3")
    url, long_ago = f"s3://staging@{bucket}/staging", datetime(2000, 1, 1, tzinfo=UTC)
    assert delete_abandoned_runs(url, "dag", before=long_ago, new_client=lambda *_: client) == []
    run_dir.delete()
    prefix = str(run_dir).partition(f"{bucket}/")[2]
    assert "Contents" not in aws.source_client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)


@pytest.mark.parametrize("missing", ["s3:ListBucket", "s3:PutObject", "s3:GetObject", "s3:DeleteObject"])
def test_missing_permission_is_named_with_the_connection(aws: LocalAws, bucket: str, missing: str) -> None:
    statements = [
        {**one, "Action": [action for action in ensure_list(one["Action"]) if action != missing]}
        for one in documented(bucket)
    ]
    run_dir = run_with(aws, bucket, *(one for one in statements if one["Action"]))
    with pytest.raises(StagingError) as caught:
        use(run_dir)
    assert "403 AccessDenied" in str(caught.value) or "failed: AccessDenied" in str(caught.value)
    assert "The connection 'staging', which `staging` names, needs s3:ListBucket on" in str(caught.value)
    assert caught.value.permanent


def use(run_dir: RunDirectory) -> None:
    run_dir.create([FILES])
    run_dir.log_files(BATCH)
    run_dir.delete()


def ensure_list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]
