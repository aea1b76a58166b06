//! The folder that relative URIs of a column are resolved against: the one of the file that the column comes from.

use std::collections::BTreeMap;

use datafusion::catalog::default_table_source::source_as_provider;
use datafusion::common::Column;
use datafusion::datasource::listing::{ListingTable, ListingTableUrl};
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};
use sensorium_inference::{Input, Manifest, Modality};

/// For each media input of the model, the folder of the table of files that its argument comes from.
pub(super) fn media_bases(manifest: &Manifest, arguments: &[Expr], sources: &[LogicalPlan]) -> BTreeMap<String, String> {
    let base = |(index, input): (usize, &Input)| {
        let columns = argument_of(index, &input.name, arguments)?.column_refs();
        let base = columns.into_iter().find_map(|column| sources.iter().find_map(|plan| column_base(column, plan)))?;
        Some((input.name.clone(), base))
    };
    let is_media = |(_, input): &(usize, &Input)| matches!(input.modality, Modality::Image(_));
    manifest.inputs.iter().enumerate().filter(is_media).filter_map(base).collect()
}

/// The argument of an input: by its name in a struct literal, else by its position.
fn argument_of<'a>(index: usize, name: &str, arguments: &'a [Expr]) -> Option<&'a Expr> {
    match arguments {
        [Expr::ScalarFunction(call)] if call.name() == "named_struct" => {
            let is_name = |pair: &&[Expr]| matches!(&pair[0], Expr::Literal(value, _) if value.try_as_str().flatten() == Some(name));
            call.args.chunks_exact(2).find(is_name).map(|pair| &pair[1])
        }
        _ => arguments.get(index),
    }
}

fn column_base(column: &Column, plan: &LogicalPlan) -> Option<String> {
    let index = plan.schema().maybe_index_of_column(column)?;
    match plan {
        LogicalPlan::TableScan(scan) => scan_base(scan),
        LogicalPlan::Projection(projection) => {
            let columns = projection.expr[index].column_refs();
            columns.into_iter().find_map(|column| column_base(column, &projection.input))
        }
        LogicalPlan::SubqueryAlias(alias) => nth_base(index, &alias.input),
        LogicalPlan::Union(union) => union.inputs.iter().find_map(|input| nth_base(index, input)),
        LogicalPlan::Aggregate(aggregate) => {
            let columns = aggregate.group_expr.get(index)?.column_refs();
            columns.into_iter().find_map(|column| column_base(column, &aggregate.input))
        }
        other => other.inputs().into_iter().find_map(|input| column_base(column, input)),
    }
}

fn nth_base(index: usize, plan: &LogicalPlan) -> Option<String> {
    let column = plan.schema().columns().into_iter().nth(index)?;
    column_base(&column, plan)
}

fn scan_base(scan: &TableScan) -> Option<String> {
    let provider = source_as_provider(&scan.source).ok()?;
    let table = provider.downcast_ref::<ListingTable>()?;
    table.table_paths().first().map(folder)
}

/// The folder itself, or the one around a file or glob.
fn folder(path: &ListingTableUrl) -> String {
    let url = path.as_str();
    match url.rsplit_once('/') {
        Some((parent, file)) if !file.is_empty() => format!("{parent}/"),
        _ => url.to_string(),
    }
}
