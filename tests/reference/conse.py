"""`conse.json`: photographs named by words that the classifier never learnt (ConSE: Norouzi et al. 2014, arXiv 1312.5650).

The ten most probable classes of EfficientNet-Lite0, their probabilities divided by their sum, weigh the MiniLM embeddings of
the classes' names (as `id2label` has them); the sum, divided by its length, is compared with the embeddings of other words by
cosine. `cosines` are in the order of `labels`. Preprocessing: `preprocess.py`; both encoders: `encoders.py`.
"""

import json

import numpy as np

from encoders import ImageEncoder, TextEncoder, softmax
from places import FIXTURES, models_folder

TOP = 10
LABELS = ["a cup of coffee", "a cat", "a spacecraft", "a horse", "a brick wall", "a clock", "a galaxy"]
PHOTOGRAPHS = ["coffee", "chelsea", "rocket", "horse", "brick", "clock_motion", "hubble_deep_field", "astronaut", "camera"]


def unit(vectors: np.ndarray) -> np.ndarray:
    """Divided by their lengths, in float64."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def main() -> None:
    models = models_folder(__doc__)
    pictures, texts = ImageEncoder(models / "efficientnet-lite0"), TextEncoder(models / "minilm")
    names = json.loads((models / "efficientnet-lite0/config.json").read_text())["id2label"]
    labels = unit(texts.embed(LABELS).astype(np.float64))
    answers = {"labels": LABELS, "pictures": {}}
    for photograph in PHOTOGRAPHS:
        file = f"photo_{photograph}.jpg"
        probabilities = softmax(pictures.run("logits", FIXTURES / "pictures" / file))
        top = np.argsort(-probabilities, kind="stable")[:TOP]
        weights = probabilities[top] / probabilities[top].sum()
        combined = unit(weights @ texts.embed([names[str(one)] for one in top]).astype(np.float64))
        cosines = labels @ combined
        answers["pictures"][file] = {
            "top": [{"class": int(one), "name": names[str(one)], "probability": round(float(probabilities[one]), 6)}
                    for one in top],
            "vector_start": combined[:8].round(6).tolist(), "cosines": cosines.round(6).tolist(),
            "best": LABELS[cosines.argmax()]}
        print(file, answers["pictures"][file]["best"], np.sort(cosines)[::-1][:2].round(3),
              [(one["name"], round(one["probability"], 3)) for one in answers["pictures"][file]["top"][:3]])
    (FIXTURES / "conse.json").write_text(json.dumps(answers, indent=1))


if __name__ == "__main__":
    main()
