"""The same question in other engines, to the final Parquet file."""

import statistics
import subprocess
from pathlib import Path

from measure import HERE, last_json, python, run, sensorium, table_of

PEERS = ["sensorium", "script", "polars", "daft", "duckdb", "datafusion", "ray", "spark"]


def agree(task: str, target: Path, reference: Path) -> str:
    """How close an answer is to our own."""
    import numpy as np
    import pyarrow.dataset as ds

    read = lambda path: ds.dataset(path).to_table().sort_by("id")
    own, other = read(reference), read(target)
    if own.num_rows != other.num_rows:
        return f"{other.num_rows} rows for {own.num_rows}"
    if task in ("text", "duplicates"):
        flat = lambda table: np.array(table["embedding"].to_pylist(), np.float32)
        return f"cosine {(flat(own) * flat(other)).sum(1).min():.5f}"
    far = np.abs(np.asarray(own["score"].to_pylist(), float) - np.asarray(other["score"].to_pylist(), float)).max()
    return f"scores within {far:.1e}"


def one_round(name: str, task, peers: list, place: Path) -> dict:
    table, found = table_of(task, task.rows, place), {}
    for peer in peers:
        target = place / f"{name}-{peer}.parquet"
        subprocess.run(["rm", "-rf", target], check=True)
        if peer == "sensorium":
            found[peer] = sensorium(task, task.select, table, target)
        else:
            done = run([python, HERE / "run_peer.py", peer, name, table, target])
            found[peer] = {**last_json(done), "peak": done["peak"]}
            reference = place / f"{name}-sensorium.parquet"
            if "error" not in found[peer] and reference.exists():
                found[peer]["agreement"] = agree(name, target, reference)
        subprocess.run(["pkill", "-f", "raylet"], check=False)
    return found


def median(rounds: list, key: str, value) -> float | None:
    values = [value(one[key]) for one in rounds if key in one and "error" not in one[key]]
    return statistics.median(values) if values else None


def matrix(results: dict, all_tasks: dict) -> None:
    """All engines in one table: seconds (against our own in the same round), peak memory."""
    peers = [peer for peer in ["sensorium", "frame", *PEERS[1:]] if any(peer in one for rounds in results.values() for one in rounds)]
    print(f"| workload | rows | {' | '.join(peers)} |\n|---|---|{'---|' * len(peers)}")
    for name, rounds in results.items():
        cells = []
        for peer in peers:
            runs = [one[peer] for one in rounds if "seconds" in one.get(peer, {})]
            ratios = [one[peer]["seconds"] / one["sensorium"]["seconds"] for one in rounds if all("seconds" in one.get(who, {}) for who in (peer, "sensorium"))]
            if not ratios:
                cells.append("failed")
                continue
            ratio = "" if peer == "sensorium" else f" ({statistics.median(ratios):.1f}x)"
            cells.append(f"{statistics.median(one['seconds'] for one in runs):.2f} s{ratio}, {statistics.median(one['peak'] for one in runs) / 2**20:,.0f} MB")
        print(f"| {name} | {all_tasks[name].rows:,} | {' | '.join(cells)} |")


def table(results: dict, all_tasks: dict) -> None:
    matrix(results, all_tasks)
    for name, rounds in results.items():
        print(f"\n### {name}, {all_tasks[name].rows:,} rows\n\n| engine | runs | seconds | spread | x sensorium | peak MB | agreement |\n|---|---|---|---|---|---|---|")
        seconds = {peer: median(rounds, peer, lambda one: one["seconds"]) for peer in dict.fromkeys(peer for one in rounds for peer in one)}
        own = seconds.get("sensorium") or float("nan")
        for peer in sorted(seconds, key=lambda peer: seconds[peer] or float("inf")):
            runs = [one[peer] for one in rounds if peer in one and "error" not in one[peer]]
            if not runs:
                print(f"| {peer} | 0 | {[one[peer]['error'] for one in rounds if peer in one][-1][:100]} |")
                continue
            times = [one["seconds"] for one in runs]
            ratios = [one[peer]["seconds"] / one["sensorium"]["seconds"] for one in rounds if all("seconds" in one.get(who, {}) for who in (peer, "sensorium"))]
            print(f"| {peer} | {len(runs)} | {seconds[peer]:.2f} | {min(times):.2f}-{max(times):.2f} | {statistics.median(ratios) if ratios else seconds[peer] / own:.2f} "
                  f"| {statistics.median(one['peak'] for one in runs) / 2**20:,.0f} | {runs[-1].get('agreement', '')} |")
