"""What `verify` has found out, kept in the run directory, so that another try of it only has to finish."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Self

from log_archival.pipeline.folder import File


@dataclass(frozen=True, slots=True)
class Verified:
    """What `verify` has found out once the manifests are put.

    :param outcome: what the task returns
    :param contents: what the event of the contents asset has
    :param cleaned_up: whether the sources are cleaned up as well; otherwise that may have begun, and all records are
        still there
    """

    outcome: dict[str, Any]
    contents: dict[str, Any]
    cleaned_up: bool

    @property
    def has_removed_files(self) -> bool:
        """Whether log files were deleted or moved, or may have been."""
        return not self.cleaned_up or any(self.outcome.get(action) for action in ("deleted", "moved"))

    def write(self, file: File) -> None:
        """Write it, in place of what was written before.

        :param file: where to
        """
        with file.open("wb") as opened:
            opened.write(json.dumps(asdict(self)).encode())

    @classmethod
    def read(cls, file: File) -> Self | None:
        """Return what was written; None when the process ended while it wrote, or somebody else wrote it.

        :param file: which exists
        """
        try:
            with file.open("rb") as opened:
                found = cls(**json.load(opened))
        except (ValueError, TypeError):
            return None
        well_formed = isinstance(found.outcome, dict) and isinstance(found.contents, dict)
        return found if well_formed and isinstance(found.cleaned_up, bool) else None
