"""Everything the DAGs share; the name is unique to this deployment, as Airflow asks."""
