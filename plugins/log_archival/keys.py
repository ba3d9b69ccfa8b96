"""Object keys: where archives, manifests, probes and canaries are in the archive bucket.

Keys are content-addressed: the same file always has the same key, so a run can be repeated without any permission to
read. Everything that comes from outside (source names, paths) is percent-encoded, so that no file name
can leave its own prefix.
"""

import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import quote

from log_archival.exceptions import SettingsError
from log_archival.partition import Partition

DEFAULT_PREFIX = "logs/"
DEFAULT_KEY = "logs/%Y/%m/%d/{source}/{path}-{digest}{suffix}"
FIELDS = ("source", "path", "digest", "suffix")
#: S3's limit for a key, in bytes of UTF-8.
#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
MAX_KEY_BYTES = 1024
#: 128 bits. Whoever writes the logs must not be able to make two contents that share a key, since the second would
#: count as an existing archive; 12 digits would take 2^24 tries, 32 take 2^64.
DIGEST_CHARS = 32
#: The folder of the canaries that `check_least_privilege` puts, and the largest of them.
CANARY_FOLDER = "_canary/"
MAX_CANARY_BYTES = 256
# The characters that AWS calls safe, less those that mean something to a shell or in a policy (* ').
_SAFE = "!_.-()"
# What may follow the digest. If "-" or another dot were allowed, a file's name could imitate another's digest.
_SUFFIX = re.compile(r"(.+)(\.[A-Za-z0-9_]{1,16})", re.DOTALL)
_PART = re.compile(r"\.part(?=\d{4,}$)", re.ASCII)
# The directives that describe a day, in digits whatever the locale.
_UNSUPPORTED_DIRECTIVE = re.compile(r"%([^YmdjyGVu]|$)")
# In a policy's resource, * ? and ${ are patterns; a prefix with one of them would widen the session policy.
_LITERAL = re.compile(r"[A-Za-z0-9!_.()/=+@:,% -]*")
_FIELD = re.compile(r"\{([^{}]*)\}")
_MANIFEST = re.compile(rf"(?:.*/)?_manifest-[0-9a-f]{{{DIGEST_CHARS}}}\.json", re.DOTALL)
_PROBE = re.compile(r"(?:.*/)?_probe-[0-9a-f]{32}", re.DOTALL)
_CANARY = re.compile(r"(?:.*/)?_canary/least-privilege-[0-9a-f]{16}(?:/[0-9a-f]{16})?", re.DOTALL)


