"""Two AWS accounts on this machine, which enforce their policies."""

from dev.local_aws.accounts import ARCHIVE_ACCOUNT, REGION, SOURCE_ACCOUNT, TEMPLATES, Credentials, LocalAws, LocalAwsError, Session

__all__ = ["ARCHIVE_ACCOUNT", "REGION", "SOURCE_ACCOUNT", "TEMPLATES", "Credentials", "LocalAws", "LocalAwsError", "Session"]
