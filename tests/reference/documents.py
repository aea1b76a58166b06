"""`documents/`: made-up PDF and TIFF files, and `documents.json`: their pages' sizes and how a page looks.

PyPI fpdf2==2.8.9, pypdf==7.1.1, cryptography==50.0.2, pypdfium2==5.15.2 (BSD-3-Clause and Apache-2.0), pillow.

A page's size is width and height in points (1/72 inch), for TIFF in pixels. `grey` is page `grey_page` (from 0) as PDFium
renders it at 144 dpi on white: the mean of L = (299 R + 587 G + 114 B) / 1000 in eight columns and six rows, row by row;
column i goes from i * width // 8 to (i + 1) * width // 8. `text` is what PDFium extracts from every page.
"""

import datetime
import io
import json
import random
import zlib
from pathlib import Path
from unittest import mock

import numpy as np
import pypdf
import pypdfium2
from fpdf import FPDF
from PIL import Image, ImageSequence

from places import FIXTURES

FOLDER = FIXTURES / "documents"
DAY = datetime.datetime(2024, 3, 17, tzinfo=datetime.timezone.utc)
PASSWORD = "harbour lights"
PAGES = [
    ["Page 1", "Invoice 2024-0317", "Rope, 20 m                 1,249.50", "Lantern                        87.20"],
    ["Page 2", "Delivery on 21 March 2024", "Parcel 70815, 3.5 kg"],
    ["Page 3", "Terms", "Payment within 30 days.", "Total 1,336.70"],
]
GRID = (8, 6)


def empty(size: tuple = (400, 300)) -> FPDF:
    """A PDF without pages whose bytes do not depend on the day."""
    pdf = FPDF(unit="pt", format=size)
    pdf.set_creation_date(DAY)
    pdf.set_auto_page_break(False)
    pdf.set_margin(0)
    return pdf


def invoice() -> bytes:
    """Three pages of 400 x 300 points in standard fonts, with lines and a filled box."""
    pdf = empty()
    for heading, *lines in PAGES:
        pdf.add_page()
        pdf.set_fill_color(30, 60, 120)
        pdf.rect(0, 0, 400, 40, style="F")
        pdf.set_font("Helvetica", "B", 20)
        pdf.set_text_color(255, 255, 255)
        pdf.text(20, 27, heading)
        pdf.set_text_color(0, 0, 0)
        pdf.set_font("Courier", size=14)
        for row, line in enumerate(lines):
            pdf.text(20, 80 + 30 * row, line)
        pdf.set_line_width(2)
        pdf.line(20, 260, 380, 260)
    return bytes(pdf.output())


def scan(picture: Image.Image) -> bytes:
    """One page of 300 x 200 points that is a JPEG picture."""
    pdf = empty((300, 200))
    pdf.add_page()
    stored = io.BytesIO()
    picture.convert("RGB").save(stored, "JPEG", quality=70)
    pdf.image(stored, 0, 0, 300, 200)
    return bytes(pdf.output())


def encrypted(document: bytes) -> bytes:
    """AES-256 with a user password; the key, the salts and the vectors come from a seeded generator."""
    content = io.BytesIO()
    with mock.patch("secrets.token_bytes", random.Random(7).randbytes):
        writer = pypdf.PdfWriter(clone_from=io.BytesIO(document))
        writer.encrypt(PASSWORD, owner_password="owner " + PASSWORD, algorithm="AES-256")
        writer.write(content)
    return content.getvalue()


def plain(pages: list, streams: dict | None = None, objects: bool = False) -> bytes:
    """A PDF written by hand: `pages` are media boxes, `streams` the content of some. `objects`: packed into an object stream."""
    bodies = ["<</Type/Catalog/Pages 2 0 R>>", None]
    kids = []
    for number, box in enumerate(pages):
        content = (streams or {}).get(number)
        kids.append(f"{len(bodies) + 1} 0 R")
        place = f"/Contents {len(bodies) + 2} 0 R" if content else ""
        bodies.append(f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 {box[0]} {box[1]}]{place}>>")
        if content:
            bodies.append(f"<</Length {len(content)}>>stream\n{content}\nendstream")
    bodies[1] = f"<</Type/Pages/Count {len(pages)}/Kids[{' '.join(kids)}]>>"
    return packed(bodies) if objects else numbered(bodies)


