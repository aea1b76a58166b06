//! PP-OCRv4: the lines that RapidOCR finds, and pages of documents as PDFium draws them.

use std::fs;

use arrow::array::AsArray;
use arrow::datatypes::{Float32Type, Int32Type};

use super::{flat, largest_difference, read_json};
use crate::Outcome;
use crate::support::{Fresh, cached, ensure, numbers};

/// Corners may be a pixel apart, where a place lies between two.
const PIXELS: f64 = 1.0;
const SCORES: f64 = 2e-3;

fn model() -> Result<Fresh, libtest_mimic::Failed> {
    Fresh::with_models(&[("ocr", &cached("models/pp-ocr-v4"))])
}

pub(super) fn pp_ocr() -> Outcome {
    let answers = read_json("ocr.json")?;
    let fresh = model()?;
    for (picture, expected) in answers["pictures"].as_object().ok_or("pictures")? {
        let query =
            format!("SELECT l['text'], l['score'], l['box'] FROM (SELECT unnest(mm_ocr('ocr', 'tests/fixtures/ocr/{picture}')) AS l)");
        let found = fresh.rows(&query)?;
        let expected = expected.as_array().ok_or("lines")?;
        let texts: Vec<&str> = found.column(0).as_string::<i32>().iter().flatten().collect();
        let wanted: Vec<&str> = expected.iter().filter_map(|line| line["text"].as_str()).collect();
        ensure(texts == wanted, || format!("{picture}: {texts:?}, expected {wanted:?}"))?;
        for (row, line) in expected.iter().enumerate() {
            let score = f64::from(found.column(1).as_primitive::<Float32Type>().value(row));
            let apart = (score - line["score"].as_f64().ok_or("a score")?).abs();
            ensure(apart < SCORES, || format!("{picture}, line {row}: scores differ by {apart}"))?;
            let corners = found.column(2).as_list::<i32>().value(row);
            let (x, y) = (numbers(corners.as_struct().column(0))?, numbers(corners.as_struct().column(1))?);
            let own: Vec<f64> = x.into_iter().zip(y).flat_map(|(x, y)| [x, y]).collect();
            let points: Vec<f64> = line["box"].as_array().into_iter().flatten().flat_map(flat).collect();
            let apart = largest_difference(&own, &points)?;
            ensure(apart <= PIXELS, || format!("{picture}, line {row}: boxes are {apart} pixels apart"))?;
        }
    }
    Ok(())
}

/// Every page is read, or the one that a URI names; figures are only passed on where they add up.
pub(super) fn documents() -> Outcome {
    let fresh = model()?;
    for document in ["invoice.pdf", "invoice_lzw.tif", "no_startxref.pdf"] {
        let path = format!("tests/fixtures/documents/{document}");
        let rows =
            fresh.rows(&format!("SELECT DISTINCT l['page'] AS page FROM (SELECT unnest(mm_ocr('ocr', '{path}')) AS l) ORDER BY page"))?;
        let pages: Vec<i32> = rows.column(0).as_primitive::<Int32Type>().values().to_vec();
        ensure(pages == [1, 2, 3], || format!("{document}: lines on pages {pages:?}"))?;
        let second = fresh.rows(&format!("SELECT l['page'], l['text'] FROM (SELECT unnest(mm_ocr('ocr', '{path}#page=2')) AS l)"))?;
        let pages: Vec<i32> = second.column(0).as_primitive::<Int32Type>().values().to_vec();
        ensure(!pages.is_empty() && pages.iter().all(|page| *page == 2), || format!("{document}: page 2 alone has lines on {pages:?}"))?;
        let text: String = second.column(1).as_string::<i32>().iter().flatten().collect::<String>().replace(' ', "");
        ensure(text.contains("Page2"), || format!("{document}: page 2 reads {text}"))?;
    }
    Ok(())
}

/// Grey in the parts of a page beside what PDFium and Pillow draw.
pub(super) fn pages() -> Outcome {
    let answers = read_json("documents.json")?;
    // A graph that gives its picture back, at the size of the expected parts.
    let folder = tempfile::TempDir::new()?;
    fs::copy("tests/fixtures/tiny/grey_parts.onnx", folder.path().join("model.onnx"))?;
    let description = "embedding = \"parts\"\n[inputs.picture]\nmodality = \"image\"\ngraph_input = \"picture\"\n\
        image = { resize = { height = 6, width = 8 }, filter = \"box\", scale = 1.0, mean = [0.0], std = [1.0] }\n";
    fs::write(folder.path().join("sensorium.toml"), description)?;
    let fresh = Fresh::with_models(&[("grey", &folder.path().to_string_lossy())])?;
    let mut seen = 0;
    for (name, facts) in answers.as_object().ok_or("documents")?.iter().filter(|(_, facts)| facts["refused"].is_null()) {
        let (Some(page), Some(parts)) = (facts["grey_page"].as_u64(), facts["grey"].as_array()) else { continue };
        let uri = format!("tests/fixtures/documents/{name}#page={}", page + 1);
        let found = fresh.rows(&format!("SELECT mm_embed('grey', '{uri}')"))?;
        let found = numbers(&found.column(0).as_fixed_size_list().value(0))?;
        let apart = largest_difference(&found, &parts.iter().flat_map(flat).collect::<Vec<f64>>())?;
        ensure(apart < 6.0, || format!("{uri}: {apart} levels apart: {found:?}, expected {parts:?}"))?;
        seen += 1;
    }
    ensure(seen >= 3, || format!("{seen} pages were compared"))
}
