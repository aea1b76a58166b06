"""Sensorium from Python: the frame that Polars has read goes through the same query as the command's, and comes back as a frame."""

import polars as pl
import sensorium

from tasks import data_folder, package, tasks


def prepare(task: str):
    asked = tasks()[task]
    session = sensorium.Session(models=data_folder() / "catalog", progress=False, allowed_roots=[str(data_folder())])
    session.create_model(asked.model, package(asked.package), if_not_exists=True)
    query = asked.select.format(table="rows").replace("'rows'", "rows")
    load(session, query, data_folder() / f"{asked.table}.parquet")

    def run(source, target):
        session.sql(query, rows=pl.read_parquet(source)).write_parquet(target)

    return run


def load(session, query: str, table) -> None:
    """Has the model loaded, without keeping what it has found."""
    session.set(cache_bytes=0)
    session.sql(f"SELECT * FROM ({query}) LIMIT 1", rows=pl.scan_parquet(table))
    session.set(cache_bytes=256 << 20)
