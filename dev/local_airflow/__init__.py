"""Airflow on this machine."""

from dev.local_airflow.airflow import LocalAirflow
from dev.local_airflow.api import LocalAirflowError
from dev.local_airflow.environment import airflow_environment

__all__ = ["LocalAirflow", "LocalAirflowError", "airflow_environment"]
