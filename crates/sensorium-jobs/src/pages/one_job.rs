//! One job, run by run.

use std::collections::BTreeMap;

use sensorium_report::{Axis, Chart, Curve, Line, Part, Report, Section, Stroke, Table};

use super::{count, duration, minute, of};
use crate::error::Result;
use crate::ledger::{Ledger, RunRecord};

/// Runs that are shown.
const LAST_RUNS: u64 = 60;

/// The page of a job; none of one that has never run.
pub(crate) fn one_job(name: &str, ledger: &Ledger) -> Result<Option<Report>> {
    let runs = ledger.runs(Some(name), LAST_RUNS)?;
    if runs.is_empty() {
        return Ok(None);
    }
    let mut table =
        Table::new(&["run date", "run", "state", "begun (UTC)", "rows", "failures", "known results", "took", "models", "error"]);
    for run in &runs {
        table.push([
            run.run_date.to_string(),
            run.run.clone(),
            run.state.to_string(),
            minute(&run.started_at),
            of(run, |outcome| count(outcome.rows_out)),
            of(run, |outcome| count(outcome.rejected)),
            of(run, |outcome| count(outcome.cached)),
            of(run, |outcome| duration(outcome.seconds)),
            run.models.iter().map(|model| format!("{}@{}", model.name, model.version)).collect::<Vec<_>>().join(", "),
            run.error.clone().unwrap_or_default(),
        ]);
        table.link(1, format!("/runs/{}", run.run));
    }
    let mut done: Vec<&RunRecord> = runs.iter().filter(|run| run.outcome.is_some()).collect();
    done.sort_by_key(|run| (run.run_date, run.generation));
    let mut figures: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for (place, run) in done.iter().enumerate() {
        let Some(outcome) = &run.outcome else { continue };
        let mut add = |name: &str, value: f64| figures.entry(name.to_string()).or_default().push((place as f64, value));
        add("seconds", outcome.seconds);
        add("rows", outcome.rows_out as f64);
        add("share of failures", outcome.rejected as f64 / outcome.rows_out.max(1) as f64);
        for check in ledger.checks(&run.run)? {
            if let Some(value) = check.value {
                add(&check.what, value);
            }
        }
    }
    let from = done.first().map_or_else(String::new, |run| run.run_date.to_string());
    let charts = figures.into_iter().filter(|(_, points)| points.len() > 1 && points.iter().any(|(_, value)| *value != 0.0)).map(
        |(name, points)| {
            let most = points.iter().map(|(_, value)| *value).fold(0.0, f64::max);
            let x = Axis::new(&format!("runs from {from} on"), 0.0, done.len().saturating_sub(1) as f64);
            let y = Axis::new(&name, 0.0, if most > 0.0 { most * 1.05 } else { 1.0 });
            Part::Chart(Chart::Curve(Curve { title: name.clone(), x, y, lines: vec![Line { name, points, stroke: Stroke::Solid }] }))
        },
    );
    let mut sections = vec![Section { title: "Runs".into(), parts: vec![Part::Table(table)] }];
    let charts: Vec<Part> = charts.collect();
    if !charts.is_empty() {
        sections.push(Section { title: "From run to run".into(), parts: charts });
    }
    Ok(Some(Report { title: name.to_string(), subtitle: format!("the last {} runs", runs.len()), sections }))
}
