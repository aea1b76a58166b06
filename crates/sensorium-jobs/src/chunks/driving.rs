//! The table whose rows decide those of the output one by one, so that a query can be run part by part.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::catalog::default_table_source::{provider_as_source, source_as_provider};
use datafusion::common::tree_node::Transformed;
use datafusion::datasource::listing::ListingTable;
use datafusion::error::Result;
use datafusion::logical_expr::{JoinType, LogicalPlan, TableScan};

/// Where the rows of a query come from.
pub(super) enum Driving {
    /// A table of files at a place of the plan.
    Scan { place: Vec<usize>, scan: TableScan },
    /// No table decides rows one by one.
    None { why: String },
}

/// Each row of the output belongs to one row of this table, in its order: there are only projections, filters and joins that keep its
/// side above it. Of two that could be, the larger one.
pub(super) fn driving_scan(plan: &LogicalPlan) -> Driving {
    let mut found = Vec::new();
    match candidates(plan, &mut Vec::new(), &mut found) {
        Err(why) => Driving::None { why },
        Ok(()) => match found.into_iter().max_by_key(|(_, scan)| bytes(scan)) {
            Some((place, scan)) => Driving::Scan { place, scan },
            None => Driving::None { why: "no table of files".into() },
        },
    }
}

/// About how large the files of a table are.
fn bytes(scan: &TableScan) -> u64 {
    let size = |url: &datafusion::datasource::listing::ListingTableUrl| {
        let path = url.as_str().strip_prefix("file://")?;
        std::fs::metadata(path).ok().map(|facts| facts.len())
    };
    listing(scan).map_or(0, |table| table.table_paths().iter().filter_map(size).sum())
}

fn listing(scan: &TableScan) -> Option<ListingTable> {
    source_as_provider(&scan.source).ok()?.downcast_ref::<ListingTable>().cloned()
}

fn candidates(plan: &LogicalPlan, place: &mut Vec<usize>, found: &mut Vec<(Vec<usize>, TableScan)>) -> std::result::Result<(), String> {
    let mut go = |child: usize, input: &LogicalPlan| {
        place.push(child);
        let result = candidates(input, place, found);
        place.pop();
        result
    };
    match plan {
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => go(0, plan.inputs()[0]),
        LogicalPlan::Join(join) => match join.join_type {
            JoinType::Inner => {
                let (left, right) = (go(0, &join.left), go(1, &join.right));
                left.or(right)
            }
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => go(0, &join.left),
            JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => go(1, &join.right),
            JoinType::Full => Err("a full outer join".into()),
        },
        LogicalPlan::TableScan(scan) if listing(scan).is_some() && scan.fetch.is_none() => {
            found.push((place.clone(), scan.clone()));
            Ok(())
        }
        LogicalPlan::TableScan(scan) => Err(format!("table '{}', which does not lie in files", scan.table_name)),
        LogicalPlan::Sort(_) => Err("ORDER BY".into()),
        LogicalPlan::Limit(_) => Err("LIMIT".into()),
        LogicalPlan::Aggregate(_) | LogicalPlan::Distinct(_) => Err("an aggregate".into()),
        LogicalPlan::Window(_) => Err("a window function".into()),
        LogicalPlan::Union(_) => Err("UNION".into()),
        other => Err(other.display().to_string().split([':', ' ']).next().unwrap_or_default().to_string()),
    }
}

/// The plan with another table at `place`.
pub(super) fn replace_scan(
    plan: LogicalPlan,
    place: &[usize],
    with: &dyn Fn(Arc<dyn TableProvider>) -> Arc<dyn TableProvider>,
) -> Result<LogicalPlan> {
    match (place, plan) {
        ([], LogicalPlan::TableScan(mut scan)) => {
            scan.source = provider_as_source(with(source_as_provider(&scan.source)?));
            Ok(LogicalPlan::TableScan(scan))
        }
        ([], other) => Ok(other),
        ([first, rest @ ..], plan) => {
            let mut child = 0;
            let replaced = datafusion::common::tree_node::TreeNode::map_children(plan, |input| {
                let is_on_the_way = child == *first;
                child += 1;
                if is_on_the_way { replace_scan(input, rest, with).map(Transformed::yes) } else { Ok(Transformed::no(input)) }
            })?;
            Ok(replaced.data)
        }
    }
}
