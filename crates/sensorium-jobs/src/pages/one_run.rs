//! One run, from its query to its failed rows. A page that needs no other, and so is the report that is kept of it.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::DateTime;
use sensorium_report::{Axis, Bar, Chart, Curve, Line, Part, Report, Section, Stroke, Table};

use super::{count, duration, minute};
use crate::error::Result;
use crate::ledger::{ChunkRecord, Ledger, RunRecord};

/// Failed rows that are listed.
const MOST_FAILURES: u64 = 200;

/// The page of a run; none of one that the ledger does not know. With `pictures`, media of failed rows are shown, which a server must have
/// below `/media`.
pub(crate) fn one_run(run: &str, ledger: &Ledger, pictures: bool) -> Result<Option<Report>> {
    let Some(record) = ledger.run(run)? else { return Ok(None) };
    let chunks = ledger.chunks(run)?;
    let mut sections = vec![Section { title: "Summary".into(), parts: summary(&record, &chunks) }];
    let times = times(&record, &chunks);
    if !times.is_empty() {
        sections.push(Section { title: "Time".into(), parts: times });
    }
    let checks = ledger.checks(run)?;
    if !checks.is_empty() {
        let mut table = Table::new(&["check", "figure", "outcome"]);
        for check in checks {
            table.push([
                check.what,
                check.value.map_or_else(|| "nothing to compare with".into(), |value| format!("{value:.4}")),
                check.outcome,
            ]);
        }
        sections.push(Section { title: "Checks".into(), parts: vec![Part::Table(table)] });
    }
    let failures = failures(run, ledger, pictures)?;
    if !failures.is_empty() {
        sections.push(Section { title: "Failed rows".into(), parts: failures });
    }
    let mut models = Table::new(&["model", "in the query", "SHA-256"]);
    for model in &record.models {
        models.push([format!("{}@{}", model.name, model.version), model.reference.clone(), model.sha256.clone()]);
    }
    let origin = vec![
        Part::Table(models),
        Part::Code(record.query.clone()),
        Part::Text(format!("Parameters: {}", record.parameters)),
        Part::Text(format!("Environment: {}", record.environment)),
        Part::Text(format!("Fingerprint of query, parameters, models and settings: {}", record.fingerprint)),
    ];
    sections.push(Section { title: "What was run".into(), parts: origin });
    let mut log = Table::new(&["at (UTC)", "line"]);
    for (at, line) in ledger.lines(run)? {
        log.push([at.get(..19).unwrap_or(&at).replace('T', " "), line]);
    }
    sections.push(Section { title: "Log".into(), parts: vec![Part::Table(log)] });
    let subtitle = format!("{} for {}: {}", record.job, record.run_date, record.state);
    Ok(Some(Report { title: record.run, subtitle, sections }))
}

fn summary(record: &RunRecord, chunks: &[ChunkRecord]) -> Vec<Part> {
    let mut table = Table::new(&["", ""]);
    let mut add = |name: &str, value: String| table.push([name.to_string(), value]);
    add("begun (UTC)", minute(&record.started_at));
    match &record.outcome {
        Some(outcome) => {
            add("finished (UTC)", minute(&outcome.finished_at));
            add("took", duration(outcome.seconds));
            add("rows in", outcome.rows_in.map_or_else(|| "not counted".into(), count));
            add("rows out", count(outcome.rows_out));
            add("failures", count(outcome.rejected));
            add("results that were known already", count(outcome.cached));
            add("chunks", count(outcome.chunks));
            add("output", outcome.output.clone());
            add("bytes", count(outcome.output_bytes));
            add("SHA-256", outcome.output_sha256.clone());
        }
        None => {
            add("chunks that are staged", count(chunks.len() as u64));
            add("rows of these", count(chunks.iter().map(|chunk| chunk.rows_out).sum()));
        }
    }
    if let Some(error) = &record.error {
        add("error", error.clone());
    }
    vec![Part::Table(table)]
}

