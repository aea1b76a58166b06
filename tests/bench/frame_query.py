"""One query from Python, in a process of its own: `python frame_query.py TASK WAY` prints one line of JSON.

WAY is `file`, where the query names the Parquet file as it does for the command; `frame`, over a data frame that has been read before;
or `lazy`, over a lazy frame that Polars reads meanwhile. Seconds count from the ready model to the answer.
"""

import json
import sys
import time
from pathlib import Path

import polars as pl
import sensorium

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "peers")]

from tasks import data_folder, package, tasks  # noqa: E402
from with_frame import load  # noqa: E402


def main() -> None:
    name, way = sys.argv[1:]
    task = tasks()[name]
    table = data_folder() / f"{task.table}.parquet"
    session = sensorium.Session(models=data_folder() / "catalog", progress=False, allowed_roots=[str(data_folder())])
    session.create_model(task.model, package(task.package), if_not_exists=True)
    over_frame = lambda query: query.format(table="rows").replace("'rows'", "rows")
    load(session, over_frame(task.select), table)
    query = task.consume.format(table=table) if way == "file" else over_frame(task.consume)
    frames = {} if way == "file" else {"rows": pl.scan_parquet(table) if way == "lazy" else pl.read_parquet(table)}
    start = time.perf_counter()
    session.sql(query, **frames)
    print(json.dumps({"seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main()
