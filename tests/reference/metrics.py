"""`metrics.json`: figures by which models are judged, of scikit-learn, over a million made-up rows.

PyPI scikit-learn, numpy. Row i, from 0: `score` is i * 7919 % 10007 / 10007, with ties; `fine` the same without them, i * 7919 %
1000003 / 1000003; `label` is whether i * 104729 % 1000 < 600 * score + 100; `weight` 1 + i % 7; `name` and `said` one of
five classes, i % 5 and (i + (i % 3 == 0)) % 5; `amount` 1e6 + score, `guess` amount + (label - 0.5) * score; `later` is whether i % 3 == 0,
and then `moved` is score * score instead of score, and `kind` the lesser of i % 5 and 3 instead of i % 5.
"""

import json

import numpy as np
from sklearn import metrics

from places import FIXTURES

ROWS = 1_000_000


def lift(score: np.ndarray, label: np.ndarray, weight: np.ndarray, fraction: float) -> float:
    """Share of the label among the highest scores, rows with equal scores counted in part, by the share among all."""
    values, place = np.unique(score, return_inverse=True)
    total, hits = np.bincount(place, weight), np.bincount(place, weight * label)
    wanted, best = fraction * weight.sum(), 0.0
    for value in range(len(values) - 1, -1, -1):
        part = min(1.0, wanted / total[value])
        best += part * hits[value]
        wanted -= part * total[value]
        if wanted <= 0:
            break
    return best / (fraction * weight.sum()) / (hits.sum() / weight.sum())


def calibration(score: np.ndarray, label: np.ndarray, weight: np.ndarray, bins: int = 10) -> list:
    """Mean score, share of the label and weight of bins of equal width, borders in the bin below, as `calibration_curve` has them."""
    place = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], score)
    total = np.bincount(place, weight, bins)
    means = np.bincount(place, weight * score, bins) / total
    return np.stack([means, np.bincount(place, weight * label, bins) / total, total], axis=1).tolist()


def stability(value: np.ndarray, later: np.ndarray, weight: np.ndarray, bins: int = 10) -> float:
    """Population stability index: bins by the share of the reference sample below a value."""
    values, place = np.unique(value, return_inverse=True)
    before, now = np.bincount(place, weight * ~later), np.bincount(place, weight * later)
    below = np.concatenate([[0.0], np.cumsum(before)[:-1]])
    bin_of = np.minimum(np.floor(below * bins / before.sum()).astype(int), bins - 1)
    expected = np.maximum(np.bincount(bin_of, before, bins) / before.sum(), 1e-4)
    actual = np.maximum(np.bincount(bin_of, now, bins) / now.sum(), 1e-4)
    return float(((actual - expected) * np.log(actual / expected)).sum())


def named_stability(name: np.ndarray, later: np.ndarray, weight: np.ndarray) -> float:
    """The same over categories."""
    share = lambda rows: np.maximum(np.bincount(name, weight * rows, 5) / weight[rows].sum(), 1e-4)
    expected, actual = share(~later), share(later)
    return float(((actual - expected) * np.log(actual / expected)).sum())


def figures(weighted: bool) -> dict:
    """All figures, by the call that gives them."""
    i = np.arange(ROWS, dtype=np.int64)
    score, fine = i * 7919 % 10007 / 10007, i * 7919 % 1000003 / 1000003
    label = i * 104729 % 1000 < 600 * score + 100
    weight = (1 + i % 7).astype(float) if weighted else np.ones(ROWS)
    name, said = i % 5, (i + (i % 3 == 0)) % 5
    amount = 1e6 + score
    guess = amount + (label - 0.5) * score
    later = i % 3 == 0
    kind = np.where(later, np.minimum(i % 5, 3), i % 5)
    moved = np.where(later, score * score, score)
    w = {"sample_weight": weight}
    tie = lambda values: metrics.roc_curve(label, values, **w)
    gap = lambda values, which: max(abs(rate[0] - rate[1]) for rate in zip(*metrics.roc_curve(which, values, drop_intermediate=False, **w)[:2]))
    bins = calibration(score, label, weight)
    answers = {
        "mm_auc(score, label)": metrics.roc_auc_score(label, score, **w),
        "mm_auc(fine, label)": metrics.roc_auc_score(label, fine, **w),
        "mm_gini(score, label)": 2 * metrics.roc_auc_score(label, score, **w) - 1,
        "mm_ks(score, label)": gap(score, label),
        "mm_ks2(moved, later)": gap(moved, later),
        "mm_lift(score, label)": lift(score, label, weight, 0.1),
        "mm_lift(score, label, {fraction: 0.25})": lift(score, label, weight, 0.25),
        "mm_brier(score, label)": metrics.brier_score_loss(label, score, **w),
        "mm_logloss(score, label)": metrics.log_loss(label, score, **w),
        "mm_accuracy(score, label)": metrics.accuracy_score(label, score >= 0.5, **w),
        "mm_accuracy(said, name)": metrics.accuracy_score(name, said, **w),
        "mm_f1(score, label)": metrics.f1_score(label, score >= 0.5, **w),
        "mm_f1(said, name)": metrics.f1_score(name, said, average="macro", **w),
        "mm_ece(score, label)": sum(total * abs(mean - rate) for mean, rate, total in bins) / weight.sum(),
        "mm_rmse(guess, amount)": metrics.root_mean_squared_error(amount, guess, **w),
        "mm_mae(guess, amount)": metrics.mean_absolute_error(amount, guess, **w),
        "mm_r2(guess, amount)": metrics.r2_score(amount, guess, **w),
        "mm_psi(moved, later)": stability(moved, later, weight),
        "mm_csi(kind, later)": stability(kind, later, weight),
        "mm_csi(kind_name, later)": named_stability(kind, later, weight),
    }
    fpr, tpr, thresholds = tie(score)
    curve, borders = metrics.roc_curve(label[:200], fine[:200], sample_weight=weight[:200]), metrics.confusion_matrix(name, said, **w)
    return {
        "figures": {call: float(value) for call, value in answers.items()},
        "calibration": bins,
        "confusion": borders.tolist(),
        "roc_of_200": np.stack([curve[2], curve[0], curve[1]], axis=1)[1:].tolist(),
        "roc_points": len(thresholds),
    }


def main() -> None:
    answers = {"plain": figures(False), "weighted": figures(True)}
    (FIXTURES / "metrics.json").write_text(json.dumps(answers, indent=1))
    for kind, answer in answers.items():
        print(kind, json.dumps(answer["figures"], indent=1), answer["roc_points"])


if __name__ == "__main__":
    main()
