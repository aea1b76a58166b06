//! What is asked of the rows, as SQL: figures in one pass over all of them, explanations of a sample.

use sensorium_inference::{Profile, Training};

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
    use sensorium_inference::{ClassNames, Prediction};
    match &request.version.manifest.prediction {
        Prediction::Classification { classes: ClassNames::Integers(_), .. } => class.to_string(),
        _ => text(class),
    }
}

fn label(request: &Request) -> String {
    format!("arrow_cast(mm_rows.{}, 'Utf8')", quoted(&request.label))
}

/// How much a row counts.
fn weight(request: &Request) -> String {
    request.weight.as_ref().map_or("1.0".to_string(), |weight| format!("arrow_cast(mm_rows.{}, 'Float64')", quoted(weight)))
}

/// Rows with what was predicted and what was true; columns of the query keep their names in `mm_rows`.
fn predicted(request: &Request) -> String {
    let call = format!("mm_predict({}, mm_rows.*)", text(&request.version.pinned()));
    let columns = match &request.target {
        Target::TwoClasses(_, class) => format!(
            "{call}.probabilities[{}] AS mm_score, {call}.label AS mm_said, {} = {} AS mm_true, {} AS mm_label",
            key(request, class),
            label(request),
            text(class),
            label(request)
        ),
        Target::Classes => format!("{call}.score AS mm_score, {call}.label AS mm_said, {} AS mm_label", label(request)),
        Target::Number => format!("{call} AS mm_score, mm_rows.{} AS mm_label", quoted(&request.label)),
    };
    format!("SELECT mm_rows.*, {columns}, {} AS mm_weight FROM ({}\n) AS mm_rows", weight(request), request.query)
}

/// The figures, each by its name; one row.
pub(super) fn figures(request: &Request) -> String {
    let mut columns =
        vec!["count(*) AS rows".to_string(), "count(mm_score) AS scored".to_string(), "count(mm_label) AS labelled".to_string()];
    let mut add = |name: &str, call: String| columns.push(format!("{call} AS {name}"));
    match &request.target {
        Target::TwoClasses(..) => {
            for name in ["auc", "gini", "ks", "logloss", "brier", "ece"] {
                add(name, format!("mm_{name}(mm_score, mm_true, mm_weight)"));
            }
            add("share", "sum(CASE WHEN mm_score IS NOT NULL AND mm_true THEN mm_weight ELSE 0 END) / sum(CASE WHEN mm_score IS NOT NULL AND mm_true IS NOT NULL THEN mm_weight ELSE 0 END)".into());
            add("mean_score", "sum(CASE WHEN mm_true IS NOT NULL THEN mm_score * mm_weight END) / sum(CASE WHEN mm_score IS NOT NULL AND mm_true IS NOT NULL THEN mm_weight ELSE 0 END)".into());
            add("lift", "mm_lift(mm_score, mm_true, mm_weight)".into());
            add("roc", format!("mm_roc(mm_score, mm_true, mm_weight, {{points: {POINTS}}})"));
            add("calibration", "mm_calibration(mm_score, mm_true, mm_weight)".into());
        }
        Target::Classes => {}
        Target::Number => {
            for name in ["rmse", "mae", "r2"] {
                add(name, format!("mm_{name}(mm_score, mm_label, mm_weight)"));
            }
            add("mean_score", "avg(mm_score)".into());
            add("mean_label", "avg(mm_label)".into());
        }
    }
    if request.target != Target::Number {
        let said = "arrow_cast(mm_said, 'Utf8')";
        for name in ["accuracy", "f1", "confusion"] {
            add(name, format!("mm_{name}({said}, mm_label, mm_weight)"));
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
        Target::TwoClasses(first, class) if first > class => "1 - mm_score",
        _ => "mm_score",
    };
    let score = Some(("score".to_string(), format!("({score})"), 0.0, &training.scores));
    let features = features(request, training);
    score.into_iter().chain(features).filter_map(|(name, column, missing, profile)| bins(name, &column, missing, profile)).collect()
}

fn features<'t>(request: &Request, training: &'t Training) -> Vec<(String, String, f64, &'t Profile)> {
    let inputs = request.version.manifest.inputs.iter().filter(|input| request.columns.contains(&input.name));
    let known = inputs.filter_map(|input| training.feature(&input.name));
    known.map(|feature| (feature.input.clone(), quoted(&feature.input), feature.missing, &feature.values)).collect()
}

