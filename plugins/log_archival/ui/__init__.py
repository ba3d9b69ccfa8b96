"""The page *Log archive* in Airflow's UI, which answers whether a day is missing."""
