"""The checks that the archive account's role can add logs, and do nothing else; imports no Airflow."""
