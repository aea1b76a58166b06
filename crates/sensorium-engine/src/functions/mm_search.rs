//! `mm_search`: the rows of a table whose vectors lie nearest to a query.

use datafusion::common::plan_err;
use datafusion::error::Result;
use datafusion::logical_expr::planner::{RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::sql::sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, TableFactor, Value};

use super::TableFunctionEntry;
use super::table_call::{call_of, is_call_of, parse_query, plan_as};

const NAME: &str = "mm_search";

/// More rows than this are no search but a sort.
const MAX_ROWS: u64 = 1_000_000;
/// Place of the table among the arguments.
const TABLE: usize = 2;

pub(super) fn entry() -> TableFunctionEntry {
    TableFunctionEntry {
        name: NAME,
        syntax: "mm_search(model, query, table, column, k)",
        description: "The k rows whose vectors in the column have the largest cosine with the query's vector, and that as the last column `score`, best first. Every vector is looked at: the answer is exact. The query is what mm_embed takes: a text, or {image: uri} and {text: ..} with an image-text model. In place of a table stands a query in parentheses where rows are chosen first. Rows without a vector are never found.",
        example: "SELECT id, note, score FROM mm_search('minilm', 'lost his job', embedded_loans, note_vector, 10)",
        implementation: None,
    }
}

/// Rewrites the call to a sort by `mm_similarity` with a limit, which keeps no more than `k` rows.
#[derive(Debug)]
pub(crate) struct Search;

impl RelationPlanner for Search {
    fn plan_relation(&self, relation: TableFactor, context: &mut dyn RelationPlannerContext) -> Result<RelationPlanning> {
        let Some((arguments, alias)) = call_of(&relation, NAME) else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        plan_as(&rewrite(&arguments)?, alias, context)
    }
}

/// Puts `(SELECT * FROM t)` in the place of a table's name: DataFusion looks up only those tables before it plans that stand
/// where tables stand.
pub(crate) fn rewrite_searched_table(relation: &mut TableFactor) {
    let arguments = match relation {
        TableFactor::Table { name, args: Some(args), .. } if is_call_of(name, NAME) => &mut args.args,
        TableFactor::Function { name, args, .. } if is_call_of(name, NAME) => args,
        _ => return,
    };
    let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(table))) = arguments.get_mut(TABLE) else { return };
    let is_name = match &*table {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => true,
        Expr::Value(value) => matches!(value.value, Value::SingleQuotedString(_)),
        _ => false,
    };
    if is_name && let Ok(query) = parse_query(&format!("SELECT * FROM {table}")) {
        *table = Expr::Subquery(query);
    }
}

fn rewrite(arguments: &[FunctionArg]) -> Result<String> {
    let plain = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    let Some([model, query, table, column, k]) =
        arguments.iter().map(plain).collect::<Option<Vec<Expr>>>().and_then(|plain| <[Expr; 5]>::try_from(plain).ok())
    else {
        return plan_err!(
            "mm_search takes a model, a query, a table, a column and a number: mm_search('minilm', 'lost his job', loans, note_vector, 10)"
        );
    };
    let Expr::Subquery(rows) = &table else {
        return plan_err!("mm_search: a table is a name or a query in parentheses, not {table}");
    };
    let Expr::Identifier(column) = &column else {
        return plan_err!("mm_search: the column with the vectors is a name, not {column}");
    };
    let k = k.to_string();
    if !k.parse().is_ok_and(|rows: u64| (1..=MAX_ROWS).contains(&rows)) {
        return plan_err!("mm_search: a number of rows from 1 to {MAX_ROWS}, not {k}");
    }
    Ok(format!(
        "SELECT * FROM (SELECT mm_rows.*, mm_similarity(mm_rows.{column}, mm_embed({model}, {query})) AS score FROM ({rows}) AS mm_rows \
         ORDER BY score DESC NULLS LAST LIMIT {k}) AS mm_found WHERE score IS NOT NULL"
    ))
}