/// Rows over time, and what the models spent it on.
fn times(record: &RunRecord, chunks: &[ChunkRecord]) -> Vec<Part> {
    let mut parts = Vec::new();
    let start = DateTime::parse_from_rfc3339(&record.started_at).ok();
    let mut ended: Vec<(f64, u64)> = chunks
        .iter()
        .filter_map(|chunk| {
            let end = DateTime::parse_from_rfc3339(chunk.finished_at.as_deref()?).ok()?;
            Some(((end - start?).as_seconds_f64(), chunk.rows_out))
        })
        .collect();
    ended.sort_by(|left, right| left.0.total_cmp(&right.0));
    let mut points = vec![(0.0, 0.0)];
    let mut rows = 0;
    for (second, more) in ended {
        rows += more;
        points.push((second, rows as f64));
    }
    if let (Some((last, most)), true) = (points.last().copied(), points.len() > 2) {
        let (x, y) = (Axis::new("seconds since it was begun", 0.0, last), Axis::new("rows", 0.0, most));
        let title = format!("Rows of {} chunks, as they were staged", chunks.len());
        parts.push(Part::Chart(Chart::Curve(Curve {
            title,
            x,
            y,
            lines: vec![Line { name: "rows".into(), points, stroke: Stroke::Solid }],
        })));
    }
    let figures = record.outcome.as_ref().and_then(|outcome| outcome.figures.as_deref());
    let models: BTreeMap<String, BTreeMap<String, u64>> = figures.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    for (model, figures) in models {
        let time = |(name, nanoseconds): (&String, &u64)| {
            let stage = name.strip_suffix("_time")?;
            let seconds = Duration::from_nanos(*nanoseconds).as_secs_f64();
            Some(Bar { name: stage.to_string(), value: seconds, text: short(seconds) })
        };
        let mut bars: Vec<Bar> = figures.iter().filter_map(time).collect();
        bars.sort_by(|left, right| right.value.total_cmp(&left.value));
        if !bars.is_empty() {
            parts.push(Part::Chart(Chart::Bars { title: format!("{model}: time by stage, all workers together"), bars }));
        }
        let mut table = Table::new(&["figure", &model]);
        for (name, number) in figures.iter().filter(|(name, _)| !name.ends_with("_time")) {
            table.push([name.replace('_', " "), count(*number)]);
        }
        parts.push(Part::Table(table));
    }
    parts
}

/// Times from microseconds on.
fn short(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1_000.0) } else { duration(seconds) }
}

fn failures(run: &str, ledger: &Ledger, pictures: bool) -> Result<Vec<Part>> {
    let failures = ledger.failures(run, MOST_FAILURES + 1)?;
    if failures.is_empty() {
        return Ok(Vec::new());
    }
    let mut parts = Vec::new();
    let mut by_step: BTreeMap<String, u64> = BTreeMap::new();
    for failure in &failures {
        *by_step.entry(format!("{}: {}", failure.step, failure.code)).or_default() += 1;
    }
    let bars = by_step.into_iter().map(|(name, number)| Bar { name, value: number as f64, text: count(number) }).collect();
    parts.push(Part::Chart(Chart::Bars { title: "Failures by stage and class".into(), bars }));
    let mut table = Table::new(&["key", "medium", "function", "stage", "message"]);
    for (number, failure) in failures.iter().enumerate().take(MOST_FAILURES as usize) {
        let key = failure.key().map_or_else(|| "not known".to_string(), |key| key.join(", "));
        table.push([key, failure.uri.clone().unwrap_or_default(), failure.function.clone(), failure.step.clone(), failure.message.clone()]);
        if pictures && failure.uri.is_some() {
            table.picture(1, format!("/media/{run}/{number}"));
        }
    }
    parts.push(Part::Table(table));
    if failures.len() > MOST_FAILURES as usize {
        parts.push(Part::Text(format!("The first {MOST_FAILURES} are listed; `sensorium job failures {run}` lists all.")));
    }
    Ok(parts)
}
