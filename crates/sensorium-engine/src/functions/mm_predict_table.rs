//! `mm_predict_table`: every column of a query and its prediction.

use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::planner::{RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::sql::sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, Query, TableFactor, Value};

use super::TableFunctionEntry;
use super::table_call::{call_of, plan_as};

const NAME: &str = "mm_predict_table";

pub(super) fn entry() -> TableFunctionEntry {
    TableFunctionEntry {
        name: NAME,
        syntax: "mm_predict_table(model, (query))",
        description: "Every column of the query and, as the last column `prediction`, what mm_predict gives for the columns whose names are inputs of the model.",
        example: "SELECT * FROM mm_predict_table('credit', (SELECT * FROM loans))",
        implementation: None,
    }
}

/// Rewrites the call to `SELECT *, mm_predict(model, t.*) AS prediction FROM (query) AS t`.
#[derive(Debug)]
pub(crate) struct PredictTable;

impl RelationPlanner for PredictTable {
    fn plan_relation(&self, relation: TableFactor, context: &mut dyn RelationPlannerContext) -> Result<RelationPlanning> {
        let Some((arguments, alias)) = call_of(&relation, NAME) else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let [
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(model))),
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Subquery(query))),
        ] = arguments.as_slice()
        else {
            return plan_err!(
                "mm_predict_table takes a model as a literal and a query in parentheses: mm_predict_table('credit', (SELECT * FROM loans))"
            );
        };
        let Value::SingleQuotedString(model) = &model.value else {
            return plan_err!("mm_predict_table: the model must be a string literal");
        };
        plan_as(&rewrite(model, query), alias, context)
    }
}

fn rewrite(model: &str, query: &Query) -> String {
    let model = model.replace('\'', "''");
    format!("SELECT *, mm_predict('{model}', mm_rows.*) AS prediction FROM ({query}) AS mm_rows")
}
