"""Airflow's hooks outside of Airflow: a home of their own, and a connection per test."""

from __future__ import annotations

import os
import tempfile

# Airflow makes its folder as soon as it is imported.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-"))
