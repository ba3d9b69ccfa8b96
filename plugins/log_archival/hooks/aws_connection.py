"""An Airflow connection of type `aws`, as Airflow has it."""

from airflow.sdk import Connection

from log_archival.airflow_versions import AirflowNotFoundException, BaseHook
from log_archival.exceptions import ConnectionSettingsError
from log_archival.hooks.debug_logs import hide_contents_of_requests

# With the import, so that it holds for each client of the process: other code makes some, too.
hide_contents_of_requests()

#: The one that may be undefined: boto3 then finds credentials by itself, as with any hook of the provider.
DEFAULT_AWS_CONN_ID = "aws_default"


def find_connection(conn_id: str) -> Connection:
    """Return a connection of type `aws`, of which nothing else is checked; an empty one for an undefined `aws_default`.

    :param conn_id: its id
    :raises ConnectionSettingsError: when there is none, or it is of another type
    """
    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        if conn_id == DEFAULT_AWS_CONN_ID:
            return Connection(conn_id=conn_id, conn_type="aws")
        # Airflow says the same of a connection that it can't read.
        raise ConnectionSettingsError(
            f"connection {conn_id!r} is not defined in Airflow, or Airflow can't read it",
            hint="Define it, with the type `aws`; or correct the id where it is named.",
        ) from None
    if connection.conn_type != "aws":
        raise ConnectionSettingsError(f"connection {conn_id!r} is of type {connection.conn_type!r}; it has to be `aws`")
    return connection
