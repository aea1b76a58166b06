"""One engine on one workload in a process of its own: `python run_peer.py PEER TASK SOURCE TARGET` prints one line of
JSON. Seconds count from the ready model to the finished Parquet file."""

import importlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "peers")]


def main() -> None:
    peer, task, source, target = sys.argv[1:]
    with tempfile.TemporaryDirectory() as place:
        loaded = Path(place) / "loaded"
        os.environ["BENCH_LOADED"] = str(loaded)
        os.environ["PYTHONPATH"] = f"{HERE}:{HERE / 'peers'}"
        run = importlib.import_module(peer if peer == "script" else f"with_{peer}").prepare(task)
        start = time.time()
        run(Path(source), Path(target))
        end = time.time()
        # Engines that load the model in workers do it after the query has begun: the first of them is then ready.
        ready = [json.loads(line)[1] for line in loaded.read_text().splitlines()] if loaded.exists() else [start]
    print(json.dumps({"seconds": end - max(start, min(ready))}), flush=True)
    # Some engines leave processes behind that wait for an orderly end.
    os._exit(0)


if __name__ == "__main__":
    main()
