"""Running one SELECT of `sql/` in Athena or in Redshift, with Airflow's connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jinja2

from clickstream.config import Config

if TYPE_CHECKING:
    from boto3.session import Session

Row = dict[str, Any]


def render(config: Config, path: str, **values: Any) -> str:
    """The text of `sql/<path>`; a name that nobody gave is an error, never empty text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(config.settings.sql_folder),
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(path).render(names=config, **values)


def aws_session(config: Config) -> tuple[Session, str | None]:
    """The session of Airflow's AWS connection, and the endpoint it names (None: AWS's own)."""
    from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook

    hook: AwsGenericHook[Any] = AwsGenericHook(client_type="athena", region_name=config.region)
    return hook.get_session(), hook.conn_config.get_service_endpoint_url("athena")


def athena_arguments(config: Config) -> dict[str, Any]:
    """What PyAthena (alone or under SQLAlchemy) needs to connect; the work group says the rest."""
    session, endpoint_url = aws_session(config)
    return {
        "session": session,
        "endpoint_url": endpoint_url,
        "region_name": config.region,
        "work_group": config.athena.workgroup,
        "schema_name": config.glue.database,
        # The checks send hundreds of short queries, one after the other.
        "poll_interval": min(0.25, config.settings.poll_seconds / 10),
    }


def athena_rows(config: Config, path: str, **values: Any) -> list[Row]:
    """The rows of `sql/<path>` in Athena.

    Raises:
        pyathena.error.OperationalError: Athena's own reason why the statement failed.
    """
    import pyathena
    from pyathena.cursor import DictCursor

    with pyathena.connect(**athena_arguments(config)) as connection:
        cursor = connection.cursor(DictCursor)
        return list(cursor.execute(render(config, path, **values)))


def redshift_rows(config: Config, path: str, **values: Any) -> list[Row]:
    """The rows of `sql/<path>` in Redshift.

    Raises:
        RedshiftDataQueryFailedError: Redshift's own reason why the statement failed.
    """
    from airflow.providers.amazon.aws.hooks.redshift_data import RedshiftDataHook

    hook = RedshiftDataHook(region_name=config.region)
    statement = hook.execute_query(
        render(config, path, **values),
        database=config.redshift.database,
        workgroup_name=config.redshift.workgroup,
        poll_interval=1,
    ).statement_id
    rows: list[Row] = []
    for page in hook.conn.get_paginator("get_statement_result").paginate(Id=statement):
        columns = [column["name"] for column in page["ColumnMetadata"]]
        rows += [
            {
                name: None if "isNull" in field else next(iter(field.values()))
                for name, field in zip(columns, record, strict=True)
            }
            for record in page["Records"]
        ]
    return rows
