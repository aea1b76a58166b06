"""Arrow columns and Parquet files of the fixtures."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def fixed_list(rows: np.ndarray, dtype: type) -> pa.FixedSizeListArray:
    """A matrix `[n, d]` as a column of n fixed-size lists of d values of `dtype`."""
    rows = np.ascontiguousarray(rows, dtype=dtype)
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])


def write(path: Path, **columns) -> pa.Table:
    """Write the columns, read them back, and return what was read.

    No dictionary and one row group: the same rows give the same bytes.
    """
    table = pa.table(columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd", compression_level=19, use_dictionary=False)
    back = pq.read_table(path)
    assert back.equals(table), f"{path} does not read back as written"
    print(f"{path.name}: {back.num_rows} rows, {path.stat().st_size} bytes")
    return back
