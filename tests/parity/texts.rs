//! MiniLM: cosine to sentence-transformers' way of doing it, for each of 1,000 texts.

use crate::Outcome;
use crate::support::{Fresh, cached, ensure, numbers};

const WIDTH: usize = 384;

pub(super) fn minilm() -> Outcome {
    let fresh = Fresh::with_models(&[("minilm", &cached("models/minilm"))])?;
    fresh.register("texts", "tests/fixtures/minilm_texts.parquet")?;
    let rows =
        fresh.rows("SELECT mm_embed('minilm', text), arrow_cast(embedding, 'FixedSizeList(384, Float32)') FROM texts ORDER BY id")?;
    let (found, expected) = (numbers(rows.column(0))?, numbers(rows.column(1))?);
    ensure(rows.num_rows() == 1_000, || format!("{} rows", rows.num_rows()))?;
    let cosine = |(u, v): (&[f64], &[f64])| {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        dot(u, v) / (dot(u, u) * dot(v, v)).sqrt()
    };
    let worst = found.chunks_exact(WIDTH).zip(expected.chunks_exact(WIDTH)).map(cosine).fold(1.0, f64::min);
    ensure(worst >= 0.99999, || format!("worst cosine {worst}"))
}
