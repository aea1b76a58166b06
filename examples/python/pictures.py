# %% [markdown]
# # Pictures from a Polars frame
#
# Photographs are named by a real model, as paths and as bytes; posts are searched by what they say. `sensorium setup` (or
# `cargo demo`) has put the models into the cache folder.

# %%
import os
import tempfile
from pathlib import Path

import polars as pl

import sensorium as sm

cache = Path(os.environ.get("SENSORIUM_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sensorium")
session = sm.Session(models=tempfile.mkdtemp())
session.create_model("effnet", cache / "models/efficientnet-lite0")
session.create_model("minilm", cache / "models/minilm")

# %% [markdown]
# Posts name their photographs by paths, which are read, decoded and put through the model in batches.

# %%
folder = Path("examples/data/photographs")
posts = pl.read_csv(folder / "posts.csv")
print(posts)
photos = pl.DataFrame({"photo": sorted(str(path) for path in folder.glob("*.jpg"))})
named = photos.mm.predict("effnet", "photo", name="seen").with_columns(
    label=pl.col("seen").struct.field("label"), score=pl.col("seen").struct.field("score")
)
print(named.select("photo", "label", "score"))

# %% [markdown]
# A column of bytes does as well, wherever they come from.

# %%
content = photos.select(photo=pl.col("photo").map_elements(lambda path: Path(path).read_bytes(), return_dtype=pl.Binary))
same = content.mm.predict("effnet", "photo", name="seen")["seen"].struct.field("label")
assert same.equals(named["label"])

# %% [markdown]
# A picture that is none does not spoil the others: its row is null, and `errors()` says why.

# %%
session.set(on_error="null")
damaged = pl.concat([content, pl.DataFrame({"photo": [b"not a picture"]})])
print(damaged.mm.predict("effnet", "photo", name="seen")["seen"].is_null().to_list())
print(session.errors().select("row", "step", "code", "message"))
assert session.errors()["row"].to_list() == [photos.height]

# %% [markdown]
# What was seen, found by meaning: vectors of labels beside the vector of a question.

# %%
nearest = named.lazy().mm.sql(
    """
    SELECT photo, label, mm_similarity(mm_embed('minilm', label), mm_embed('minilm', 'something to drink')) AS near
    FROM self ORDER BY near DESC LIMIT 1
    """
)
print(nearest.collect())
