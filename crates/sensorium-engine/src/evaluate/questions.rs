//! What is asked of the rows, as SQL: figures in one pass over all of them, explanations of a sample.

use sensorium_inference::{ClassNames, Prediction, Profile};

use super::request::{Request, Target};

/// Points of a curve.
const POINTS: usize = 200;
/// Categories that are counted by name; the rest is counted together.
pub(super) const MAX_CATEGORIES: usize = 30;

/// A name as SQL takes it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// The key of a map as the model's classes have it.
fn key(request: &Request, class: &str) -> String {
    match &request.version.manifest.prediction {
        Prediction::Classification { classes: ClassNames::Integers(_), .. } => class.to_string(),
        _ => text(class),
    }
}

/// The label as the model's classes are called.
fn label(request: &Request) -> String {
    let column = format!("__mm_rows.{}", quoted(&request.label));
    match &request.version.manifest.prediction {
        Prediction::Classification { classes: ClassNames::Integers(_), .. } => format!("arrow_cast(arrow_cast({column}, 'Int64'), 'Utf8')"),
        _ => format!("arrow_cast({column}, 'Utf8')"),
    }
}

/// How much a row counts.
fn weight(request: &Request) -> String {
    request.weight.as_ref().map_or("1.0".to_string(), |weight| format!("arrow_cast(__mm_rows.{}, 'Float64')", quoted(weight)))
}

/// A sum of parts may miss one by rounding; what misses it by more is an error of the figures.
fn nearly_probability(score: &str) -> String {
    format!("CASE WHEN {score} > 1 AND {score} < 1.00001 THEN 1 WHEN {score} < 0 AND {score} > -0.00001 THEN 0 ELSE {score} END")
}

/// Rows with what was predicted and what was true; columns of the query keep their names in `__mm_rows`.
fn predicted(request: &Request) -> String {
    let call = format!("mm_predict({}, __mm_rows.*)", text(&request.version.pinned()));
    let columns = match &request.target {
        Target::TwoClasses(_, class) => format!(
            "{} AS __mm_score, {call}.label AS __mm_said, {} = {} AS __mm_true, {} AS __mm_label",
            nearly_probability(&format!("{call}.probabilities[{}]", key(request, class))),
            label(request),
            text(class),
            label(request)
        ),
        Target::Classes(_) => format!("{call}.score AS __mm_score, {call}.label AS __mm_said, {} AS __mm_label", label(request)),
        Target::Number => format!("{call} AS __mm_score, __mm_rows.{} AS __mm_label", quoted(&request.label)),
    };
    let kept = features(request).iter().map(|(name, ..)| format!("__mm_rows.{}, ", quoted(name))).collect::<String>();
    format!("SELECT {kept}{columns}, {} AS __mm_weight FROM ({}\n) AS __mm_rows", weight(request), request.query)
}

/// Rows that figures are made of.
const BOTH: &str = "__mm_score IS NOT NULL AND __mm_label IS NOT NULL";

/// The mean over rows that figures are made of.
fn mean(value: &str) -> String {
    format!("sum(CASE WHEN {BOTH} THEN {value} * __mm_weight END) / sum(CASE WHEN {BOTH} THEN __mm_weight END)")
}

/// Labels that are none of the model's classes: how many rows have one, and which comes first; one row.
pub(super) fn unknown_labels(request: &Request) -> String {
    let classes: Vec<String> = request.target.classes().into_iter().map(|name| text(name)).collect();
    format!(
        "SELECT count(*) AS rows, min(__mm_label) AS label FROM (SELECT {} AS __mm_label FROM ({}\n) AS __mm_rows) WHERE __mm_label NOT IN ({})",
        label(request),
        request.query,
        classes.join(", ")
    )
}

