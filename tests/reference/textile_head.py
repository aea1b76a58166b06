"""`examples/models/textile/head.onnx`: which defect a textile has, by EfficientNet-Lite0; and `textile.parquet`.

head.onnx        photo f32[batch, 1280], the encoder's embedding -> logits f32[batch, 3] in the order of `LABELS`:
                 a logistic regression whose standardisation is folded into its weights
textile.parquet  60 pictures, 20 a class: `file` ('textile/<class>/<name>.jpg'), `label`, `logits` float32[3] by
                 encoder and head in ONNX Runtime

The pictures are those of PyPI `conformal-clip-data` (MIT, simulated, not committed). Odd numbers in the file name
train the head, even ones test it, and only those are in the Parquet file.
"""

from pathlib import Path
from typing import NamedTuple

import conformal_clip_data
import numpy as np
import onnx
import pyarrow as pa
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, f1_score
from sklearn.model_selection import RepeatedStratifiedKFold, cross_validate
from threadpoolctl import threadpool_limits

import graph
from columns import fixed_list, write
from encoders import ImageEncoder, session
from places import EXAMPLES, FIXTURES, models_folder

HEAD = EXAMPLES / "models" / "textile" / "head.onnx"
LIMIT_BYTES = 40_000
LABELS = ["global", "local", "nominal"]
ROWS_PER_LABEL = 20
STRENGTHS = 10.0 ** np.arange(-3, 0.1, 0.5)  # C of LogisticRegression: smaller means more regularisation
# Many features are almost constant on textiles. Divided by their own deviation (down to 3e-6), they would answer
# any other picture with logits of 1,000.
LEAST_DEVIATION = 0.03


class Pictures(NamedTuple):
    """Files, their labels and their embeddings, row by row."""

    files: np.ndarray
    labels: np.ndarray
    vectors: np.ndarray

    def where(self, mask: np.ndarray) -> "Pictures":
        """The rows where `mask` is true."""
        return Pictures(*(column[mask] for column in self))


def embedded(encoder: ImageEncoder) -> Pictures:
    """All pictures, by label and number."""
    root = conformal_clip_data.textile_simulated_root()
    paths = [path for label in LABELS for path in sorted((root / label).glob("textile_*.jpg"))]
    vectors = np.stack([encoder.run("embedding", path) for path in paths])
    return Pictures(np.array(paths), np.array([path.parent.name for path in paths]), vectors)


def classifier(strength: float, weights: str | None) -> LogisticRegression:
    """Not yet fitted; `weights` is None or "balanced"."""
    return LogisticRegression(C=strength, class_weight=weights, max_iter=2000)


def chosen(vectors: np.ndarray, labels: np.ndarray) -> LogisticRegression:
    """Cross-validated: strength by log loss; balanced class weights if their macro F1 is then higher."""
    folds = RepeatedStratifiedKFold(n_splits=10, n_repeats=3, random_state=0)
    best = {}
    for weights in (None, "balanced"):
        scores = []
        for strength in STRENGTHS:
            found = cross_validate(classifier(strength, weights), vectors, labels, cv=folds,
                                   scoring=["neg_log_loss", "f1_macro"])
            loss, f1 = -found["test_neg_log_loss"].mean(), found["test_f1_macro"].mean()
            print(f"class weights {weights}, C {strength:.4f}: log loss {loss:.4f}, macro F1 {f1:.4f}")
            scores.append((loss, f1, strength))
        best[weights] = min(scores)
    weights = "balanced" if best["balanced"][1] > best[None][1] else None
    print(f"chosen: class weights {weights}, C {best[weights][2]:.4f}")
    return classifier(best[weights][2], weights)


def trained(pictures: Pictures) -> tuple[np.ndarray, np.ndarray]:
    """Weights [3, 1280] and bias [3] that take the embedding as it is."""
    vectors = pictures.vectors.astype(np.float64)
    mean, deviation = vectors.mean(axis=0), np.maximum(vectors.std(axis=0), LEAST_DEVIATION)
    standardised = (vectors - mean) / deviation
    fitted = chosen(standardised, pictures.labels).fit(standardised, pictures.labels)
    assert list(fitted.classes_) == LABELS
    weights = fitted.coef_ / deviation
    return weights, fitted.intercept_ - weights @ mean


def export(weights: np.ndarray, bias: np.ndarray, path: Path) -> None:
    """One `Gemm`: photo [batch, 1280] -> logits [batch, 3]."""
    made = graph.model(
        [graph.node("Gemm", "photo weights bias", "logits", transB=1)],
        [graph.value("photo", graph.FLOAT, "batch", weights.shape[1])],
        [graph.value("logits", graph.FLOAT, "batch", len(bias))],
        [graph.constant("weights", weights), graph.constant("bias", bias)],
    )
    made.graph.name = "textile_head"
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(made, path)
    assert path.stat().st_size < LIMIT_BYTES
    print(f"{path.name}: {path.stat().st_size} bytes")


def report(labels: np.ndarray, logits: np.ndarray) -> None:
    """How good the head is on pictures that it was not trained on."""
    found = np.array(LABELS)[logits.argmax(axis=1)]
    f1 = f1_score(labels, found, average="macro")
    print(f"{len(labels)} even pictures: accuracy {(labels == found).mean():.4f}, macro F1 {f1:.4f}")
    print(f"rows: true, columns: found, both in the order {LABELS}\n{confusion_matrix(labels, found, labels=LABELS)}")


def main() -> None:
    pictures = embedded(ImageEncoder(models_folder(__doc__) / "efficientnet-lite0"))
    odd = np.array([int(path.stem.removeprefix("textile_")) % 2 == 1 for path in pictures.files])
    with threadpool_limits(1):  # sums are always taken in the same order
        weights, bias = trained(pictures.where(odd))
    export(weights, bias, HEAD)

    even = pictures.where(~odd)
    logits = session(HEAD).run(["logits"], {"photo": even.vectors})[0]
    worst = np.abs(logits - (even.vectors @ weights.T + bias)).max()
    assert worst < 1e-4, worst
    report(even.labels, logits)

    places = [np.flatnonzero(even.labels == label) for label in LABELS]
    rows = np.concatenate([p[np.linspace(0, len(p) - 1, ROWS_PER_LABEL).astype(int)] for p in places])
    write(
        FIXTURES / "textile.parquet",
        file=pa.array([f"textile/{path.parent.name}/{path.name}" for path in even.files[rows]]),
        label=pa.array(even.labels[rows].tolist()),
        logits=fixed_list(logits[rows], np.float32),
    )


if __name__ == "__main__":
    main()
