"""`sklearn/*`: models trained by scikit-learn and LightGBM on the loan book, exported, with their own answers.

credit_gb              an example too, so written to `examples/models/credit/model.onnx`: one input `[None, 1]` a
                       column (string or float) -> label (string), probabilities f32[n, 2]
credit_gb_zipmap.onnx  the same with ZipMap: probabilities are a sequence of maps from label to number
lgbm.onnx              input f32[n, 9], the columns of `credit.NUMERIC` in order, NaN kept -> label (1 = bad),
                       probabilities
amount_gb.onnx         one float input a numeric column but Amount -> variable f32[n, 1]
logistic_int.onnx      input f32[n, 9] as for lgbm -> label (int64: 1 = bad), probabilities
<name>.parquet         `row` (position in the file), `label`, `probability_<class>` (float64), or `amount`,
                       as predicted by the library that trained it, not by ONNX Runtime
"""

from pathlib import Path

import lightgbm
import numpy as np
import onnx
import onnxmltools
import onnxruntime as ort
import pandas as pd
import pyarrow as pa
import skl2onnx
from onnxmltools.convert.common.data_types import FloatTensorType as LightgbmFloat
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from columns import write
from credit import NUMERIC, TEXT, loans
from places import EXAMPLES, FIXTURES

FOLDER = FIXTURES / "sklearn"
EXAMPLE, EXAMPLE_FILE = "credit_gb", EXAMPLES / "models" / "credit" / "model.onnx"
OPSET = {"": 17, "ai.onnx.ml": 3}
TOLERANCE = 1e-5


def place(name: str) -> Path:
    """The model's file."""
    return EXAMPLE_FILE if name == EXAMPLE else FOLDER / f"{name}.onnx"


def save(made: onnx.ModelProto, name: str) -> None:
    """One file under 300 kB; the converter leaves the imports in the order of a hash set."""
    path = place(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    imports = sorted(made.opset_import, key=lambda used: used.domain)
    del made.opset_import[:]
    made.opset_import.extend(imports)
    onnx.checker.check_model(made)
    onnx.save(made, path)
    size = path.stat().st_size
    assert size < 300_000, (name, size)
    print(f"{name}.onnx: {size} bytes")


def run(name: str, inputs: pd.DataFrame) -> list:
    """ONNX Runtime's outputs: a feed of one column each, or of one matrix if the model has a single input."""
    session = ort.InferenceSession(place(name), providers=["CPUExecutionProvider"])
    if len(session.get_inputs()) == 1:
        return session.run(None, {session.get_inputs()[0].name: inputs.to_numpy(np.float32)})
    return session.run(None, {i.name: inputs[[i.name]].to_numpy() for i in session.get_inputs()})


def classified(name: str, fitted, inputs: pd.DataFrame) -> np.ndarray:
    """Write the library's labels and probabilities; ONNX Runtime must agree with them."""
    probabilities, labels = fitted.predict_proba(inputs), fitted.predict(inputs)
    columns = {f"probability_{c}": pa.array(probabilities[:, i]) for i, c in enumerate(fitted.classes_)}
    write(FOLDER / f"{name}.parquet", row=pa.array(range(len(inputs)), pa.int64()), label=pa.array(labels), **columns)
    label, scores = run(name, inputs)
    worst = np.abs(scores - probabilities).max()
    assert worst < TOLERANCE and (label == labels).all(), (name, worst)
    print(f"{name}: ONNX Runtime within {worst:.1e}")
    return probabilities


def per_column(inputs: pd.DataFrame) -> list:
    """An ONNX input `[None, 1]` for every column."""
    kinds = {True: StringTensorType, False: FloatTensorType}
    return [(name, kinds[name in TEXT]([None, 1])) for name in inputs]


def credit_gb(inputs: pd.DataFrame, status: np.ndarray) -> None:
    """Boosted trees over one-hot texts and imputed numbers, with and without ZipMap."""
    texts = make_pipeline(
        SimpleImputer(missing_values="", strategy="constant", fill_value="missing"),
        OneHotEncoder(handle_unknown="ignore"),
    )
    columns = ColumnTransformer([("texts", texts, TEXT), ("numbers", SimpleImputer(strategy="median"), NUMERIC)])
    fitted = make_pipeline(columns, GradientBoostingClassifier(random_state=0)).fit(inputs, status)
    for name, zipmap in (("credit_gb", False), ("credit_gb_zipmap", True)):
        made = skl2onnx.convert_sklearn(fitted, name, per_column(inputs), target_opset=OPSET,
                                        options={id(fitted): {"zipmap": zipmap}})
        save(made, name)
    probabilities = classified("credit_gb", fitted, inputs)
    maps = run("credit_gb_zipmap", inputs)[1]
    scores = np.array([[row[c] for c in fitted.classes_] for row in maps])
    assert np.abs(scores - probabilities).max() < TOLERANCE


def lgbm(inputs: pd.DataFrame, bad: np.ndarray) -> None:
    """LightGBM learns which way NaN goes at every split."""
    fitted = lightgbm.LGBMClassifier(n_estimators=60, num_leaves=15, random_state=0, n_jobs=1, deterministic=True,
                                     force_row_wise=True, verbose=-1).fit(inputs, bad)
    made = onnxmltools.convert_lightgbm(fitted, "lgbm", [("input", LightgbmFloat([None, inputs.shape[1]]))],
                                        target_opset=15, zipmap=False)
    save(made, "lgbm")
    classified("lgbm", fitted, inputs)


def amount_gb(inputs: pd.DataFrame) -> None:
    """Regression: the loan's amount from its other numbers; float32 sums allow a relative 1e-5."""
    others = inputs[[name for name in NUMERIC if name != "Amount"]]
    columns = ColumnTransformer([("numbers", SimpleImputer(strategy="median"), list(others))])
    fitted = make_pipeline(columns, GradientBoostingRegressor(random_state=0)).fit(others, inputs["Amount"])
    save(skl2onnx.convert_sklearn(fitted, "amount_gb", per_column(others), target_opset=OPSET), "amount_gb")
    amounts = fitted.predict(others)
    write(FOLDER / "amount_gb.parquet", row=pa.array(range(len(others)), pa.int64()), amount=pa.array(amounts))
    worst = np.abs(run("amount_gb", others)[0][:, 0] / amounts - 1).max()
    assert worst < TOLERANCE, worst
    print(f"amount_gb: ONNX Runtime within {worst:.1e} (relative)")


def logistic_int(inputs: pd.DataFrame, bad: np.ndarray) -> None:
    """Whole-number class labels."""
    fitted = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression())
    fitted.fit(inputs, bad)
    made = skl2onnx.convert_sklearn(fitted, "logistic_int", [("input", FloatTensorType([None, inputs.shape[1]]))],
                                    target_opset=OPSET, options={id(fitted): {"zipmap": False}})
    save(made, "logistic_int")
    classified("logistic_int", fitted, inputs)


def main() -> None:
    inputs, status = loans()
    bad = (status == "bad").astype(np.int64)
    credit_gb(inputs, status)
    lgbm(inputs[NUMERIC], bad)
    amount_gb(inputs[NUMERIC])
    logistic_int(inputs[NUMERIC].astype(np.float64), bad)


if __name__ == "__main__":
    main()
