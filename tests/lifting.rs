//! Random expressions with calls under CASE, AND, OR, COALESCE and NULLIF, against an evaluation row by row that is
//! written out here: the same answers, and with `mm.keep_predicate_order` no call on a row that it would not make.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use libtest_mimic::Failed;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

use crate::support::{Fresh, ensure};
use crate::{Outcome, Test};

pub(crate) const TESTS: &[Test] = &[("answers_as_row_by_row", answers), ("calls_as_row_by_row", calls)];

const ROWS: i64 = 40;
const CASES: u32 = 150;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Column {
    A,
    B,
    /// NULL in every third row.
    N,
}

/// A call: 2x + 3y + 1 by the model `lin`, or its negative by the model `neg`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Call {
    is_negative: bool,
    x: Column,
    y: Column,
}

#[derive(Debug, Clone)]
enum Number {
    Column(Column),
    Constant(i8),
    Call(Call),
    Plus(Box<Number>, Box<Number>),
    Case(Vec<(Truth, Number)>, Option<Box<Number>>),
    Coalesce(Vec<Number>),
    NullIf(Box<Number>, Box<Number>),
}

#[derive(Debug, Clone)]
enum Truth {
    Greater(Number, Number),
    IsNull(Number),
    Not(Box<Truth>),
    And(Box<Truth>, Box<Truth>),
    Or(Box<Truth>, Box<Truth>),
}

impl Column {
    fn sql(self) -> &'static str {
        match self {
            Self::A => "t.a",
            Self::B => "t.b",
            Self::N => "t.n",
        }
    }

    fn value(self, row: i64) -> Option<f64> {
        match self {
            Self::A => Some((row % 7) as f64),
            Self::B => Some((row % 5 - 2) as f64),
            Self::N => (row % 3 > 0).then_some((row % 4) as f64),
        }
    }
}

impl Number {
    fn sql(&self) -> String {
        match self {
            Self::Column(column) => format!("CAST({} AS DOUBLE)", column.sql()),
            Self::Constant(value) => format!("CAST({value} AS DOUBLE)"),
            Self::Call(Call { is_negative, x, y }) => {
                let model = if *is_negative { "neg" } else { "lin" };
                format!("CAST(mm_predict('{model}', {}, {}) AS DOUBLE)", x.sql(), y.sql())
            }
            Self::Plus(left, right) => format!("({} + {})", left.sql(), right.sql()),
            Self::Case(branches, otherwise) => {
                let branch = |(when, then): &(Truth, Number)| format!(" WHEN {} THEN {}", when.sql(), then.sql());
                let otherwise = otherwise.as_ref().map_or(String::new(), |number| format!(" ELSE {}", number.sql()));
                format!("CASE{}{otherwise} END", branches.iter().map(branch).collect::<String>())
            }
            Self::Coalesce(numbers) => format!("coalesce({})", numbers.iter().map(Self::sql).collect::<Vec<_>>().join(", ")),
            Self::NullIf(left, right) => format!("nullif({}, {})", left.sql(), right.sql()),
        }
    }

    /// The value in one row; calls on the way are noted.
    fn value(&self, row: i64, made: &mut HashSet<Call>) -> Option<f64> {
        match self {
            Self::Column(column) => column.value(row),
            Self::Constant(value) => Some(f64::from(*value)),
            Self::Call(call) => {
                // NULL does not reach a model that needs its inputs.
                let (x, y) = (call.x.value(row)?, call.y.value(row)?);
                made.insert(*call);
                let value = 2.0 * x + 3.0 * y + 1.0;
                Some(if call.is_negative { -value } else { value })
            }
            Self::Plus(left, right) => {
                let (left, right) = (left.value(row, made), right.value(row, made));
                Some(left? + right?)
            }
            Self::Case(branches, otherwise) => {
                for (when, then) in branches {
                    if when.value(row, made) == Some(true) {
                        return then.value(row, made);
                    }
                }
                otherwise.as_ref().and_then(|number| number.value(row, made))
            }
            Self::Coalesce(numbers) => numbers.iter().find_map(|number| number.value(row, made)),
            Self::NullIf(left, right) => {
                let left = left.value(row, made)?;
                (right.value(row, made) != Some(left)).then_some(left)
            }
        }
    }
}

impl Truth {
    fn sql(&self) -> String {
        match self {
            Self::Greater(left, right) => format!("({} > {})", left.sql(), right.sql()),
            Self::IsNull(number) => format!("({} IS NULL)", number.sql()),
            Self::Not(truth) => format!("(NOT {})", truth.sql()),
            Self::And(left, right) => format!("({} AND {})", left.sql(), right.sql()),
            Self::Or(left, right) => format!("({} OR {})", left.sql(), right.sql()),
        }
    }

    fn value(&self, row: i64, made: &mut HashSet<Call>) -> Option<bool> {
        match self {
            Self::Greater(left, right) => {
                let (left, right) = (left.value(row, made), right.value(row, made));
                Some(left? > right?)
            }
            Self::IsNull(number) => Some(number.value(row, made).is_none()),
            Self::Not(truth) => truth.value(row, made).map(|truth| !truth),
            Self::And(left, right) => match left.value(row, made) {
                Some(false) => Some(false),
                left => match right.value(row, made) {
                    Some(false) => Some(false),
                    right => left.and(right),
                },
            },
            Self::Or(left, right) => match left.value(row, made) {
                Some(true) => Some(true),
                left => match right.value(row, made) {
                    Some(true) => Some(true),
                    right => left.and(right),
                },
            },
        }
    }
}