/// The figures, each by its name; one row.
pub(super) fn figures(request: &Request) -> String {
    let mut columns = vec![
        "count(*) AS rows".to_string(),
        "count(__mm_score) AS scored".to_string(),
        "count(__mm_label) AS labelled".to_string(),
        format!("count(*) FILTER (WHERE {BOTH}) AS judged"),
    ];
    let mut add = |name: &str, call: String| columns.push(format!("{call} AS {name}"));
    match &request.target {
        Target::TwoClasses(..) => {
            for name in ["auc", "gini", "ks", "logloss", "brier", "ece"] {
                add(name, format!("mm_{name}(__mm_score, __mm_true, __mm_weight)"));
            }
            add("share", mean("__mm_true::int"));
            add("mean_score", mean("__mm_score"));
            add("lift", "mm_lift(__mm_score, __mm_true, __mm_weight)".into());
            add("roc", format!("mm_roc(__mm_score, __mm_true, __mm_weight, {{points: {POINTS}}})"));
            add("calibration", "mm_calibration(__mm_score, __mm_true, __mm_weight)".into());
        }
        Target::Classes(_) => {}
        Target::Number => {
            for name in ["rmse", "mae", "r2"] {
                add(name, format!("mm_{name}(__mm_score, __mm_label, __mm_weight)"));
            }
            add("mean_score", mean("__mm_score"));
            add("mean_label", mean("__mm_label"));
        }
    }
    if request.target != Target::Number {
        let said = "arrow_cast(__mm_said, 'Utf8')";
        for name in ["accuracy", "f1", "confusion"] {
            add(name, format!("mm_{name}({said}, __mm_label, __mm_weight)"));
        }
    }
    for (place, bins) in drift(request).into_iter().enumerate() {
        bins.counts.into_iter().enumerate().for_each(|(bin, count)| add(&format!("mm_bin_{place}_{bin}"), count));
    }
    format!("SELECT {} FROM ({})", columns.join(", "), predicted(request))
}

/// A column whose distribution is compared with that of the training.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Drift {
    pub(super) name: String,
    /// Share of the rows of the training in each bin, the one without a value last.
    pub(super) expected: Vec<f64>,
    /// The aggregates that count the same bins.
    counts: Vec<String>,
}

/// The score, and all columns whose values can be told apart.
pub(super) fn drift(request: &Request) -> Vec<Drift> {
    let Some(training) = &request.training else { return Vec::new() };
    let score = match &request.target {
        // The record is of the second class.
        Target::TwoClasses(first, class) if first > class => "1 - __mm_score",
        _ => "__mm_score",
    };
    let score = Some(("score".to_string(), format!("({score})"), 0.0, &training.scores));
    let features = features(request);
    score.into_iter().chain(features).filter_map(|(name, column, missing, profile)| bins(name, &column, missing, profile)).collect()
}

/// Columns that are known from the training: name, as SQL, share of rows without a value, and the others.
fn features(request: &Request) -> Vec<(String, String, f64, &Profile)> {
    let Some(training) = &request.training else { return Vec::new() };
    let inputs = request.version.manifest.inputs.iter().filter(|input| request.columns.contains(&input.name));
    let known = inputs.filter_map(|input| training.feature(&input.name));
    known.map(|feature| (feature.input.clone(), quoted(&feature.input), feature.missing, &feature.values)).collect()
}