def nested(levels: int, times: int) -> bytes:
    """A page of one form that shows another ten times, which shows another ten times, and so on."""
    bodies = ["<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Count 1/Kids[3 0 R]>>",
              "<</Type/Page/Parent 2 0 R/MediaBox[0 0 72 72]/Contents 4 0 R/Resources<</XObject<</F 5 0 R>>>>>>",
              "<</Length 5>>stream\n/F Do\nendstream"]
    for level in range(levels):
        content = "/F Do " * times if level < levels - 1 else "0 0 1 1 re f"
        inner = f"/Resources<</XObject<</F {6 + level} 0 R>>>>" if level < levels - 1 else ""
        bodies.append(f"<</Type/XObject/Subtype/Form/BBox[0 0 72 72]{inner}/Length {len(content)}>>stream\n{content}\nendstream")
    return numbered(bodies)


def tiled(step: float) -> bytes:
    """A page filled with a pattern whose tiles lie one upon another."""
    paint = "/Pattern cs /P scn 0 0 72 72 re f"
    tile = "0 0 72 72 re f"
    return numbered([
        "<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Count 1/Kids[3 0 R]>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 72 72]/Contents 4 0 R/Resources<</Pattern<</P 5 0 R>>>>>>",
        f"<</Length {len(paint)}>>stream\n{paint}\nendstream",
        f"<</Type/Pattern/PatternType 1/PaintType 1/TilingType 1/BBox[0 0 72 72]/XStep {step}/YStep {step}/Resources<<>>"
        f"/Length {len(tile)}>>stream\n{tile}\nendstream"])


def bomb(side: int) -> bytes:
    """A page with a picture that is larger decoded than anything should be."""
    paint = "72 0 0 72 0 0 cm /I Do"
    return numbered([
        "<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Count 1/Kids[3 0 R]>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 72 72]/Contents 4 0 R/Resources<</XObject<</I 5 0 R>>>>>>",
        f"<</Length {len(paint)}>>stream\n{paint}\nendstream",
        f"<</Type/XObject/Subtype/Image/Width {side}/Height {side}/ColorSpace/DeviceGray/BitsPerComponent 8/Length 4>>stream\n0000\nendstream"])


def numbered(bodies: list) -> bytes:
    """Objects one after another with a plain cross-reference table."""
    content, places = "%PDF-1.4\n", []
    for number, body in enumerate(bodies, 1):
        places.append(len(content))
        content += f"{number} 0 obj{body}endobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    return (content + f"xref\n0 {len(bodies) + 1}\n0000000000 65535 f \n{table}"
            f"trailer<</Size {len(bodies) + 1}/Root 1 0 R>>\nstartxref\n{len(content)}\n%%EOF\n").encode()


def packed(bodies: list) -> bytes:
    """All objects in one compressed object stream, found through a compressed cross-reference stream."""
    starts, at = [], 0
    for body in bodies:
        starts.append(at)
        at += len(body) + 1
    index = " ".join(f"{number} {start}" for number, start in enumerate(starts, 1)) + " "
    inside = zlib.compress((index + " ".join(bodies)).encode(), 9)
    holder, table = len(bodies) + 1, len(bodies) + 2
    content = b"%PDF-1.5\n"
    places = [len(content)]
    content += b"%d 0 obj<</Type/ObjStm/N %d/First %d/Filter/FlateDecode/Length %d>>stream\n" % (
        holder, len(bodies), len(index), len(inside)) + inside + b"\nendstream endobj\n"
    places.append(len(content))
    entry = lambda kind, second, third: bytes([kind]) + second.to_bytes(4, "big") + third.to_bytes(2, "big")
    rows = entry(0, 0, 65535) + b"".join(entry(2, holder, number) for number in range(len(bodies)))
    rows = zlib.compress(rows + b"".join(entry(1, place, 0) for place in places), 9)
    content += b"%d 0 obj<</Type/XRef/Size %d/W[1 4 2]/Root 1 0 R/Filter/FlateDecode/Length %d>>stream\n" % (
        table, table + 1, len(rows)) + rows + b"\nendstream endobj\nstartxref\n%d\n%%%%EOF\n" % places[1]
    return content


