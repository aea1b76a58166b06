# %% [markdown]
# # Credit risk from a Polars frame
#
# A loan book is scored, a model of one's own is fitted and judged, and decisions get reasons. Run it from the root of a checkout:
# `python examples/python/credit_risk.py`, or cell by cell in an editor that knows `# %%`.

# %%
import tempfile

import polars as pl

import sensorium as sm

session = sm.Session(models=tempfile.mkdtemp())
loans = pl.read_parquet("examples/data/credit_data.parquet").with_row_index("loan")
print(loans.head(3))

# %% [markdown]
# A model that is there already: a package is a folder, and a version of it never changes. Columns are matched to its inputs by name.

# %%
session.create_model("credit", "examples/models/credit")
scored = loans.mm.predict("credit", name="credit")
print(scored.select("loan", "Amount", pl.col("credit").struct.unnest()).head(3))

# %% [markdown]
# A model of one's own, fitted to three quarters of the loans; the last quarter judges it.

# %%
known, new = loans.filter(pl.col("loan") % 4 > 0), loans.filter(pl.col("loan") % 4 == 0)
session.create_model(
    "risk",
    known.drop("loan"),
    label="Status",
    head="trees",
    seed=7,
    adverse="bad",
    reasons={"Income": "Income too low for the amount of credit", "Seniority": "Too short a time with the employer"},
)
judged = session.evaluate("risk", new.drop("loan"), to=tempfile.mkdtemp(), sample=100)
print(judged)
assert judged["auc"] > 0.8, judged["auc"]

# %% [markdown]
# Who is turned down, and why. The frame is lazy: the model that explains runs for the rows that the filter leaves.

# %%
declined = (
    new.lazy()
    .mm.predict("risk", name="risk")
    .filter(pl.col("risk").struct.field("label") == "bad")
    .head(20)
    .mm.reasons("risk", k=2)
    .select("loan", pl.col("reasons").list.eval(pl.element().struct.field("reason")))
    .collect()
)
print(declined)
assert declined.height == 20 and declined["reasons"].list.len().min() >= 1

# %% [markdown]
# What the model goes by, over a hundred loans: in a notebook this is a plot.

# %%
session.explain("risk", new.drop("loan").head(100))

# %% [markdown]
# The same in SQL, where figures are aggregates: AUC for each kind of job.

# %%
by_job = session.sql(
    """
    SELECT "Job", mm_auc(mm_predict('risk', n.*).probabilities['bad'], "Status" = 'bad') AS auc, count(*) AS loans
    FROM new AS n GROUP BY "Job" HAVING count(*) > 50 ORDER BY loans DESC
    """,
    new=new,
)
print(by_job)