class KeyTemplate:
    """A template such as ``logs/%Y/%m/%d/{source}/{path}-{digest}{suffix}``.

    strftime directives are the partition's day. ``{source}`` is the source's name, ``{path}`` the file's path below
    the source's root without its suffix, ``{suffix}`` the suffix (``.log``, with ``.part0002`` before it for a part of
    a file that was cut; a dot and 1 to 16 letters, digits or underscores, or nothing), ``{digest}`` the first 32 hex
    digits of the raw SHA-256. The codec's suffix (``.zst``) is appended to the whole.

    :param template: the template
    :param prefix: what the archive account's policies allow, for example ``logs/``
    :raises SettingsError: for a template that could mix days or files, or whose keys do not name their content
    """

    def __init__(self, template: str = DEFAULT_KEY, *, prefix: str = DEFAULT_PREFIX) -> None:
        self.template = template
        self.prefix = prefix
        self._day_format = template.partition("{")[0].rpartition("/")[0] + "/"
        self._fields = set(_FIELD.findall(template))
        if problem := next(self._problems(), None):
            raise SettingsError(f"key template {template!r} {problem}", hint=f"The default is {DEFAULT_KEY!r}.")

    def _problems(self) -> Iterator[str]:
        if not self.prefix.endswith("/") or not self.template.startswith(self.prefix):
            yield f"has to begin with the archive's prefix {self.prefix!r}, which ends with a slash"
        if "%" in self.prefix or _UNSUPPORTED_DIRECTIVE.search(self.template):
            yield "may have the directives %Y %m %d %j %y %G %V %u, and none of them in the prefix"
        if not all(directive in self._day_format for directive in ("%Y", "%m", "%d")):
            yield "needs %Y, %m and %d in folders before its first {field}, so that each day has its own prefix"
        if not _LITERAL.fullmatch(_FIELD.sub("", self.template)):
            yield "has a character that keys should not have, or a brace without its other"
        if any(folder in self.template for folder in ("//", "/./", "/../")):
            yield "has an empty, '.' or '..' folder"
        for unknown in sorted(self._fields - set(FIELDS)):
            yield f"has the unknown field {unknown!r}; there are {', '.join(FIELDS)}"
        if not {"path", "suffix"} <= self._fields or "/{source}/" not in self.template:
            yield "needs {path}, {suffix} and, as a folder of its own, {source}, so that no two files share a key"
        if "digest" not in self._fields:
            yield "needs {digest}: keys are content-addressed, so that a run can be repeated without reading"

    def day_prefix(self, partition: Partition) -> str:
        """Return the prefix that only this partition's objects have: ``logs/2026/11/22/``.

        :param partition: the day
        """
        return partition.day.strftime(self._day_format)

    def archive_key(
        self, partition: Partition, *, source: str, name: str, digest: str, codec_suffix: str, part: int | None
    ) -> str:
        """Return the key of one archive.

        :param partition: the day
        :param source: the source's name
        :param name: the file's path below the source's root, with slashes
        :param digest: the raw SHA-256 of the archive's content, in hex
        :param codec_suffix: ``.zst``, ``.gz`` or nothing
        :param part: the part's number from 1, for a file that was cut; None for a whole one
        :raises SettingsError: when the template leaves no room for a key of 1,024 bytes
        """
        *folders, last = name.split("/")
        match = _SUFFIX.fullmatch(last)
        stem, suffix = match.groups() if match and not _PART.match(match[2]) else (last, "")
        stem = _PART.sub("%2Epart", _encode(stem))
        fields = {
            "source": _encode(source),
            "path": "/".join([*map(_encode, folders), stem]),
            "digest": digest[:DIGEST_CHARS],
            "suffix": suffix if part is None else f".part{part:04d}{suffix}",
        }
        # The day first: a path that contains %Y is a path, not a directive.
        of_day = partition.day.strftime(self.template) + codec_suffix
        key = of_day.format(**fields)
        if (excess := len(key) - MAX_KEY_BYTES) > 0:
            # What is cut off is replaced by a hash of the whole path, so that long names stay different.
            mark = "~" + hashlib.sha256(os.fsencode(name)).hexdigest()[:32]
            fields["path"] = fields["path"][: max(0, len(fields["path"]) - excess - len(mark))] + mark
            key = of_day.format(**fields)
        if len(key) > MAX_KEY_BYTES:
            raise SettingsError(
                f"key template {self.template!r} gives a key of over {MAX_KEY_BYTES} bytes for {name!r}"
            )
        return key

    def bundle_key(self, partition: Partition, *, source: str, digest: str) -> str:
        """Return the key of a bundle of small files: the path is ``~bundle``, which that of no log file is.

        :param partition: the day
        :param source: the source's name
        :param digest: the SHA-256 of the bundle as it is stored, in hex: the offsets of its members depend on all of it
        """
        # A log file's path has a tilde only where it was cut.
        fields = {"source": _encode(source), "path": "~bundle", "digest": digest[:DIGEST_CHARS], "suffix": ".tar"}
        return (partition.day.strftime(self.template) + ".zst").format(**fields)

    def manifest_key(self, partition: Partition, digest: str) -> str:
        """Return the key of a manifest.

        :param partition: the day
        :param digest: the SHA-256 of the manifest's body, in hex
        """
        return self.day_prefix(partition) + manifest_name(digest)


def manifest_name(digest: str) -> str:
    """Return the last component of a manifest's key.

    :param digest: the SHA-256 of the manifest's body, in hex
    """
    return f"_manifest-{digest[:DIGEST_CHARS]}.json"


def is_manifest_key(key: str) -> bool:
    """Return whether a key has the form of a manifest's.

    :param key: any object's key
    """
    return _MANIFEST.fullmatch(key) is not None


def random_probe_key(prefix: str) -> str:
    """Return a key that no object has, to try what the server does with a probe.

    :param prefix: what the session may put below, with its slash
    """
    return f"{prefix}_probe-{secrets.token_hex(16)}"


def canary_key(prefix: str, token: str) -> str:
    """Return the key of the small object that `check_least_privilege` puts.

    :param prefix: the archive's prefix, with its slash
    :param token: 16 hex digits
    """
    return f"{prefix}{CANARY_FOLDER}least-privilege-{token}"


def is_probe_or_canary(key: str, size: int) -> bool:
    """Return whether an object is no log: an empty one left by a probe, or a canary of `check_least_privilege`.

    :param key: the object's key
    :param size: its size in bytes
    """
    pattern = _CANARY if size else _PROBE
    return size <= MAX_CANARY_BYTES and pattern.fullmatch(key) is not None


@lru_cache(maxsize=4096)
def _encode(component: str) -> str:
    # A component of dots only would be a relative path to whoever restores with another tool.
    if component.strip(".") == "":
        return component.replace(".", "%2E")
    # A tilde marks a path that was cut, so there is none in a path that was not.
    return quote(os.fsencode(component), safe=_SAFE).replace("~", "%7E")
