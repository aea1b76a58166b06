"""`explained/`: Shapley values of the trees of a package that `CREATE MODEL .. AS SELECT` wrote, by the package shap, and its scores in
Python's onnxruntime.

PyPI shap, onnx, onnxruntime. `explained/trees` was written by

    CREATE MODEL trees OPTIONS (label = 'Status', head = 'trees', seed = 7) AS SELECT * EXCEPT (rn)
    FROM (SELECT *, row_number() OVER () AS rn FROM 'examples/data/credit_data.parquet') WHERE rn % 3 = 0;
    EXPORT MODEL trees TO 'tests/fixtures/explained/trees';

`reference.parquet` holds 200 other rows of that file with `raw`, the score of the graph, `base`, the mean of the trees, and `shapley`, a
value for each column, in the order of the graph's columns.
"""

import json

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import shap
from places import EXAMPLES, FIXTURES

FOLDER = FIXTURES / "explained"
ROWS = 200


def trees_of(path) -> tuple[list, float]:
    """The trees of the ensemble in the form that shap takes, and what is added to their sum."""
    [node] = [node for node in onnx.load(path).graph.node if node.op_type == "TreeEnsembleRegressor"]
    values = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    number = np.array(values["nodes_treeids"])
    leaves = {pair: value for *pair, value in zip(values["target_treeids"], values["target_nodeids"], values["target_weights"]) for pair in [tuple(pair)]}
    trees = []
    for tree in range(number.max() + 1):
        own = np.flatnonzero(number == tree)
        pick = lambda name, kind: np.array([values[name][place] for place in own], dtype=kind)
        is_leaf = np.array([values["nodes_modes"][place] == b"LEAF" for place in own])
        lower, other = pick("nodes_truenodeids", np.int32), pick("nodes_falsenodeids", np.int32)
        # shap goes left where a value is at most the threshold, the graph where it is less.
        thresholds = np.nextafter(pick("nodes_values", np.float32), np.float32(-np.inf)).astype(np.float64)
        missing = np.where(pick("nodes_missing_value_tracks_true", np.int32) == 1, lower, other)
        trees.append({
            "children_left": np.where(is_leaf, -1, lower).astype(np.int32),
            "children_right": np.where(is_leaf, -1, other).astype(np.int32),
            "children_default": np.where(is_leaf, -1, missing).astype(np.int32),
            "features": np.where(is_leaf, -2, pick("nodes_featureids", np.int32)).astype(np.int32),
            "thresholds": np.where(is_leaf, 0.0, thresholds),
            "values": np.array([[leaves.get((tree, node), 0.0)] for node in range(len(own))], dtype=np.float64),
            "node_sample_weight": pick("nodes_hitrates", np.float64),
        })
    return trees, float(values["base_values"][0])


def main() -> None:
    manifest = json.loads((FOLDER / "trees" / "sensorium.json").read_text())
    table = pq.read_table(EXAMPLES / "data/credit_data.parquet").slice(1000, ROWS)
    [head] = [stage for stage in manifest["stages"] if stage["graph"] == "head.onnx"]
    feeds = {}
    for feed in head["feeds"]:
        columns = [table[name].to_pylist() for name in feed["source"]["inputs"]]
        if feed["port"]["element"] == "string":
            feeds[feed["port"]["name"]] = np.array([[value or "" for value in column] for column in columns], dtype=object).T
        else:
            feeds[feed["port"]["name"]] = np.array([[np.nan if value is None else value for value in column] for column in columns], dtype=np.float32).T
    run = lambda graph: onnxruntime.InferenceSession(FOLDER / "trees" / graph).run(None, feeds)[0]
    raw, columns = run("head.onnx"), run("columns.onnx")
    trees, base = trees_of(FOLDER / "trees" / "head.onnx")
    explainer = shap.TreeExplainer({"trees": trees}, feature_perturbation="tree_path_dependent")
    values = explainer.shap_values(columns.astype(np.float64))
    values = values[:, :, 0] if values.ndim == 3 else values
    expected = float(np.ravel(explainer.expected_value)[0]) + base
    print("largest difference of a sum to the score", np.abs(values.sum(1) + expected - raw[:, 0]).max())
    names = [own["input"] for own in manifest["explanation"]["trees"]["columns"] for _ in range(own["count"])]
    inputs = [own["name"] for own in manifest["inputs"]]
    shapley = values[:, [names.index(name) for name in inputs]]
    table = table.append_column("raw", pa.array(raw[:, 0].astype(np.float64)))
    table = table.append_column("base", pa.array(np.full(ROWS, expected)))
    table = table.append_column("shapley", pa.array(shapley.tolist(), pa.list_(pa.float64())))
    pq.write_table(table, FOLDER / "reference.parquet")


if __name__ == "__main__":
    main()
