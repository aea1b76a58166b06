//! The answers as a page, and as rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Float64Array, RecordBatch, StringArray};
use datafusion::error::Result;
use sensorium_inference::{Profile, Training};
use sensorium_report::{Axis, Bar, Chart, Curve, Line, Part, Report, Section, Stroke, Table};

use super::answers::Answers;
use super::questions::drift;
use super::request::{Request, Target};
use crate::metrics::stability_of_bins;

/// What was found out about a model.
pub(super) struct Findings<'f> {
    pub(super) request: &'f Request,
    pub(super) figures: &'f Answers,
    pub(super) explanations: Option<&'f Answers>,
}

/// Figures by their names, in the order in which they are shown, and what is said of each.
const FIGURES: [(&str, &str, &str); 15] = [
    ("auc", "AUC", "chance that a row of the class scores higher than one that is not"),
    ("gini", "Gini", "2 AUC - 1"),
    ("ks", "KS", "greatest difference of cumulative shares"),
    ("logloss", "log loss", "the lower the better"),
    ("brier", "Brier score", "mean squared error of probabilities"),
    ("ece", "ECE", "expected calibration error"),
    ("lift", "lift of the first tenth", "how much more often the class is met there"),
    ("share", "share of the class", "among rows with a label"),
    ("mean_score", "mean prediction", ""),
    ("mean_label", "mean label", ""),
    ("accuracy", "accuracy", "share of rows whose class was said"),
    ("f1", "F1", "harmonic mean of precision and recall, plain mean over classes"),
    ("rmse", "RMSE", "root of the mean squared error"),
    ("mae", "MAE", "mean absolute error"),
    ("r2", "R\u{b2}", "share of the variance that is explained"),
];
/// Stability indices from which on a column is called moved, and has moved a little (N. Siddiqi, Credit Risk Scorecards, 2006).
const MOVED: f64 = 0.25;
const MOVED_A_LITTLE: f64 = 0.1;
/// What a contribution is.
const CONTRIBUTION: &str =
    "a contribution is the mean distance, either way, by which an input moves the score before it becomes a probability.";
/// Classes whose confusion is shown as a matrix.
const MOST_CLASSES: usize = 20;
/// Bars of a chart.
const MOST_BARS: usize = 20;

