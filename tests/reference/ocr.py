"""`ocr/`: made-up pictures of text, and `ocr.json`: what RapidOCR reads in them.

PyPI rapidocr-onnxruntime==1.4.4 (PP-OCRv4, Apache-2.0) with its default configuration, opencv-python-headless==4.14.0.94,
onnxruntime==1.31.1. It needs Python below 3.13; install it with --no-deps beside opencv-python-headless, pyclipper 1.4.0,
shapely 2.2.0, six, PyYAML and tqdm. `--fonts` is the folder with the fonts of Debian's fonts-dejavu-core.

`pictures` holds the lines (box, text, score) per file; `steps` the numbers in between for every picture that has text:
the detector's input size, its boxes before and after the sorting with their crops' sizes, the classifier's and the
recogniser's answers by box.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rapidocr_onnxruntime import RapidOCR

from places import FIXTURES

FOLDER = FIXTURES / "ocr"
INVOICE = [
    ("Invoice No. 2024-0317", 22, (30, 24)), ("Harbour Lights Ltd", 18, (30, 62)), ("Date: 17 March 2024", 18, (330, 62)),
    ("Rope, 20 m", 16, (30, 116)), ("1,249.50", 16, (430, 116)),
    ("Lantern", 16, (30, 148)), ("1.249,50", 16, (430, 148)),
    ("Oil, 5 litres", 16, (30, 180)), ("EUR 87.20", 16, (430, 180)),
    ("Discount", 16, (30, 212)), ("-12.00", 16, (430, 212)),
    ("Total", 20, (30, 262)), ("$2,574.20", 20, (430, 262)),
]


def draw(size: tuple, lines: list, fonts: Path, ink=0, paper=255, face: str = "DejaVuSans") -> Image.Image:
    """Grey picture of `(text, height of the font, place)`."""
    picture = Image.new("L", size, paper)
    pen = ImageDraw.Draw(picture)
    for text, height, place in lines:
        pen.text(place, text, fill=ink, font=ImageFont.truetype(str(fonts / f"{face}.ttf"), height))
    return picture


def label(fonts: Path) -> Image.Image:
    """A label on a darker ground, turned by ten degrees, with a light that falls off to the right."""
    lines = [("NORTHWIND TEA", 34, (28, 26)), ("Net weight 250 g", 24, (28, 84)), ("Best before 08/2026", 24, (28, 126))]
    card = draw((360, 180), lines, fonts, ink=25, paper=235, face="DejaVuSans-Bold")
    ground = Image.new("L", (480, 320), 110)
    mask = Image.new("L", card.size, 255)
    turned, mask = (one.rotate(10, Image.Resampling.BICUBIC, expand=True) for one in (card, mask))
    ground.paste(turned, ((480 - turned.width) // 2, (320 - turned.height) // 2), mask)
    light = np.linspace(1, 0.75, 480)[None, :]
    return Image.fromarray((np.asarray(ground) * light).astype(np.uint8))


def scenery() -> Image.Image:
    """Hills without a word."""
    x, y = np.meshgrid(np.arange(320), np.arange(200))
    hills = np.where(y > 120 + 30 * np.sin(x / 40), 90, 200 - y // 4)
    return Image.fromarray(hills.astype(np.uint8))


def colours(picture: Image.Image, ink: tuple, paper: tuple) -> Image.Image:
    """Grey to a mixture of two colours; tells RGB from BGR."""
    part = np.asarray(picture, np.float64)[..., None] / 255
    return Image.fromarray(np.round(part * np.array(paper) + (1 - part) * np.array(ink)).astype(np.uint8))


def pictures(fonts: Path) -> dict:
    """Every picture by its file's name."""
    dark = draw((480, 240), [("Open daily 09:00 - 17:30", 26, (24, 60)), ("Tel. 555 0142", 26, (24, 140))], fonts)
    closed = draw((480, 320), [("Platform 4 is closed", 26, (90, 140))], fonts)
    return {
        "invoice.png": draw((600, 320), INVOICE, fonts),
        "label.png": label(fonts),
        "dark.png": colours(dark, ink=(250, 240, 200), paper=(20, 30, 90)),
        "scenery.png": scenery(),
        "upside_down.png": closed.transpose(Image.Transpose.ROTATE_180),
        "strip.png": draw((520, 28), [("Order 70815 shipped on Friday", 18, (12, 3))], fonts),
        "column.png": draw((400, 300), [("Room 12 to 48", 26, (100, 130))], fonts).transpose(Image.Transpose.ROTATE_90),
    }


def listed(values) -> list:
    """Nested lists of plain floats."""
    return np.asarray(values, np.float64).round(6).tolist()


def steps(engine: RapidOCR, path: Path) -> dict | None:
    """The numbers between the stages, by the engine's own methods in the order of its `__call__`."""
    image, ratio_height, ratio_width = engine.preprocess(engine.load_img(path))
    image, record = engine.maybe_add_letterbox(image, {})
    raw, _ = engine.text_det(image)
    found, _ = engine.auto_text_det(image)
    shape = engine.text_det.preprocess_op(image).shape
    answer = {"scale_back": [ratio_width, ratio_height], "letterbox": record["padding_1"],
              "picture": [image.shape[1], image.shape[0]], "detector_input": [shape[3], shape[2]]}
    if found is None:
        return answer | {"boxes": []}
    crops = engine.get_crop_img_list(image, found)
    turned, angles, _ = engine.text_cls(crops)
    texts, _ = engine.text_rec(turned)
    answer["boxes_unsorted"] = listed(raw)
    answer["boxes"] = [
        {"points": listed(box), "crop": [crop.shape[1], crop.shape[0]], "crop_mean": round(float(crop.mean()), 4),
         "angle": angle, "angle_score": round(float(score), 6), "text": text, "score": round(float(sure), 6)}
        for box, crop, (angle, score), (text, sure) in zip(found, crops, angles, texts)]
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts/truetype/dejavu"))
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    engine = RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)
    answers = {"pictures": {}, "steps": {}}
    for name, picture in pictures(options.fonts).items():
        path = FOLDER / name
        picture.save(path, optimize=True)
        found, _ = engine(path)
        answers["pictures"][name] = [{"box": listed(box), "text": text, "score": round(float(score), 6)}
                                     for box, text, score in found or []]
        answers["steps"][name] = steps(engine, path)
        print(name, path.stat().st_size, [(line["text"], line["score"]) for line in answers["pictures"][name]])
    (FIXTURES / "ocr.json").write_text(json.dumps(answers, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
