"""What makes the unit tests quick."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def _service_models_are_read_once() -> Iterator[None]:
    """Share botocore's loader: otherwise each new client reads some megabytes of JSON, a tenth of a second."""
    import botocore.loaders  # here, since xdist's controller reads this file, too, and runs no test
    import botocore.session

    loader = botocore.loaders.create_loader()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", lambda *_: loader)
        yield
