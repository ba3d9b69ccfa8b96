"""The demo, and the Airflow UI over two local accounts."""