def rendered(page, dpi: int = 144) -> Image.Image:
    """A page on white."""
    return page.render(scale=dpi / 72).to_pil().convert("RGB")


def grey(picture: Image.Image) -> list:
    """The mean grey of a coarse grid."""
    levels = np.asarray(picture.convert("RGB"), np.float64) @ np.array([0.299, 0.587, 0.114])
    columns, rows = GRID
    height, width = levels.shape
    upright = [slice(y * height // rows, (y + 1) * height // rows) for y in range(rows)]
    across = [slice(x * width // columns, (x + 1) * width // columns) for x in range(columns)]
    return [[round(float(levels[y, x].mean()), 3) for x in across] for y in upright]


def described(content: bytes, grey_page: int | None = 0, password: str | None = None, all_sizes: bool = True) -> dict:
    """What PDFium says of a document."""
    document = pypdfium2.PdfDocument(content, password=password)
    sizes = [[round(float(side), 3) for side in document[number].get_size()] for number in range(len(document))]
    answer = {"pages": len(document), "sizes": sizes if all_sizes else sizes[:1]}
    if len(document) < 10:
        answer["text"] = [page.get_textpage().get_text_range() for page in document]
    if grey_page is not None:
        picture = rendered(document[grey_page])
        answer |= {"grey_page": grey_page, "rendered": list(picture.size), "grey": grey(picture)}
    return answer


def opened(content: bytes, **options) -> dict:
    """`described`, or PDFium's complaint."""
    try:
        return described(content, **options)
    except pypdfium2.PdfiumError as problem:
        return {"refused": str(problem)}


def frames(path: Path) -> dict:
    """What Pillow says of a TIFF."""
    with Image.open(path) as picture:
        looks = [look.copy() for look in ImageSequence.Iterator(picture)]
    return {"pages": len(looks), "sizes": [list(look.size) for look in looks], "grey_page": 0, "rendered": list(looks[0].size),
            "grey": grey(looks[0])}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    pages = invoice()
    looks = [rendered(page).convert("L") for page in pypdfium2.PdfDocument(pages)]
    box = "0 0 0.5 rg 100 100 200 50 re f"
    files = {
        "invoice.pdf": pages, "scan.pdf": scan(looks[0].resize((600, 450)).crop((0, 0, 600, 400))),
        "encrypted.pdf": encrypted(pages),
        "truncated.pdf": pages[:900], "no_startxref.pdf": pages[:pages.rindex(b"startxref")],
        "many_pages.pdf": plain([(72, 72)] * 5_000, objects=True),
        "huge_page.pdf": plain([(100_000, 100_000), (400, 300)], {1: box}), "no_pages.pdf": plain([]),
    }
    # Nobody is asked about these: PDFium would not come back.
    endless = {"nested_forms.pdf": nested(30, 10), "piled_tiles.pdf": tiled(0.01), "huge_picture.pdf": bomb(100_000)}
    for name, content in (files | endless).items():
        (FOLDER / name).write_bytes(content)
    bilevel = [look.point(lambda level: 255 * (level > 127)).convert("1") for look in looks]
    bilevel[0].save(FOLDER / "invoice_g4.tif", save_all=True, append_images=bilevel[1:], compression="group4", dpi=(144, 144))
    small = [look.resize((400, 300)) for look in looks]
    small[0].save(FOLDER / "invoice_lzw.tif", save_all=True, append_images=small[1:], compression="tiff_lzw", dpi=(72, 72))
    options = {"huge_page.pdf": {"grey_page": 1}, "many_pages.pdf": {"grey_page": None, "all_sizes": False}}
    answers = {name: opened(content, **options.get(name, {})) for name, content in files.items()}
    answers["encrypted.pdf"] |= {"password": PASSWORD} | described(files["encrypted.pdf"], password=PASSWORD)
    answers |= {path.name: frames(path) for path in sorted(FOLDER.glob("*.tif"))}
    (FIXTURES / "documents.json").write_text(json.dumps(answers, indent=1))
    for name, answer in answers.items():
        print(name, (FOLDER / name).stat().st_size, {key: value for key, value in answer.items() if key != "grey"})


if __name__ == "__main__":
    main()
