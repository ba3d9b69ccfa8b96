"""Object keys: where in the archive bucket an archive and a manifest lie.

Keys are content-addressed by default: the same file always has the same key, so a key that is taken already
holds these very bytes, and a run can be repeated without any permission to look. Everything that comes from
outside (source names, paths) is percent-encoded, so that no file name reaches beyond its own prefix.
"""

from __future__ import annotations

import hashlib
import os
import re
from datetime import date
from functools import lru_cache
from string import Formatter
from urllib.parse import quote

from log_archival.exceptions import SettingsError
from log_archival.partition import Partition

DEFAULT_KEY = "logs/%Y/%m/%d/{source}/{path}-{digest}{suffix}"
FIELDS = ("source", "path", "stem", "digest", "suffix")
#: S3's limit for a key, in bytes of UTF-8.
#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
MAX_KEY_BYTES = 1024
#: 128 bits. Whoever writes the logs must not be able to make two contents that share a key, since the second would
#: count as archived already; 12 digits would take 2^24 tries, 32 take 2^64.
DIGEST_CHARS = 32
# The characters that AWS calls safe, less those that mean something to a shell or in a policy (* ').
_SAFE = "!_.-()"
# What may stand behind the digest. Were "-" or a further dot allowed, a file's name could imitate another's digest.
_SUFFIX = re.compile(r"(.+)(\.[A-Za-z0-9_]{1,16})", re.DOTALL)
_PART = re.compile(r"\.part(?=\d{4,}$)", re.ASCII)
# The directives that say something of a day, in digits only whatever the locale.
_DIRECTIVE = re.compile(r"%([^YmdjyGVu]|$)")
# In a policy's resource, * ? and ${ are patterns; a prefix with one of them would widen the session policy.
_LITERAL = re.compile(r"[A-Za-z0-9!_.()/=+@:,% -]*")