fn bins(name: String, column: &str, missing: f64, profile: &Profile) -> Option<Drift> {
    let count = |condition: String| format!("count(*) FILTER (WHERE {condition})");
    let (mut expected, mut counts): (Vec<f64>, Vec<String>) = match profile {
        Profile::Numbers { borders, shares, .. } => {
            let value = format!("arrow_cast({column}, 'Float32')");
            let bin = |bin: usize| {
                let above = bin.checked_sub(1).map(|lower| format!("{value} >= {}::float", borders[lower]));
                let below = borders.get(bin).map(|upper| format!("{value} < {}::float", upper));
                let known = Some(format!("{column} IS NOT NULL"));
                count([known, above, below].into_iter().flatten().collect::<Vec<_>>().join(" AND "))
            };
            (shares.clone(), (0..shares.len()).map(bin).collect())
        }
        Profile::Categories { shares } => {
            let named = &shares[..shares.len().min(MAX_CATEGORIES)];
            let value = format!("arrow_cast({column}, 'Utf8')");
            let names: Vec<String> = named.iter().map(|(name, _)| text(name)).collect();
            let rest = 1.0 - named.iter().map(|(_, share)| share).sum::<f64>();
            let expected = named.iter().map(|(_, share)| *share).chain([rest.max(0.0)]).collect();
            let is_named = |name: &String| count(format!("{value} = {name}"));
            let others = count(format!("{value} IS NOT NULL AND {value} NOT IN ({})", names.join(", ")));
            (expected, names.iter().map(is_named).chain([others]).collect())
        }
        // Of a text or a picture, whether it is there.
        Profile::Vectors { .. } => (vec![1.0], vec![count(format!("{column} IS NOT NULL"))]),
    };
    if expected.is_empty() || matches!(profile, Profile::Categories { shares } if shares.is_empty()) {
        return None;
    }
    expected.iter_mut().for_each(|share| *share *= 1.0 - missing);
    expected.push(missing);
    counts.push(count(format!("{column} IS NULL")));
    Some(Drift { name, expected, counts })
}

/// What each input has to do with the predictions of every `step`-th row, and how good they are without each modality; one row.
pub(super) fn explanations(request: &Request, step: usize) -> String {
    let manifest = &request.version.manifest;
    let modalities = manifest.modalities();
    let mut columns = vec!["count(mm_why) AS rows".to_string(), "max(mm_why['error']) AS error".to_string()];
    let mean = |map: &str, name: &str| format!("avg(abs(mm_why['{map}'][{}]))", text(name));
    for (place, name) in modalities.iter().enumerate() {
        columns.push(format!("{} AS mm_modality_{place}", mean("modalities", name)));
    }
    for (place, input) in manifest.inputs.iter().enumerate().filter(|(_, input)| input.is_tabular()) {
        columns.push(format!("{} AS mm_feature_{place}", mean("features", &input.name)));
    }
    let score = |without: Option<&String>| match without {
        Some(name) => format!("mm_why['without'][{}]", text(name)),
        None => "mm_why['score']".to_string(),
    };
    for (place, without) in std::iter::once(None).chain(modalities.iter().map(Some)).enumerate() {
        match &request.target {
            // The explained class may be the other one: then what speaks for it is the label that the class is not.
            Target::TwoClasses(..) => {
                columns.push(format!("mm_auc({}, mm_label = mm_why['label'], mm_weight) AS mm_without_{place}", score(without)))
            }
            Target::Number => columns.push(format!("mm_rmse({}, mm_label, mm_weight) AS mm_without_{place}", score(without))),
            Target::Classes => {}
        }
    }
    let label = if request.target == Target::Number { format!("mm_rows.{}", quoted(&request.label)) } else { label(request) };
    let call = format!("mm_explain({}, mm_rows.*)", text(&request.version.pinned()));
    format!(
        "SELECT {} FROM (SELECT {call} AS mm_why, {label} AS mm_label, {} AS mm_weight FROM (SELECT * FROM (SELECT *, row_number() OVER () AS mm_number FROM ({}\n)) WHERE mm_number % {step} = 0) AS mm_rows)",
        columns.join(", "),
        weight(request),
        request.query
    )
}
