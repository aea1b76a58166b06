//! `mm_ocr`: the lines of text in a picture or document, with boxes and scores.

use std::sync::{Arc, LazyLock};

use datafusion::logical_expr::{DocSection, Documentation, ScalarUDF};

use crate::call::{Asked, Kind, ModelFunction, Policy};
use crate::engine::Engine;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "The lines of text in a picture, or on all pages of a PDF or TIFF, in the order of reading, with a model of PP-OCR's kind: [{text, score, page, box: [{x, y}]}], boxes from the upper left corner clockwise, in pixels of the page at mm.document_dpi, pages counted from 1. 'file.pdf#page=2' reads one page. The score is the mean certainty of a line's characters; figures that were read wrong may have a high one: check sums with mm_amount before they are used. An empty list where there is no text, NULL where the picture is NULL.",
        "mm_ocr(model, image)",
    )
    .with_argument("model", "Name of a model as a literal: 'ocr', 'ocr@3' or 'ocr@champion'")
    .with_argument("image", "A URI or the bytes of a picture, PDF or TIFF")
    .with_sql_example("SELECT invoice_id, line['text'], line['score'] FROM (SELECT invoice_id, unnest(mm_ocr('ocr', scan)) AS line FROM invoices)")
    .build()
});

const KIND: Kind = Kind { function: "mm_ocr", asked: Asked::Lines, policy: Policy::Setting };

pub(super) fn function(engine: &Arc<Engine>) -> ScalarUDF {
    ScalarUDF::new_from_impl(ModelFunction::new(KIND, engine, &DOCUMENTATION))
}
