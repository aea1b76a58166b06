"""Measures Sensorium beside the bare model and beside other engines; prints tables.

`python compare.py floor` compares SQL with its floor: the scan without a model, bare tokenizing or decoding on all
cores, and the bare model in its best batch and thread layout (benches/floor.rs); also with the bare model in Python.
`python compare.py peers` runs the same question in other engines, to the final Parquet file.
`python compare.py memory` compares peak memory for a table and for a tenth of it.
`python compare.py together` compares one query with two at once that share its rows (benches/together.rs).

Every run is a process of its own, all contestants of a workload take turns in each round, and the medians of the rounds
are compared, so that a machine whose speed drifts is as unfair to everyone. `--rounds`, `--tasks`, `--peers` choose;
each run is a line of a file of JSON beside the data, and `--table` prints what is there. Makes the data and an environment
for Python at its first run.
"""

import argparse
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import bounds
import floor
import others
from measure import HERE, ROOT, binary, install, python
from tasks import data_folder


def prepare(what: str, wheel: Path | None) -> None:
    if not python.exists():
        venv.create(python.parent.parent, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--requirement", HERE / "requirements.txt"], check=True)
    if wheel:
        install(wheel)
    benches = [["bench", "--no-run", "--bench", what]] if what in ("floor", "together") else []
    for command in [["build", "--release", "--bin", "sensorium"], *benches]:
        subprocess.run(["cargo", *command, "--quiet"], cwd=ROOT, check=True)
    subprocess.run([binary(), "setup"], check=True)
    subprocess.run([python, HERE / "make_data.py", data_folder()], check=True)


def one_round(what: str, number: int, name: str, task, peers: list, settings: dict) -> dict:
    place = data_folder() / "runs"
    place.mkdir(exist_ok=True)
    match what:
        case "floor":
            return floor.one_round(name, task, settings)
        case "peers":
            first = number % len(peers)
            return others.one_round(name, task, peers[first:] + peers[:first] if number else peers, place)
        case "memory":
            return bounds.memory_round(task, place)
        case "together":
            return bounds.together_round(task, place)


def short(part: dict) -> str:
    return str(part.get("error") or part.get("seconds") or part.get("model_s") or part)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("what", choices=["floor", "peers", "memory", "together"])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--tasks", type=lambda text: text.split(","))
    options.add_argument("--peers", type=lambda text: text.split(","), default=others.PEERS)
    options.add_argument("--wheel", type=Path, help="a wheel of the Python package, which is then one of the peers: `frame`")
    options.add_argument("--table", action="store_true", help="only print what earlier runs found")
    options = options.parse_args()
    if Path(sys.executable) != python and not options.table:
        prepare(options.what, options.wheel)
        os.execv(python, [str(python), __file__, *sys.argv[1:]])
    from tasks import tasks

    all_tasks, kept, settings = tasks(), data_folder() / f"{options.what}.jsonl", {}
    peers = options.peers + ["frame"] * (options.wheel is not None)
    wanted = options.tasks or (bounds.TASKS if options.what in ("memory", "together") else list(all_tasks))
    for number in range(0 if options.table else options.rounds):
        for name in wanted:
            found = one_round(options.what, number, name, all_tasks[name], peers, settings)
            with kept.open("a") as file:
                file.write(json.dumps({"task": name, **found}) + "\n")
            print(f"round {number + 1}, {name}: " + ", ".join(f"{who} {short(part)}" for who, part in found.items()), file=sys.stderr, flush=True)
    results = {}
    for line in kept.read_text().splitlines():
        found = json.loads(line)
        name = found.pop("task")
        if name in wanted:
            results.setdefault(name, []).append(found)
    tables = {"floor": floor.table, "peers": others.table, "memory": bounds.memory_table, "together": bounds.together_table}
    tables[options.what](results, all_tasks)


if __name__ == "__main__":
    main()