impl Findings<'_> {
    /// `(figure, value)`, to six digits.
    pub(super) fn table(&self) -> Result<RecordBatch> {
        let counts = ["rows", "scored", "labelled"].map(|name| (name.to_string(), Some(self.figures.count(name) as f64)));
        let figures = FIGURES.iter().filter_map(|(name, ..)| Some((name.to_string(), Some(self.figures.number(name)?))));
        let score = self.drift().into_iter().find(|(name, _)| name == "score").map(|(_, value)| ("psi".to_string(), Some(value)));
        // Who has not said where it should lie is told.
        let report =
            (!self.request.is_folder_named).then(|| (format!("report: {}", self.request.folder.join("report.html").display()), None));
        let all: Vec<(String, Option<f64>)> = counts.into_iter().chain(figures).chain(score).chain(report).collect();
        let names: StringArray = all.iter().map(|(name, _)| Some(name.as_str())).collect();
        let values: Float64Array = all.iter().map(|(_, value)| value.map(|value| rounded(value, TABLE_DIGITS))).collect();
        Ok(RecordBatch::try_from_iter_with_nullable([("figure", Arc::new(names) as _, false), ("value", Arc::new(values) as _, true)])?)
    }

    pub(super) fn report(&self) -> Report {
        let version = &self.request.version;
        let of = match &self.request.target {
            Target::TwoClasses(_, class) => format!(", of '{class}' in column '{}'", self.request.label),
            _ => format!(", of column '{}'", self.request.label),
        };
        let sections = [
            Some(self.summary()),
            self.ranking(),
            self.calibration(),
            self.confusion(),
            self.modalities(),
            self.features(),
            self.stability(),
            self.request.training.as_ref().map(|training| self.data_card(training)),
            Some(self.origin()),
        ];
        Report {
            title: format!("Evaluation of {}", version.pinned()),
            subtitle: format!("{} predictions{of}", whole(self.figures.count("judged"))),
            sections: sections.into_iter().flatten().collect(),
        }
    }

    fn summary(&self) -> Section {
        let mut table = Table::new(&["figure", "value", ""]);
        for (name, title, meaning) in FIGURES {
            if let Some(value) = self.figures.number(name) {
                table.push([title.to_string(), number(value), meaning.to_string()]);
            }
        }
        let (rows, scored, labelled) = (self.figures.count("rows"), self.figures.count("scored"), self.figures.count("labelled"));
        let mut parts = vec![Part::Table(table)];
        if scored.min(labelled) < rows {
            parts.push(Part::Text(format!(
                "Of {} rows, {} have no prediction and {} no label; they are left out.",
                whole(rows),
                whole(rows - scored),
                whole(rows - labelled)
            )));
        }
        section("Figures", parts)
    }

    /// How well scores part the two classes.
    fn ranking(&self) -> Option<Section> {
        let threshold = self.figures.numbers("roc", "threshold");
        let (negative, positive) = (self.figures.numbers("roc", "false_positive_rate"), self.figures.numbers("roc", "true_positive_rate"));
        if threshold.len() < 2 {
            return None;
        }
        let share = self.figures.number("share").unwrap_or(0.5);
        let both = || negative.iter().copied().zip(positive.iter().copied());
        let taken = |(negative, positive): (f64, f64)| negative * (1.0 - share) + positive * share;
        let roc = vec![line("model", both().collect()), dashed("chance", vec![(0.0, 0.0), (1.0, 1.0)])];
        let gains = both().map(|point| (taken(point), point.1)).collect();
        let lift = both().filter(|point| taken(*point) > 0.01).map(|point| (taken(point), point.1 / taken(point))).collect::<Vec<_>>();
        let highest = lift.iter().fold(1.0_f64, |highest, point| highest.max(point.1));
        let best = threshold.iter().copied().filter(|threshold| threshold.is_finite()).fold(0.0_f64, f64::max);
        let by_score = |values: &[f64]| threshold.iter().copied().zip(values.iter().copied()).filter(|point| point.0.is_finite()).collect();
        let Target::TwoClasses(other, class) = &self.request.target else { return None };
        let shares = [
            curve("ROC", ("false positive rate", 1.0), ("true positive rate", 1.0), roc),
            curve(
                "Shares at or above a score (KS is the greatest distance)",
                ("score", best.max(1e-6)),
                ("share of rows", 1.0),
                vec![line(class, by_score(&positive)), line(other, by_score(&negative))],
            ),
            curve(
                "Cumulative gains",
                ("share of rows, highest scores first", 1.0),
                ("share of the class", 1.0),
                vec![line("model", gains), dashed("chance", vec![(0.0, 0.0), (1.0, 1.0)])],
            ),
            curve(
                "Lift",
                ("share of rows, highest scores first", 1.0),
                ("times the share among all", highest * 1.05),
                vec![line("model", lift), dashed("chance", vec![(0.0, 1.0), (1.0, 1.0)])],
            ),
        ];
        Some(section("Ranking", shares.into_iter().map(Part::Chart).collect()))
    }

    fn calibration(&self) -> Option<Section> {
        let column = |name: &str| self.figures.numbers("calibration", name);
        let (score, rate, weight) = (column("mean_score"), column("rate"), column("weight"));
        if score.is_empty() {
            return None;
        }
        let points = score.iter().copied().zip(rate.iter().copied()).collect();
        let chart = curve(
            "Calibration",
            ("mean prediction", 1.0),
            ("share of the class", 1.0),
            vec![line("model", points), dashed("exact", vec![(0.0, 0.0), (1.0, 1.0)])],
        );
        let weight_name = if self.request.weight.is_some() { "weight" } else { "rows" };
        let mut table = Table::new(&["mean prediction", "share of the class", weight_name]);
        for ((score, rate), weight) in score.iter().zip(&rate).zip(&weight) {
            table.push([number(*score), number(*rate), number(*weight)]);
        }
        Some(section("Calibration", vec![Part::Chart(chart), Part::Table(table)]))
    }

    fn confusion(&self) -> Option<Section> {
        let (labels, predictions) = (self.figures.texts("confusion", "label"), self.figures.texts("confusion", "prediction"));
        let weights = self.figures.numbers("confusion", "weight");
        let cells: BTreeMap<(&str, &str), f64> = labels
            .iter()
            .zip(&predictions)
            .zip(&weights)
            .map(|((label, said), weight)| ((label.as_str(), said.as_str()), *weight))
            .collect();
        let names: BTreeSet<&str> = cells.keys().flat_map(|(label, said)| [*label, *said]).collect();
        if names.is_empty() {
            return None;
        }
        let table = if names.len() > MOST_CLASSES { most_confused(&cells) } else { matrix(&cells, &names) };
        Some(section("Confusion", vec![Part::Table(table)]))
    }

    /// What becomes of the figures without a modality, over the sample that was explained.
    fn modalities(&self) -> Option<Section> {
        let names = self.request.version.manifest.modalities();
        // Without the only one, nothing is left to tell rows apart.
        let answers = self.explanations.filter(|_| names.len() > 1)?;
        let figure = match self.request.target {
            Target::TwoClasses(..) => "AUC",
            Target::Number => "RMSE",
            Target::Classes(_) => "",
        };
        let mut table = Table::new(&["modality", "mean contribution", figure, "change"]);
        let whole_figure = answers.number("mm_without_0");
        if !figure.is_empty() {
            table.push(["all".to_string(), String::new(), whole_figure.map_or(String::new(), number), String::new()]);
        }
        for (place, name) in names.iter().enumerate() {
            let contribution = answers.number(&format!("mm_modality_{place}")).map_or(String::new(), number);
            let without = answers.number(&format!("mm_without_{}", place + 1));
            let change = without.zip(whole_figure).map_or(String::new(), |(without, all)| format!("{:+.4}", without - all));
            let title = if figure.is_empty() { name.clone() } else { format!("without {name}") };
            table.push([title, contribution, without.map_or(String::new(), number), change]);
        }
        let text = format!("{} rows were explained: {CONTRIBUTION}", whole(answers.count("rows")));
        Some(section("Modalities", vec![Part::Text(text), Part::Table(table)]))
    }

    fn features(&self) -> Option<Section> {
        let answers = self.explanations?;
        let inputs = self.request.version.manifest.inputs.iter().enumerate().filter(|(_, input)| input.is_tabular());
        let value = |place: usize| answers.number(&format!("mm_feature_{place}"));
        let mut bars: Vec<Bar> = inputs
            .filter_map(|(place, input)| Some(Bar { name: input.name.clone(), value: value(place)?, text: number(value(place)?) }))
            .collect();
        if bars.is_empty() {
            return None;
        }
        bars.sort_by(|a, b| b.value.total_cmp(&a.value));
        bars.truncate(MOST_BARS);
        let error = answers.number("error").unwrap_or_default();
        let text = format!("{} rows were explained: {CONTRIBUTION}", whole(answers.count("rows")));
        let chart = Chart::Bars { title: "Mean contribution of each feature, either way".into(), bars };
        let mut parts = vec![Part::Text(text), Part::Chart(chart)];
        if error > 0.0 {
            parts.push(Part::Text(format!("Features are sampled; the largest standard error of a row is about {}.", number(error))));
        }
        Some(section("Features", parts))
    }

    /// Stability indices of the score and of each column against the rows of the training.
    fn drift(&self) -> Vec<(String, f64)> {
        let index = |(place, drift): (usize, super::questions::Drift)| {
            let counts = (0..drift.expected.len()).map(|bin| self.figures.number(&format!("mm_bin_{place}_{bin}")).unwrap_or_default());
            let bins: Vec<(f64, f64)> = drift.expected.iter().copied().zip(counts).filter(|bin| bin.0 + bin.1 > 0.0).collect();
            Some((drift.name, stability_of_bins(bins.iter().copied())?))
        };
        drift(self.request).into_iter().enumerate().filter_map(index).collect()
    }

    fn stability(&self) -> Option<Section> {
        let mut drift = self.drift();
        if drift.is_empty() {
            return None;
        }
        drift.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut table = Table::new(&["column", "PSI", ""]);
        for (name, value) in &drift {
            let word = match *value {
                value if value >= MOVED => "moved",
                value if value >= MOVED_A_LITTLE => "moved a little",
                _ => "stable",
            };
            table.push([name.clone(), number(*value), word.to_string()]);
        }
        drift.truncate(MOST_BARS);
        let bars = drift.into_iter().map(|(name, value)| Bar { name, value, text: number(value) }).collect();
        let chart = Chart::Bars { title: "Population stability index against the training".into(), bars };
        Some(section("Drift", vec![Part::Chart(chart), Part::Table(table)]))
    }

    fn data_card(&self, training: &Training) -> Section {
        let mut tried = Table::new(&["fusion", "head", "quality", "loss"]);
        for trial in &training.tried {
            let figure = |name: &str, value: f64| format!("{name} {value:.4}");
            let quality = trial.quality.map_or(String::new(), |quality| figure(&trial.quality_name, quality));
            tried.push([trial.fusion.clone(), trial.head.clone(), quality, figure(&trial.loss_name, trial.loss)]);
        }
        let mut columns = Table::new(&["column", "kind", "missing", "values"]);
        for feature in &training.features {
            let kind = self.request.version.manifest.input(&feature.input).map_or("", |input| input.modality.name());
            columns.push([feature.input.clone(), kind.to_string(), percent(feature.missing), values(&feature.values)]);
        }
        let text = format!(
            "Fitted to {} rows, label '{}': {}. Judged over {}; the first line below was taken.",
            whole(training.rows),
            training.label,
            values(&training.labels),
            training
                .folds
                .map_or("a fifth of them, which said when to stop".into(), |folds| format!("{folds} folds that were held back in turn"))
        );
        section("Training", vec![Part::Text(text), Part::Table(tried), Part::Table(columns)])
    }

    fn origin(&self) -> Section {
        let version = &self.request.version;
        let mut table = Table::new(&["what", "SHA-256"]);
        table.push([version.pinned(), version.sha256.clone()]);
        for (file, record) in &version.manifest.files {
            table.push([format!("{file}, {} bytes", whole(record.bytes as usize)), record.sha256.clone()]);
        }
        let mut parts = vec![Part::Text("Judged by".into()), Part::Code(self.request.query.trim().to_string())];
        if self.request.training.is_some() {
            parts.extend([Part::Text("Fitted to".into()), Part::Code(version.source.trim().to_string())]);
        }
        parts.push(Part::Table(table));
        section("Origin", parts)
    }
}

