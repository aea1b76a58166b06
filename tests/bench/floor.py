"""SQL beside the least that its parts can cost: benches/floor.rs says what that is."""

import statistics

from measure import HERE, bench_binary, last_json, python, run, sensorium
from tasks import data_folder, package


def one_round(name: str, task, settings: dict) -> dict:
    """One round: our SQL, the scan, and for each part of the floor the bare model in Rust and in Python."""
    table = data_folder() / f"{task.table}.parquet"
    found = {"sql": sensorium(task, task.consume, table), "scan": sensorium(task, task.scan, table)}
    for place, part in enumerate(task.parts):
        own = [package(part.package), data_folder() / f"{part.table}.parquet", part.columns]
        key = (name, place)
        command = [bench_binary("floor"), *own, "--output", part.output]
        bare = last_json(run(command + (["--setting", settings[key]] if key in settings else [])))
        found[f"rust {place}"] = bare
        if "setting" in bare:
            settings[key] = bare["setting"]
            # Nothing is compared with it, so that one round is enough.
            if (*key, "python") not in settings:
                settings[*key, "python"] = True
                found[f"python {place}"] = last_json(run([python, HERE / "bare.py", *own, part.output, bare["setting"], bare["rows"]]))
    return found


def table(results: dict, all_tasks: dict) -> None:
    print("| workload | rows | SQL, s | scan, s | tokenize or decode, s | bare model, s | in Python, s | SQL / floor | spread | SQL / model | peak MB |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name, rounds in results.items():
        task = all_tasks[name]
        parts = range(len(task.parts))
        prepared = lambda one: sum(one[f"rust {place}"]["prepare_s"] for place in parts)
        model = lambda one: sum(one[f"rust {place}"]["model_s"] for place in parts)
        python_ = lambda one: sum(one[f"python {place}"]["model_s"] for place in parts)
        scan, sql = (lambda one: one["scan"]["seconds"]), (lambda one: one["sql"]["seconds"])
        good = [one for one in rounds if not any("error" in part for part in one.values())]
        if not good:
            print(f"| {name} | {task.full:,} | failed: {[part['error'] for part in rounds[-1].values() if 'error' in part]} |")
            continue
        middle = lambda value: statistics.median(map(value, good))
        ratios = [sql(one) / (scan(one) + prepared(one) + model(one)) for one in good]
        cells = [f"{middle(value):.2f}" for value in (sql, scan, prepared, model)]
        cells.append(f"{statistics.median(python_(one) for one in good if 'python 0' in one):.2f}")
        print(f"| {name} | {task.full:,} | {' | '.join(cells)} | **{statistics.median(ratios):.2f}** | {min(ratios):.2f}-{max(ratios):.2f} "
              f"| {statistics.median(sql(one) / model(one) for one in good):.2f} | {middle(lambda one: one['sql']['peak']) / 2**20:,.0f} |")
