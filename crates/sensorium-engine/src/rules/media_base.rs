//! The folder that relative URIs of a column are resolved against: the one of the file that the column comes from.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::catalog::default_table_source::source_as_provider;
use datafusion::common::Column;
use datafusion::datasource::listing::{ListingTable, ListingTableUrl};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};
use sensorium_inference::{Error, Kind, Manifest};

use crate::errors::to_datafusion;

/// For each media input of the model, the folder of the table of files that its argument comes from.
///
/// # Errors
/// When an argument comes from tables in several folders, so that a relative URI could mean several files.
pub(super) fn media_bases(manifest: &Manifest, arguments: &[Expr], sources: &[LogicalPlan]) -> Result<BTreeMap<String, String>> {
    let mut bases = BTreeMap::new();
    for (index, input) in manifest.inputs.iter().enumerate().filter(|(_, input)| input.modality.is_media()) {
        let Some(argument) = argument_of(index, &input.name, arguments) else { continue };
        let found: BTreeSet<String> =
            argument.column_refs().into_iter().flat_map(|column| sources.iter().flat_map(|plan| column_bases(column, plan))).collect();
        if found.len() > 1 {
            let folders: Vec<String> = found.into_iter().collect();
            let ambiguous = Error::new(Kind::Argument, format!("input '{}' comes from tables in {}", input.name, folders.join(" and ")))
                .with_hint("make its URIs absolute before the tables are joined: concat('file:///folder/', uri)");
            return Err(to_datafusion(ambiguous));
        }
        bases.extend(found.into_iter().next().map(|base| (input.name.clone(), base)));
    }
    Ok(bases)
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

fn column_bases(column: &Column, plan: &LogicalPlan) -> BTreeSet<String> {
    let Some(index) = plan.schema().maybe_index_of_column(column) else { return BTreeSet::new() };
    let through =
        |expr: &Expr, input: &LogicalPlan| expr.column_refs().into_iter().flat_map(|column| column_bases(column, input)).collect();
    match plan {
        LogicalPlan::TableScan(scan) => scan_bases(scan),
        LogicalPlan::Projection(projection) => through(&projection.expr[index], &projection.input),
        LogicalPlan::SubqueryAlias(alias) => nth_bases(index, &alias.input),
        LogicalPlan::Union(union) => union.inputs.iter().flat_map(|input| nth_bases(index, input)).collect(),
        LogicalPlan::Aggregate(aggregate) => match aggregate.group_expr.get(index) {
            Some(expr) => through(expr, &aggregate.input),
            // `min(uri)` and the like.
            None => aggregate
                .aggr_expr
                .get(index - aggregate.group_expr.len())
                .map_or_else(BTreeSet::new, |expr| through(expr, &aggregate.input)),
        },
        other => other.inputs().into_iter().flat_map(|input| column_bases(column, input)).collect(),
    }
}

fn nth_bases(index: usize, plan: &LogicalPlan) -> BTreeSet<String> {
    plan.schema().columns().get(index).map_or_else(BTreeSet::new, |column| column_bases(column, plan))
}

fn scan_bases(scan: &TableScan) -> BTreeSet<String> {
    let Ok(provider) = source_as_provider(&scan.source) else { return BTreeSet::new() };
    let Some(table) = provider.downcast_ref::<ListingTable>() else { return BTreeSet::new() };
    table.table_paths().iter().map(folder).collect()
}

/// The folder itself, or the one around a file or glob.
fn folder(path: &ListingTableUrl) -> String {
    let url = path.as_str();
    match url.rsplit_once('/') {
        Some((parent, file)) if !file.is_empty() => format!("{parent}/"),
        _ => url.to_string(),
    }
}
