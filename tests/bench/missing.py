"""Pictures that are missing when a fused model is asked: masked, as a model does whose input is optional, beside zeros in their place.

    python3 tests/bench/missing.py SENSORIUM DATA [--seeds N]

SENSORIUM is the command; DATA a folder with `reviews_train.parquet`. Needs what quality.py needs. The rows are its made-up join of a
number, a text and a picture. Of each fusion two models learn from the same vectors: one whose picture is optional, and one that has
always seen a picture. Half of the pictures are then taken from the rows that both are judged by: the first gets NULL, the second a vector
of zeros. The loss is what the AUC of all rows falls by; the calibration error (ECE) is that of the half-blind rows.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from quality import CACHE, Engine, split, three

FUSIONS = {"early": "linear", "late": "linear", "hybrid": "mlp"}


def with_vectors(engine: Engine, rows: Path) -> pa.Table:
    """The rows with vectors in place of texts and pictures."""
    output = rows.with_suffix(".vectors.parquet")
    engine.sql(f"SELECT number, mm_embed('minilm', note) AS note, mm_embed('effnet', photo) AS photo, label FROM '{rows}'", output)
    return pq.read_table(output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sensorium")
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    engine = Engine(asked.sensorium)
    reviews = (table := pq.read_table(asked.data / "reviews_train.parquet")).rename_columns([name.lower() for name in table.schema.names])
    found: dict = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for seed in range(asked.seeds):
            train, test = split(three(seed, CACHE / "data/textile", reviews), seed, folder)
            learn, whole = with_vectors(engine, train), with_vectors(engine, test)
            pq.write_table(learn, train)
            taken = np.random.default_rng(seed).permutation(whole.num_rows) < whole.num_rows // 2
            vectors = np.stack(whole["photo"].combine_chunks().flatten().to_numpy().reshape(whole.num_rows, -1))
            photo = whole.schema.field("photo").type
            place = whole.schema.get_field_index("photo")
            zeros = pa.FixedSizeListArray.from_arrays(pa.array(np.where(taken[:, None], 0, vectors).astype(np.float32).ravel()), photo.list_size)
            masked = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float32).ravel()), photo.list_size, mask=pa.array(taken))
            paths = {}
            for name, column in {"whole": whole["photo"], "zeros": zeros, "masked": masked}.items():
                paths[name] = folder / f"{name}.parquet"
                pq.write_table(whole.set_column(place, "photo", column), paths[name])
            for fusion, head in FUSIONS.items():
                losses = {}
                for kind, option in [("masked", "optional = ['photo'], "), ("zeros", "")]:
                    engine.train(f"{option}label = 'label', fusion = '{fusion}', head = '{head}', seed = {seed}", train)
                    score = "mm_predict('m', t.*).probabilities['yes'], label = 'yes'"
                    full, half = (engine.figure(f"mm_auc({score})", paths[name]) for name in ("whole", kind))
                    losses[kind] = (full, full - half, engine.figure(f"mm_ece({score})", paths[kind]))
                print(seed, fusion, losses, flush=True)
                found.setdefault(fusion, []).append(losses)
    print("\n| fusion | AUC, all pictures | loss, masked | loss, zeros | share | ECE, masked | ECE, zeros |\n|---|---|---|---|---|---|---|")
    for fusion, runs in found.items():
        mean = lambda kind, place: statistics.mean(run[kind][place] for run in runs)
        masked, zeros = mean("masked", 1), mean("zeros", 1)
        print(f"| {fusion} | {mean('masked', 0):.4f} | {masked:.4f} | {zeros:.4f} | {masked / zeros:.2f} | {mean('masked', 2):.4f} | {mean('zeros', 2):.4f} |")


if __name__ == "__main__":
    main()
