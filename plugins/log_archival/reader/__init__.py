"""Listing, verifying and restoring the archive, for the archive account's people. Imports no Airflow."""
