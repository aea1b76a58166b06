//! Vectors of texts, several texts a request.

use serde_json::{Value, json};

use crate::error::{Error, Kind, Result};
use crate::package::Endpoint;

/// Texts of a request at most; what fails is sent again in halves.
pub(super) const TEXTS: usize = 64;

pub(super) fn body(endpoint: &Endpoint, texts: &[&str]) -> Value {
    json!({ "model": endpoint.model, "input": texts, "encoding_format": "float" })
}

/// The vectors of `count` texts, in their order, and the tokens that were read.
pub(super) fn vectors(answer: &Value, count: usize) -> Result<(Vec<Vec<f32>>, u64)> {
    let unknown = |what: &str| Error::new(Kind::Model, format!("not an answer of OpenAI's protocol: {what}"));
    let data = answer["data"].as_array().ok_or_else(|| unknown("no data"))?;
    let mut vectors = vec![Vec::new(); count];
    for (place, one) in data.iter().enumerate() {
        let index = one["index"].as_u64().map_or(Ok(place), usize::try_from).unwrap_or(count);
        let numbers = one["embedding"].as_array().ok_or_else(|| unknown("no embedding"))?;
        let number = |number: &Value| number.as_f64().map(|number| number as f32).filter(|number| number.is_finite());
        let numbers =
            numbers.iter().map(number).collect::<Option<Vec<f32>>>().ok_or_else(|| unknown("an embedding of other things than numbers"))?;
        *vectors.get_mut(index).ok_or_else(|| unknown("more embeddings than texts"))? = numbers;
    }
    let width = vectors.first().map_or(0, Vec::len);
    if width == 0 || vectors.iter().any(|vector| vector.len() != width) {
        return Err(unknown(&format!("embeddings of {} numbers for {count} texts", width)));
    }
    Ok((vectors, answer["usage"]["prompt_tokens"].as_u64().unwrap_or(0)))
}
