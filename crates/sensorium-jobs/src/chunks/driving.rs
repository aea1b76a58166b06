//! The table whose rows decide those of the output one by one, so that a query can be run part by part.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::catalog::default_table_source::{provider_as_source, source_as_provider};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::listing::ListingTable;
use datafusion::error::Result;
use datafusion::logical_expr::{JoinType, LogicalPlan, TableScan};

/// Where a table stands in a plan, child by child.
pub(super) type Place = Vec<usize>;

/// The tables of files whose rows decide those of the output one by one, in their order: there are only projections, filters and joins that
/// keep their side above them. Why there is none, where that is so.
pub(super) fn driving_scans(plan: &LogicalPlan) -> std::result::Result<Vec<(Place, TableScan)>, String> {
    let mut found = Vec::new();
    candidates(plan, &mut Vec::new(), &mut found)?;
    Ok(found)
}

/// All tables of a plan but the one at `place`, those of subqueries included.
pub(super) fn scans_besides(plan: &LogicalPlan, place: Option<&[usize]>) -> Result<Vec<TableScan>> {
    let mut driving = place.and_then(|place| place.iter().try_fold(plan, |node, child| node.inputs().get(*child).copied()));
    let mut scans = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            if driving == Some(node) {
                // Once: the same table may stand elsewhere, too.
                driving = None;
            } else {
                scans.push(scan.clone());
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(scans)
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
            let replaced = plan.map_children(|input| {
                let is_on_the_way = child == *first;
                child += 1;
                if is_on_the_way { replace_scan(input, rest, with).map(Transformed::yes) } else { Ok(Transformed::no(input)) }
            })?;
            Ok(replaced.data)
        }
    }
}
