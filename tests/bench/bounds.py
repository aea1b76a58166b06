"""What does not grow with the table, and what does not suffer from company: peak memory for ten times the rows, and the
throughput of two queries at once on one model (benches/together.rs)."""

import statistics
from pathlib import Path

from measure import bench_binary, cut_table, last_json, run, sensorium
from tasks import data_folder, package

TASKS = ["text", "pictures", "trees", "perceptron"]
# Row groups of a whole table: memory follows their size, which is the same in its parts.
GROUPS = 50


def part(task, place: Path, name: str, rows: slice) -> Path:
    """Some rows of the workload's table, in row groups of the same size whatever their number."""
    cut = place / f"{task.table}-{name}-{rows.stop - rows.start}.parquet"
    if not cut.exists():
        cut_table(data_folder() / f"{task.table}.parquet", cut, rows, max(task.full // GROUPS, 1))
    return cut


def memory_round(task, place: Path) -> dict:
    tenth, whole = part(task, place, "tenth", slice(0, task.full // 10)), part(task, place, "whole", slice(0, task.full))
    # What is kept of earlier results grows up to mm.cache_bytes and says nothing about the rest.
    return {name: sensorium(task, task.consume, table, cache_bytes=0) for name, table in [("tenth", tenth), ("whole", whole)]}


def together_round(task, place: Path) -> dict:
    middle = task.rows // 2
    cuts = {"both": slice(0, task.rows), "first": slice(0, middle), "second": slice(middle, task.rows)}
    tables = [part(task, place, name, rows) for name, rows in cuts.items()]
    statements = [f"SELECT * FROM ({task.select.format(table=tables[0])}) LIMIT 1", *(task.consume.format(table=table) for table in tables)]
    command = [bench_binary("together"), data_folder() / "catalog", data_folder(), f"CREATE MODEL IF NOT EXISTS {task.model} FROM '{package(task.package)}'"]
    return {"together": last_json(run([*command, *statements]))}


def memory_table(results: dict, all_tasks: dict) -> None:
    print("| workload | rows | peak MB | rows | peak MB | growth |\n|---|---|---|---|---|---|")
    for name, rounds in results.items():
        tenth, whole = (statistics.median(one[size]["resident"] for one in rounds) for size in ("tenth", "whole"))
        print(f"| {name} | {all_tasks[name].full // 10:,} | {tenth / 2**20:,.0f} | {all_tasks[name].full:,} | {whole / 2**20:,.0f} | {whole / tenth - 1:+.1%} |")


def together_table(results: dict, all_tasks: dict) -> None:
    print("| workload | rows | one query, s | two halves at once, s | throughput | spread |\n|---|---|---|---|---|---|")
    for name, rounds in results.items():
        found = [one["together"] for one in rounds]
        ratios = [one["alone_s"] / one["together_s"] for one in found]
        alone, together = (statistics.median(one[key] for one in found) for key in ("alone_s", "together_s"))
        print(f"| {name} | {all_tasks[name].rows:,} | {alone:.2f} | {together:.2f} | {statistics.median(ratios):.2f} | {min(ratios):.2f}-{max(ratios):.2f} |")
