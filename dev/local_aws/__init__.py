"""Two AWS accounts on this machine, which enforce their policies."""

from dev.local_aws.accounts import ARCHIVE_ACCOUNT, SOURCE_ACCOUNT, TEMPLATES, LocalAws
from dev.local_aws.clients import REGION, Credentials, Session
from dev.local_aws.launcher import LocalAwsError

__all__ = [
    "ARCHIVE_ACCOUNT",
    "REGION",
    "SOURCE_ACCOUNT",
    "TEMPLATES",
    "Credentials",
    "LocalAws",
    "LocalAwsError",
    "Session",
]
