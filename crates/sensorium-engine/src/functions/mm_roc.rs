//! `mm_roc`: the receiver operating characteristic.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Float64Array};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{AggregateUDF, DocSection, Documentation};

use crate::metrics::{Metric, Options, Parameter, Ranking, State, table, table_type};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "The receiver operating characteristic, as a list of {threshold, false_positive_rate, true_positive_rate} from the highest threshold down; points on a line between others are left out, and of more than `points` those whose neighbours are near. In FROM, over a query of (score, label [, weight]), a table. Rows with a NULL are left out; NaN and infinity are errors. NULL without rows of both labels.",
        "mm_roc(score, label [, weight] [, {points: 1000}])",
    )
    .with_argument("score", "A number, the higher the likelier the label")
    .with_argument("label", "Whether it is so: true or false, 1 or 0")
    .with_argument("weight", "How much a row counts: a number from 0 on; 1 without it")
    .with_argument("points", "Most points of the list; 1000 without it")
    .with_sql_example("SELECT * FROM mm_roc((SELECT score, status = 'bad' FROM scored))")
    .build()
});

pub(super) fn function() -> AggregateUDF {
    Metric::function(
        "mm_roc",
        &DOCUMENTATION,
        returns,
        &[Parameter { name: "points", default: 1_000.0, range: (2.0, 1_000_000.0), is_whole: true }],
        State::Ranked { figure },
    )
}

pub(super) const COLUMNS: [&str; 3] = ["threshold", "false_positive_rate", "true_positive_rate"];

fn returns() -> DataType {
    table_type(&COLUMNS.map(|name| (name, DataType::Float64)))
}

/// Rows of both classes from a threshold on.
#[derive(Debug, Clone, Copy)]
struct Point {
    threshold: f64,
    negative: f64,
    positive: f64,
}

impl Point {
    fn way_to(self, next: Self) -> (f64, f64) {
        (next.negative - self.negative, next.positive - self.positive)
    }
}

fn figure(ranking: &mut Ranking, options: &Options) -> Result<ScalarValue> {
    let Some((negative, positive)) = ranking.both() else { return ScalarValue::try_from(&returns()) };
    let points = thinned(&corners(ranking, negative, positive), options.count("points"));
    let column = |part: &dyn Fn(&Point) -> f64| Arc::new(points.iter().map(part).collect::<Float64Array>()) as ArrayRef;
    table(
        &returns(),
        vec![column(&|point| point.threshold), column(&|point| point.negative / negative), column(&|point| point.positive / positive)],
    )
}

/// Points where the curve turns, and both its ends; as `roc_curve` of scikit-learn leaves out the others.
fn corners(ranking: &mut Ranking, negative: f64, positive: f64) -> Vec<Point> {
    let mut corners: Vec<Point> = Vec::new();
    let (mut negative, mut positive) = (negative, positive);
    let mut before: Option<(Point, Option<Point>)> = None;
    for step in ranking.steps() {
        let point = Point { threshold: step.score, negative, positive };
        if let Some((last, Some(first))) = before
            && first.way_to(last) == last.way_to(point)
        {
            corners.pop();
        }
        corners.push(point);
        before = Some((point, before.map(|(last, _)| last)));
        (negative, positive) = (negative - step.negative, positive - step.positive);
    }
    corners.push(Point { threshold: f64::INFINITY, negative: 0.0, positive: 0.0 });
    corners.reverse();
    corners
}

/// At most so many of the points, as far from each other in their order as can be.
fn thinned(points: &[Point], most: usize) -> Vec<Point> {
    if points.len() <= most {
        return points.to_vec();
    }
    (0..most).map(|place| points[place * (points.len() - 1) / (most - 1)]).collect()
}
