"""What botocore may log at DEBUG: which requests it sends, and not what is in them.

Its own lines have whole requests and responses: the external id, the secret key and token of each session that STS
returns, and the token again in the headers of every request and in what is signed. Airflow masks values that it knows;
it can't know a session's before botocore has logged them.
"""

import logging

from botocore.model import OperationModel

#: Those that log a request's parameters and headers, its signature, and a response's body.
_LOGGERS = ("botocore.endpoint", "botocore.auth", "botocore.parsers")
#: The service's own, which have the ids that AWS's support asks for.
_RESPONSE_HEADERS = "Response headers: %r"


class _WithoutContents(logging.Filter):
    """Hides the arguments of DEBUG messages, except numbers and the names of operations.

    It goes by what may be shown, not by how a secret looks, so that another form of a message shows nothing either.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace what may be secret; let every record pass.

        :param record: changed in place, which the other handlers see as well
        """
        if record.levelno > logging.DEBUG or record.msg == _RESPONSE_HEADERS or not record.args:
            return True
        # A single dict is not in a tuple: https://docs.python.org/3/library/logging.html#logging.LogRecord
        arguments = record.args if isinstance(record.args, tuple) else (record.args,)
        record.args = tuple(one if isinstance(one, int | float | OperationModel) else "***" for one in arguments)
        return True


_FILTER = _WithoutContents()


def hide_contents_of_requests() -> None:
    """Have botocore's DEBUG messages of this process without contents; to call it again changes nothing."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)
