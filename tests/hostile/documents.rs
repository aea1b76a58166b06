//! Documents that are locked, damaged, too long or too large.

use super::check_rows;
use crate::Outcome;
use crate::support::{Fresh, cached};

pub(super) fn broken() -> Outcome {
    let fresh = Fresh::with_models(&[("effnet", &cached("models/efficientnet-lite0"))])?;
    let path = |name: &str| format!("tests/fixtures/documents/{name}");
    let cases = [
        (path("encrypted.pdf"), "asks for a password"),
        (path("truncated.pdf"), "damaged PDF"),
        (path("no_pages.pdf"), ""),
        (path("many_pages.pdf"), "5000 pages are over the limit of 1000"),
        (path("huge_page.pdf#page=1"), "page 1 has 200000x200000 pixels"),
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
