//! Functions in FROM that are written out as queries before DataFusion plans them.

use datafusion::common::DataFusionError;
use datafusion::error::Result;
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlannerContext, RelationPlanning};
use datafusion::sql::sqlparser::ast::{FunctionArg, ObjectName, Query, TableAlias, TableFactor};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

/// Whether a name is that of `function`.
pub(super) fn is_call_of(name: &ObjectName, function: &str) -> bool {
    name.to_string().eq_ignore_ascii_case(function)
}

/// The query that `sql` is.
pub(super) fn parse_query(sql: &str) -> Result<Box<Query>> {
    let parsed = Parser::new(&GenericDialect {}).try_with_sql(sql).and_then(|mut parser| parser.parse_query());
    parsed.map_err(|error| DataFusionError::SQL(Box::new(error), None))
}

/// The arguments and the alias of `relation`, if it is a call of `function`.
pub(super) fn call_of(relation: &TableFactor, function: &str) -> Option<(Vec<FunctionArg>, Option<TableAlias>)> {
    match relation {
        TableFactor::Table { name, args: Some(args), alias, .. } if is_call_of(name, function) => Some((args.args.clone(), alias.clone())),
        TableFactor::Function { name, args, alias, .. } if is_call_of(name, function) => Some((args.clone(), alias.clone())),
        _ => None,
    }
}

/// Plans the query `sql` in the place of a call.
pub(super) fn plan_as(sql: &str, alias: Option<TableAlias>, context: &mut dyn RelationPlannerContext) -> Result<RelationPlanning> {
    let subquery = parse_query(sql)?;
    let plan = context.plan(TableFactor::Derived { lateral: false, subquery, alias: None, sample: None })?;
    Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
}
