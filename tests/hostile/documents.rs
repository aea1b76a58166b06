//! Documents that are locked, damaged, too long or too large.

use arrow::array::{Array, AsArray};

use super::{check_rows, contains};
use crate::Outcome;
use crate::support::{Fresh, cached, ensure, path_in};

/// A white picture of three bytes a pixel.
fn bitmap(width: u32, height: u32) -> Vec<u8> {
    let row = (width * 3).next_multiple_of(4);
    let bytes = row * height;
    let mut file = b"BM".to_vec();
    file.extend((bytes + 54).to_le_bytes());
    file.extend([0; 4]);
    file.extend([54_u32, 40, width, height].map(u32::to_le_bytes).concat());
    file.extend([1, 0, 24, 0]);
    file.extend([0, bytes, 2_835, 2_835, 0, 0].map(u32::to_le_bytes).concat());
    file.resize(file.len() + bytes as usize, 255);
    file
}

/// A strip that would become gigabytes for the detector; its neighbours are read.
pub(super) fn thin_strips() -> Outcome {
    let fresh = Fresh::with_models(&[("ocr", &cached("models/pp-ocr-v4"))])?;
    let folder = tempfile::TempDir::new_in("tests/fixtures")?;
    std::fs::write(folder.path().join("strip.bmp"), bitmap(2_000, 1))?;
    let strip = path_in(&folder, "strip.bmp");
    fresh.rows("SET mm.on_error = 'null'")?;
    let rows = fresh
        .rows(&format!("SELECT array_length(mm_ocr('ocr', uri)) FROM (VALUES ('{strip}'), ('tests/fixtures/ocr/dark.png')) AS t(uri)"))?;
    ensure(rows.column(0).is_null(0) && rows.column(0).is_valid(1), || "a strip sank its neighbour".into())?;
    let listed = fresh.rows("SELECT message FROM mm_errors()")?;
    contains(listed.column(0).as_string::<i32>().value(0), &["over the limit of 8192"])
}

pub(super) fn broken() -> Outcome {
    let fresh = Fresh::with_models(&[("effnet", &cached("models/efficientnet-lite0"))])?;
    let path = |name: &str| format!("tests/fixtures/documents/{name}");
    let cases = [
        (path("encrypted.pdf"), "asks for a password"),
        (path("truncated.pdf"), "damaged PDF"),
        (path("no_pages.pdf"), ""),
        (path("many_pages.pdf"), "5000 pages are over the limit of 1000"),
        (path("huge_page.pdf#page=1"), "page 1 has 200000x200000 pixels"),
        (path("nested_forms.pdf"), "paints over more than 4000000000 pixels"),
        (path("piled_tiles.pdf"), "paints over more than 4000000000 pixels"),
        (path("huge_picture.pdf"), "100000x100000 pixels are over"),
        (path("invoice.pdf"), "a document of 3 pages"),
        (path("invoice.pdf#page=4"), "no page 4 in a document of 3"),
        (path("invoice.pdf#page=0"), "no page 0"),
        (path("invoice_lzw.tif#page=7"), "no page 7 in a document of 3"),
    ];
    let rows: Vec<(&str, &str, &str)> = cases.iter().map(|(uri, message)| (uri.as_str(), "decode", *message)).collect();
    check_rows(&fresh, "effnet", &rows, &path("invoice.pdf#page=2"))?;
    fresh.rows("SET mm.on_error = 'fail'")?;
    fresh.rows("SET mm.max_document_pages = 5000")?;
    fresh.rows(&format!("SELECT mm_predict('effnet', '{}')", path("many_pages.pdf#page=5000")))?;
    fresh.rows(&format!("SELECT mm_predict('effnet', '{}')", path("huge_page.pdf#page=2"))).map(|_| ())
}
