"""`pictures/*` and `pictures.parquet`: files of every kind, and the logits of EfficientNet-Lite0 on them.

The committed files are made of public domain and CC0 photographs (`photographs.py`). A further 100 rows are
textile pictures (`textile/<class>/<name>.jpg`) that are not committed: PyPI `conformal-clip-data`, in the folder
`conformal_clip_data/data/textile_images/simulated/`. The preprocessing and its decisions: `preprocess.py`.
Columns: `file` utf8, `top1` int32, `margin` float32 (top-1 probability minus top-2), `logits` float16[1000],
`note` utf8 (what the file tests, which photograph, its licence).
"""

from pathlib import Path

import conformal_clip_data
import numpy as np
import pyarrow as pa

import jpeg_pictures
import other_pictures
import png_pictures
from columns import fixed_list, write
from encoders import ImageEncoder, softmax
from places import FIXTURES, models_folder

TEXTILE = Path(conformal_clip_data.__file__).parent / "data" / "textile_images" / "simulated"
TEXTILE_ROWS = {"nominal": 50, "global": 25, "local": 25}
LIMIT_BYTES = 1 << 20


def commit_pictures(folder: Path) -> list[tuple[str, str, Path]]:
    """Write the committed files; (file, note, path) of each, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    rows = []
    for kind in (jpeg_pictures, png_pictures, other_pictures):
        for picture in kind.pictures():
            path = folder / picture.file
            assert not path.exists() and len(picture.content) < LIMIT_BYTES, picture.file
            path.write_bytes(picture.content)
            rows.append((picture.file, picture.note, path))
    return sorted(rows)


def textile_pictures() -> list[tuple[str, str, Path]]:
    """Evenly spaced files of every class."""
    rows = []
    for kind, count in TEXTILE_ROWS.items():
        files = sorted((TEXTILE / kind).glob("textile_*.jpg"))
        for path in files[:: len(files) // count][:count]:
            rows.append((f"textile/{kind}/{path.name}", "not committed: conformal-clip-data, MIT", path))
    return rows


def main() -> None:
    encoder = ImageEncoder(models_folder(__doc__) / "efficientnet-lite0")
    rows = commit_pictures(FIXTURES / "pictures") + textile_pictures()
    logits = np.stack([encoder.run("logits", path) for _, _, path in rows])
    best = np.sort(softmax(logits), axis=1)[:, ::-1]
    write(
        FIXTURES / "pictures.parquet",
        file=pa.array([file for file, _, _ in rows]),
        top1=pa.array(logits.argmax(axis=1), pa.int32()),
        margin=pa.array(best[:, 0] - best[:, 1], pa.float32()),
        logits=fixed_list(logits, np.float16),
        note=pa.array([note for _, note, _ in rows]),
    )
    total = sum(path.stat().st_size for path in (FIXTURES / "pictures").iterdir())
    print(f"{len(rows)} rows, {total} bytes of pictures, {(best[:, 0] - best[:, 1] > 0.05).sum()} with margin > 0.05")


if __name__ == "__main__":
    main()