class KeyTemplate:
    """A template such as ``logs/%Y/%m/%d/{source}/{path}-{digest}{suffix}``.

    strftime directives are the partition's day. ``{source}`` is the source's name, ``{path}`` the file's
    path below the source's root without its suffix, ``{stem}`` the last component of that, ``{suffix}`` the
    suffix (``.log``, with ``.part0002`` before it for a part of a file that was cut; a dot and 1 to 16 letters,
    digits or underscores, or nothing), ``{digest}`` the first 32 hex digits of the raw SHA-256. The codec's
    suffix (``.zst``) is appended to the whole.

    :param template: the template
    :param prefix: what the archive account's policies allow, for example ``logs/``
    :raises SettingsError: for a template that could mix days or files
    """

    def __init__(self, template: str = DEFAULT_KEY, *, prefix: str = "logs/") -> None:
        self.template = template
        self._segments = self._parse(template)
        self._day_format = self._segments[0][0].rpartition("/")[0] + "/"
        names = {name for _, name in self._segments if name is not None}
        wrong = None
        if not prefix.endswith("/") or not template.startswith(prefix):
            wrong = f"has to begin with the archive's prefix {prefix!r}, which ends with a slash"
        elif "%" in prefix or _DIRECTIVE.search(template):
            wrong = "may have the directives %Y %m %d %j %y %G %V %u, and none of them in the prefix"
        elif not all(directive in self._day_format for directive in ("%Y", "%m", "%d")):
            wrong = "needs %Y, %m and %d in folders before its first {field}, so that each day has its own prefix"
        elif not all(_LITERAL.fullmatch(literal) for literal, _ in self._segments):
            wrong = "has a character that keys should not have"
        elif "//" in template or "/./" in template or "/../" in template:
            wrong = "has an empty, '.' or '..' folder"
        elif names - set(FIELDS):
            wrong = f"has the unknown field {sorted(names - set(FIELDS))[0]!r}; there are {', '.join(FIELDS)}"
        elif not {"source", "path", "suffix"} <= names:
            wrong = "needs {source}, {path} and {suffix}, so that no two files share a key"
        elif "/{source}/" not in template:
            wrong = "needs {source} as a folder of its own, so that no two sources share a key"
        if wrong:
            raise SettingsError(f"key template {template!r} {wrong}", hint=f"The default is {DEFAULT_KEY!r}.")
        #: Whether a taken key proves that it holds the same bytes.
        self.content_addressed = "digest" in names

    @staticmethod
    def _parse(template: str) -> list[tuple[str, str | None]]:
        try:
            parsed = list(Formatter().parse(template))
        except ValueError as error:
            raise SettingsError(f"key template {template!r} can't be read: {error}") from None
        if not parsed or any(spec or conversion for _, _, spec, conversion in parsed):
            raise SettingsError(f"key template {template!r} is empty or has a format such as {{path!r}}")
        return [(literal, name) for literal, name, _, _ in parsed]

    def day_prefix(self, partition: Partition) -> str:
        """The prefix that a partition's objects share and no other partition's: ``logs/2026/11/22/``."""
        return partition.day.strftime(self._day_format)

    def archive_key(
        self,
        partition: Partition,
        *,
        source: str,
        name: str,
        digest: str,
        codec_suffix: str = "",
        part: int | None = None,
    ) -> str:
        """The key of one archive.

        :param name: the file's path below the source's root, with slashes
        :param digest: the raw SHA-256 of what the archive holds, in hex
        :param codec_suffix: ``.zst``, ``.gz`` or nothing
        :param part: the part's number from 1, for a file that was cut; None for a whole one
        """
        *folders, last = name.split("/")
        match = _SUFFIX.fullmatch(last)
        stem, suffix = match.groups() if match and not _PART.match(match[2]) else (last, "")
        stem = _PART.sub("%2Epart", _encode(stem))
        if part is not None:
            suffix = f".part{part:04d}{suffix}"
        fields = {
            "source": _encode(source),
            "path": "/".join([*map(_encode, folders), stem]),
            "stem": stem,
            "digest": digest[:DIGEST_CHARS],
            "suffix": suffix,
        }
        key = self._render(partition, fields) + codec_suffix
        if (excess := len(key) - MAX_KEY_BYTES) > 0:
            # What is cut off is replaced by a hash of the whole path: long names must not meet.
            mark = "~" + hashlib.sha256(os.fsencode(name)).hexdigest()[:32]
            for field in ("path", "stem"):
                fields[field] = fields[field][: max(0, len(fields[field]) - excess - len(mark))] + mark
            key = self._render(partition, fields) + codec_suffix
        if len(key) > MAX_KEY_BYTES:
            raise SettingsError(
                f"key template {self.template!r} gives a key of over {MAX_KEY_BYTES} bytes for {name!r}"
            )
        return key

    def manifest_key(self, partition: Partition, digest: str) -> str:
        """The key of a manifest whose body has this SHA-256, in hex."""
        return f"{self.day_prefix(partition)}_manifest-{digest[:DIGEST_CHARS]}.json"

    def _render(self, partition: Partition, fields: dict[str, str]) -> str:
        literals = _on_day(partition.day, tuple(literal for literal, _ in self._segments))
        return "".join(
            literal + (fields[name] if name else "")
            for literal, (_, name) in zip(literals, self._segments, strict=True)
        )


@lru_cache(maxsize=64)
def _on_day(day: date, literals: tuple[str, ...]) -> list[str]:
    # Each literal is formatted by itself: a path that holds %Y is a path, not a directive.
    return [day.strftime(literal) for literal in literals]


@lru_cache(maxsize=4096)
def _encode(component: str) -> str:
    # A component of dots alone would be a relative path to whoever restores with another tool.
    if component.strip(".") == "":
        return component.replace(".", "%2E")
    # A tilde marks a path that was cut, so there is none in a path that was not.
    return quote(os.fsencode(component), safe=_SAFE).replace("~", "%7E")