fn column() -> impl Strategy<Value = Column> {
    prop_oneof![Just(Column::A), Just(Column::B), Just(Column::N)]
}

fn number() -> BoxedStrategy<Number> {
    let call = (any::<bool>(), column(), column()).prop_map(|(is_negative, x, y)| Number::Call(Call { is_negative, x, y }));
    let leaf = prop_oneof![2 => column().prop_map(Number::Column), 1 => (-9i8..9).prop_map(Number::Constant), 4 => call];
    leaf.prop_recursive(3, 16, 3, |inner| {
        let two = (inner.clone(), inner.clone());
        let branches = prop::collection::vec((truth(inner.clone()), inner.clone()), 1..3);
        prop_oneof![
            two.clone().prop_map(|(left, right)| Number::Plus(left.into(), right.into())),
            (branches, prop::option::of(inner.clone())).prop_map(|(branches, other)| Number::Case(branches, other.map(Box::new))),
            prop::collection::vec(inner, 2..4).prop_map(Number::Coalesce),
            two.prop_map(|(left, right)| Number::NullIf(left.into(), right.into())),
        ]
    })
    .boxed()
}

fn truth(number: impl Strategy<Value = Number> + Clone + 'static) -> BoxedStrategy<Truth> {
    let leaf = prop_oneof![
        3 => (number.clone(), number.clone()).prop_map(|(left, right)| Truth::Greater(left, right)),
        1 => number.prop_map(Truth::IsNull),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|truth| Truth::Not(truth.into())),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| Truth::And(left.into(), right.into())),
            (inner.clone(), inner).prop_map(|(left, right)| Truth::Or(left.into(), right.into())),
        ]
    })
    .boxed()
}

fn table() -> Result<Fresh, Failed> {
    let fresh = Fresh::with_models(&[])?;
    fresh.rows("CREATE MODEL lin FROM 'tests/fixtures/tiny/affine.onnx' OPTIONS (task = 'regression')")?;
    fresh.rows("CREATE MODEL neg FROM 'tests/fixtures/tiny/negative.onnx' OPTIONS (task = 'regression')")?;
    let values =
        |column: Column| -> ArrayRef { Arc::new((0..ROWS).map(|row| column.value(row).map(|value| value as i64)).collect::<Int64Array>()) };
    let columns: [(&str, ArrayRef); 4] =
        [("id", Arc::new((0..ROWS).collect::<Int64Array>())), ("a", values(Column::A)), ("b", values(Column::B)), ("n", values(Column::N))];
    fresh.session.context().register_batch("data", RecordBatch::try_from_iter(columns)?)?;
    Ok(fresh)
}

fn seen(fresh: &Fresh) -> u64 {
    fresh.session.progress().iter().map(|progress| progress.rows).sum()
}

/// One expression in SELECT and one in WHERE. Returns what is wrong.
fn check(fresh: &Fresh, selected: &Number, kept: &Truth, is_counted: bool) -> Result<(), String> {
    let before = seen(fresh);
    let sql = format!("SELECT t.id, {} AS v FROM data t WHERE {}", selected.sql(), kept.sql());
    let found = fresh.try_rows(&sql).map_err(|error| format!("{sql}\n{error}"))?;
    let (ids, values) = (found.column(0).as_primitive::<Int64Type>(), found.column(1).as_primitive::<Float64Type>());
    let mut found: Vec<(i64, Option<f64>)> =
        (0..ids.len()).map(|row| (ids.value(row), values.is_valid(row).then(|| values.value(row)))).collect();
    found.sort_by_key(|(id, _)| *id);
    let (mut expected, mut calls) = (Vec::new(), 0);
    for row in 0..ROWS {
        let mut made = HashSet::new();
        if kept.value(row, &mut made) == Some(true) {
            expected.push((row, selected.value(row, &mut made)));
        }
        calls += made.len() as u64;
    }
    if found != expected {
        return Err(format!("{sql}\nfound {found:?}\nexpected {expected:?}"));
    }
    let through = seen(fresh) - before;
    if is_counted && through > calls {
        return Err(format!("{sql}\n{through} rows reached the models, {calls} row by row"));
    }
    Ok(())
}

fn run(is_counted: bool) -> Outcome {
    let fresh = table()?;
    if is_counted {
        fresh.rows("SET mm.keep_predicate_order = true")?;
    }
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let result = runner
        .run(&(number(), truth(number())), |(selected, kept)| check(&fresh, &selected, &kept, is_counted).map_err(TestCaseError::fail));
    match result {
        Ok(()) => ensure(seen(&fresh) > 1_000, || "hardly any call was made".into()),
        Err(TestError::Fail(why, _)) => Err(why.to_string().into()),
        Err(TestError::Abort(why)) => Err(why.to_string().into()),
    }
}

/// Planning goes as deep as the expression, which is more than a test's thread has room for in an unoptimised build.
fn with_room(is_counted: bool) -> Outcome {
    let thread = std::thread::Builder::new().stack_size(256 << 20).spawn(move || run(is_counted))?;
    thread.join().map_err(|_| "the thread panicked")?
}

fn answers() -> Outcome {
    with_room(false)
}

fn calls() -> Outcome {
    with_room(true)
}
