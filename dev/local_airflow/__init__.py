"""Airflow on this machine."""

from dev.local_airflow.airflow import LocalAirflow, LocalAirflowError, airflow_environment

__all__ = ["LocalAirflow", "LocalAirflowError", "airflow_environment"]