/// How often each class was said where each was true.
fn matrix(cells: &BTreeMap<(&str, &str), f64>, names: &BTreeSet<&str>) -> Table {
    let heads: Vec<String> = names.iter().map(|name| format!("said {name}")).collect();
    let columns: Vec<&str> = std::iter::once("").chain(heads.iter().map(String::as_str)).chain(["found"]).collect();
    let mut table = Table::new(&columns);
    for label in names {
        let own: Vec<f64> = names.iter().map(|said| cells.get(&(*label, *said)).copied().unwrap_or_default()).collect();
        let total: f64 = own.iter().sum();
        let hits = cells.get(&(*label, *label)).copied().unwrap_or_default();
        let found = if total > 0.0 { percent(hits / total) } else { String::new() };
        table.push(std::iter::once(format!("is {label}")).chain(own.into_iter().map(number)).chain([found]));
    }
    table
}

/// The pairs of classes that were taken for each other most often.
fn most_confused(cells: &BTreeMap<(&str, &str), f64>) -> Table {
    let mut wrong: Vec<(&(&str, &str), &f64)> = cells.iter().filter(|((label, said), _)| label != said).collect();
    wrong.sort_by(|a, b| b.1.total_cmp(a.1));
    let mut table = Table::new(&["is", "said", "rows"]);
    wrong
        .into_iter()
        .take(MOST_CLASSES)
        .for_each(|((label, said), weight)| table.push([label.to_string(), said.to_string(), number(*weight)]));
    table
}