fn bins(name: String, column: &str, missing: f64, profile: &Profile) -> Option<Drift> {
    let count = |condition: String| format!("count(*) FILTER (WHERE {condition})");
    // What is no value for the training is none here.
    let value = match profile {
        Profile::Numbers { .. } => format!("nullif(arrow_cast({column}, 'Float32'), 'NaN'::float)"),
        Profile::Categories { .. } => format!("nullif(arrow_cast({column}, 'Utf8'), '')"),
        Profile::Vectors { .. } => column.to_string(),
    };
    let (mut expected, mut counts): (Vec<f64>, Vec<String>) = match profile {
        Profile::Numbers { borders, shares, .. } => {
            let bin = |bin: usize| {
                let above = bin.checked_sub(1).map(|lower| format!("{value} >= {}::float", borders[lower]));
                let below = borders.get(bin).map(|upper| format!("{value} < {}::float", upper));
                let known = Some(format!("{value} IS NOT NULL"));
                count([known, above, below].into_iter().flatten().collect::<Vec<_>>().join(" AND "))
            };
            (shares.clone(), (0..shares.len()).map(bin).collect())
        }
        Profile::Categories { shares } => {
            let named = &shares[..shares.len().min(MAX_CATEGORIES)];
            let names: Vec<String> = named.iter().map(|(name, _)| text(name)).collect();
            let rest = 1.0 - named.iter().map(|(_, share)| share).sum::<f64>();
            let expected = named.iter().map(|(_, share)| *share).chain([rest.max(0.0)]).collect();
            let is_named = |name: &String| count(format!("{value} = {name}"));
            let others = count(format!("{value} IS NOT NULL AND {value} NOT IN ({})", names.join(", ")));
            (expected, names.iter().map(is_named).chain([others]).collect())
        }
        // Of a text or a picture, whether it is there.
        Profile::Vectors { .. } => (vec![1.0], vec![count(format!("{value} IS NOT NULL"))]),
    };
    if expected.is_empty() || matches!(profile, Profile::Categories { shares } if shares.is_empty()) {
        return None;
    }
    expected.iter_mut().for_each(|share| *share *= 1.0 - missing);
    expected.push(missing);
    counts.push(count(format!("{value} IS NULL")));
    Some(Drift { name, expected, counts })
}

/// What each input has to do with the predictions of a sample of the `rows` rows, evenly taken, and how good they are without each
/// modality; one row.
pub(super) fn explanations(request: &Request, rows: usize) -> String {
    let manifest = &request.version.manifest;
    let modalities = manifest.modalities();
    let mut columns = vec!["count(__mm_why) AS rows".to_string(), "max(__mm_why['error']) AS error".to_string()];
    let mean = |map: &str, name: &str| format!("avg(abs(__mm_why['{map}'][{}]))", text(name));
    for (place, name) in modalities.iter().enumerate() {
        columns.push(format!("{} AS mm_modality_{place}", mean("modalities", name)));
    }
    for (place, input) in manifest.inputs.iter().enumerate().filter(|(_, input)| input.is_tabular()) {
        columns.push(format!("{} AS mm_feature_{place}", mean("features", &input.name)));
    }
    let score = |without: Option<&String>| match without {
        Some(name) => format!("__mm_why['without'][{}]", text(name)),
        None => "__mm_why['score']".to_string(),
    };
    for (place, without) in std::iter::once(None).chain(modalities.iter().map(Some)).enumerate() {
        match &request.target {
            // The explained class may be the other one: then what speaks for it is the label that the class is not.
            Target::TwoClasses(..) => {
                columns.push(format!("mm_auc({}, __mm_label = __mm_why['label'], __mm_weight) AS mm_without_{place}", score(without)))
            }
            Target::Number => columns.push(format!("mm_rmse({}, __mm_label, __mm_weight) AS mm_without_{place}", score(without))),
            Target::Classes(_) => {}
        }
    }
    let label = if request.target == Target::Number { format!("__mm_rows.{}", quoted(&request.label)) } else { label(request) };
    // As often as the number of the row crosses another part of the sample.
    let sample = request.sample.min(rows);
    let is_taken = format!("__mm_number * {sample} / {rows} <> (__mm_number - 1) * {sample} / {rows}");
    let call = format!("mm_explain({}, __mm_rows.*)", text(&request.version.pinned()));
    format!(
        "SELECT {} FROM (SELECT {call} AS __mm_why, {label} AS __mm_label, {} AS __mm_weight FROM (SELECT * FROM (SELECT *, row_number() OVER () AS __mm_number FROM ({}\n)) WHERE {}) AS __mm_rows)",
        columns.join(", "),
        weight(request),
        request.query,
        is_taken
    )
}
