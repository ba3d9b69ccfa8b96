"""Extras of AWS connections, made up: each of their settings, and any JSON in its place."""

from __future__ import annotations

from botocore.config import Config
from hypothesis import strategies as st

ARN = "arn:aws:iam::222222222222:role/LogWriterRole"
#: Must be in no message.
SECRET = "wJalrXUtnFEMI-K7MDENG-secret"
LOCAL = "http://127.0.0.1:4566"

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
SECRETS = st.just(SECRET) | JSON
OPTIONS = st.dictionaries(st.sampled_from([*Config.OPTION_DEFAULTS, "unknown"]), JSON, max_size=3)
SERVICES = st.dictionaries(
    st.sampled_from(["s3", "sts"]), JSON | st.fixed_dictionaries({}, optional={"endpoint_url": JSON | st.just(LOCAL)})
)
ARGUMENTS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("Tags", "DurationSeconds", "SourceIdentity", "RoleSessionName", "TokenCode"), JSON)
    | {"ExternalId": SECRETS},
)  # fmt: skip
EXTRAS = st.fixed_dictionaries(
    {},
    optional={
        "role_arn": JSON | st.just(ARN),
        "external_id": SECRETS,
        "region_name": JSON | st.just("eu-west-1"),
        "profile_name": JSON,
        "aws_access_key_id": JSON | st.just("AKIAIOSFODNN7EXAMPLE"),
        "aws_secret_access_key": SECRETS,
        "aws_session_token": SECRETS,
        "endpoint_url": JSON | st.just(LOCAL),
        "service_config": JSON | SERVICES,
        "config_kwargs": JSON | OPTIONS,
        "session_kwargs": JSON | st.fixed_dictionaries({"aws_access_key_id": JSON, "aws_secret_access_key": SECRETS}),
        "assume_role_method": JSON | st.sampled_from(["assume_role", "assume_role_with_web_identity"]),
        "assume_role_kwargs": JSON | ARGUMENTS,
        "verify": JSON,
        "profile": JSON,
    },
)
