"""The buttons of a task in Airflow's UI: where its archives are, and what the archive has of the day."""

from typing import Any
from urllib.parse import urlencode

from airflow.configuration import conf
from airflow.sdk import BaseOperatorLink

from log_archival.history import page_url

#: The host of the AWS console, by the partition in a role's ARN. (A partition of AWS, and not a day.)
#: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
_CONSOLES = {
    "aws": "console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}


def console_url(role_arn: str, bucket: str, prefix: str) -> str:
    """Return the address of a prefix in the S3 console; whoever opens it is signed in to the archive account.

    :param role_arn: of the archive account's role
    :param bucket: the archive bucket
    :param prefix: of the day
    """
    host = _CONSOLES.get(role_arn.split(":")[1], _CONSOLES["aws"])
    return f"https://{host}/s3/buckets/{bucket}?{urlencode({'prefix': prefix, 'showversions': 'false'})}"


class ArchivePrefixLink(BaseOperatorLink):
    """Opens the day's prefix in the S3 console."""

    @property
    def name(self) -> str:
        """The button's text."""
        return "Archive account's S3"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the address; Airflow asks for it in the task's process, after the task.

        :param operator: the operator, which has worked
        :param ti_key: unused
        """
        url: str = operator.prefix_url
        return url


class ArchiveDayLink(BaseOperatorLink):
    """Opens the day on the page *Log archive*."""

    @property
    def name(self) -> str:
        """The button's text."""
        return "Log archive"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the address; Airflow asks for it in the task's process, after the task.

        :param operator: the operator, which has worked
        :param ti_key: has the DAG
        """
        return page_url(conf.get("api", "base_url", fallback=""), ti_key.dag_id, operator.worked_on)
