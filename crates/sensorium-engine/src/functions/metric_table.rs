//! Metrics that are lists of rows, in FROM: `SELECT * FROM mm_roc((SELECT score, label FROM scored))`.

use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::planner::{RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::sql::sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, Query, TableFactor};

use super::table_call::{call_of, plan_as};
use super::{mm_calibration, mm_confusion, mm_roc};

/// The aggregates whose result is a table, and its columns.
const TABLES: [(&str, &[&str]); 3] =
    [("mm_calibration", &mm_calibration::COLUMNS), ("mm_confusion", &mm_confusion::COLUMNS), ("mm_roc", &mm_roc::COLUMNS)];

/// Plans them.
#[derive(Debug)]
pub(crate) struct MetricTable;

impl RelationPlanner for MetricTable {
    fn plan_relation(&self, relation: TableFactor, context: &mut dyn RelationPlannerContext) -> Result<RelationPlanning> {
        let called = TABLES.iter().find_map(|(name, columns)| Some((name, columns, call_of(&relation, name)?)));
        let Some((name, columns, (arguments, alias))) = called else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let wrong = || plan_err!("{name} in FROM takes a query of two or three columns: {name}((SELECT score, label FROM scored))");
        let (FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Subquery(query))), options) = (match arguments.as_slice() {
            [query] => (query, None),
            [query, FunctionArg::Unnamed(FunctionArgExpr::Expr(options))] => (query, Some(options)),
            _ => return wrong(),
        }) else {
            return wrong();
        };
        let rows = TableFactor::Derived { lateral: false, subquery: query.clone(), alias: None, sample: None };
        match context.plan(rows)?.schema().fields().len() {
            width @ 2..=3 => plan_as(&rewrite(name, columns, query, width, options), alias, context),
            _ => wrong(),
        }
    }
}

fn rewrite(name: &str, columns: &[&str], query: &Query, width: usize, options: Option<&Expr>) -> String {
    let arguments = ["mm_first", "mm_second", "mm_third"][..width].join(", ");
    let all = options.map_or_else(|| arguments.clone(), |options| format!("{arguments}, {options}"));
    let columns: Vec<String> = columns.iter().map(|column| format!("mm_row['{column}'] AS {column}")).collect();
    format!(
        "SELECT {} FROM (SELECT unnest({name}({all})) AS mm_row FROM ({query}) AS mm_rows({arguments})) AS mm_table",
        columns.join(", ")
    )
}