fn section(title: &str, parts: Vec<Part>) -> Section {
    Section { title: title.into(), parts }
}

fn line(name: &str, points: Vec<(f64, f64)>) -> Line {
    Line { name: name.into(), points, stroke: Stroke::Solid }
}

fn dashed(name: &str, points: Vec<(f64, f64)>) -> Line {
    Line { name: name.into(), points, stroke: Stroke::Dashed }
}

fn curve(title: &str, x: (&str, f64), y: (&str, f64), lines: Vec<Line>) -> Chart {
    Chart::Curve(Curve { title: title.into(), x: Axis::new(x.0, 0.0, x.1), y: Axis::new(y.0, 0.0, y.1), lines })
}

/// Digits of a figure in the rows of the statement.
const TABLE_DIGITS: i32 = 6;

/// So many digits of a number; those before the point stay.
fn rounded(value: f64, digits: i32) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let factor = 10_f64.powi((digits - 1 - value.abs().log10().floor() as i32).max(0));
    (value * factor).round() / factor
}

/// Four digits behind the point, or none for a whole number; of a small one, four that are not zero.
fn number(value: f64) -> String {
    match value.abs() {
        size if value.fract() == 0.0 && size < 1e15 => format!("{value:.0}"),
        size if size < 1e-3 => format!("{:e}", rounded(value, 4)),
        _ => format!("{value:.4}"),
    }
}

fn percent(value: f64) -> String {
    format!("{:.1}%", value * 100.0)
}

/// A whole number with its thousands apart.
fn whole(value: usize) -> String {
    let digits = value.to_string();
    let first = digits.len() % 3;
    let mut groups: Vec<&str> = if first > 0 { vec![&digits[..first]] } else { Vec::new() };
    groups.extend((first..digits.len()).step_by(3).map(|start| &digits[start..start + 3]));
    groups.join(",")
}

/// A distribution in a line.
fn values(profile: &Profile) -> String {
    match profile {
        Profile::Numbers { quantiles, .. } => match quantiles.as_slice() {
            [] => String::new(),
            all => format!("{} to {}, median {}", all[0], all[all.len() - 1], all[all.len() / 2]),
        },
        Profile::Categories { shares } => {
            let named = shares.iter().take(4).map(|(name, share)| format!("{name} {}", percent(*share)));
            let rest = shares.len().checked_sub(5).map(|rest| format!("{} more", rest + 1));
            named.chain(rest).collect::<Vec<_>>().join(", ")
        }
        Profile::Vectors { mean } => format!("vectors of {} numbers", mean.len()),
    }
}
