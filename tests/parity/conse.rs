//! ConSE: photographs named by words that their classifier never learned, in SQL, beside the same rule in numpy.

use super::{largest_difference, read_json, strings};
use crate::Outcome;
use crate::support::{Fresh, cached, ensure, numbers};

/// Decoders of JPEG differ by a level, which moves probabilities in the third digit.
const TOLERANCE: f64 = 0.01;
/// Photographs with a clear subject and the right label; the others are compared by their numbers alone.
const CLEAR: [&str; 4] = ["photo_brick.jpg", "photo_chelsea.jpg", "photo_coffee.jpg", "photo_rocket.jpg"];

pub(super) fn photographs() -> Outcome {
    let answers = read_json("conse.json")?;
    let labels = strings(&answers["labels"]);
    let fresh = Fresh::with_models(&[("vision", &cached("models/efficientnet-lite0")), ("minilm", &cached("models/minilm"))])?;
    let mut right = 0;
    for (picture, expected) in answers["pictures"].as_object().ok_or("pictures")? {
        // Two classes of one name have their numbers behind it.
        let meaning = format!(
            "SELECT mm_average(mm_embed('minilm', split_part(name, ' #', 1)), weight) AS meaning FROM (
                SELECT class['key'] AS name, class['value'] AS weight FROM (
                    SELECT unnest(map_entries(mm_predict('vision', 'tests/fixtures/pictures/{picture}').probabilities)) AS class)
                ORDER BY weight DESC LIMIT 10)"
        );
        let cosines: Vec<String> = labels.iter().map(|label| format!("mm_similarity(meaning, mm_embed('minilm', '{label}'))")).collect();
        let row = fresh.rows(&format!("SELECT [{}] FROM ({meaning})", cosines.join(", ")))?;
        let found = numbers(&arrow::array::AsArray::as_list::<i32>(row.column(0)).value(0))?;
        let wanted: Vec<f64> = match &expected["cosines"] {
            serde_json::Value::Object(by_label) => labels.iter().filter_map(|label| by_label[label].as_f64()).collect(),
            list => super::flat(list),
        };
        let difference = largest_difference(&found, &wanted)?;
        ensure(difference < TOLERANCE, || format!("{picture}: cosines differ by {difference}"))?;
        let best = (0..found.len()).max_by(|a, b| found[*a].total_cmp(&found[*b])).map(|place| labels[place].as_str());
        if CLEAR.contains(&picture.as_str()) {
            ensure(best == expected["best"].as_str(), || format!("{picture}: {best:?}"))?;
            right += 1;
        }
    }
    ensure(right == CLEAR.len(), || format!("{right} clear photographs were looked at"))
}
