"""What Airflow shows of this package among its providers."""


def get_provider_info() -> dict[str, str]:
    """Return the provider's metadata, for the entry point ``apache_airflow_provider``.

    There is no connection type: the connection is of Airflow's type ``aws``.
    https://airflow.apache.org/docs/apache-airflow-providers/howto/create-custom-providers.html
    """
    return {
        "package-name": "log-archival",
        "name": "Log archival",
        "description": "Archives a day's logs into another AWS account, with a role that can only add objects",
    }
