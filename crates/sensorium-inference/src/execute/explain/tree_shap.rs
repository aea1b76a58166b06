//! Exact Shapley values of the columns of a tree ensemble.
//!
//! Algorithm 2 of Lundberg et al., Consistent Individualized Feature Attribution for Tree Ensembles, 2018 (arXiv:1802.03888): a column
//! that is not known sends a row down both branches, by the weight of the rows that went there. Columns that are no players are known.

use crate::onnx::{Node, NodeKind};

/// One split on the way to a leaf.
#[derive(Debug, Clone, Copy)]
struct Step {
    column: usize,
    /// Share of rows that go this way where the column is not known.
    unknown: f64,
    /// 1 where the row itself goes this way, else 0.
    known: f64,
    /// Weight of the sets of so many columns.
    weight: f64,
}

/// Adds the Shapley values of the columns in a tree to `to`; `leaf` says what a leaf's value is worth.
pub(super) fn tree_shap(
    nodes: &[Node],
    row: &[f32],
    is_player: &[bool],
    leaf: &dyn Fn(usize, f64) -> f64,
    paths: &mut Paths,
    to: &mut [f64],
) {
    paths.0.clear();
    let root = Step { column: usize::MAX, unknown: 1.0, known: 1.0, weight: 1.0 };
    paths.0.push(root);
    walk(&Walk { nodes, row, is_player, leaf }, 0, 0, &mut paths.0, to);
}

/// Memory of a walk, to be used again.
#[derive(Debug, Default)]
pub(super) struct Paths(Vec<Step>);

struct Walk<'a> {
    nodes: &'a [Node],
    row: &'a [f32],
    is_player: &'a [bool],
    leaf: &'a dyn Fn(usize, f64) -> f64,
}

/// The path to `node` is what lies in `paths` from `start` on.
fn walk(walk_: &Walk<'_>, node: usize, start: usize, paths: &mut Vec<Step>, to: &mut [f64]) {
    let own = &walk_.nodes[node];
    let (column, lower, other, goes_lower) = match own.kind {
        NodeKind::Leaf { output, value } => {
            let value = (walk_.leaf)(output, value);
            if value != 0.0 {
                settle(&paths[start..], value, to);
            }
            return;
        }
        NodeKind::Split { column, threshold, lower, other, missing_is_lower } => {
            let value = walk_.row[column];
            (column, lower, other, if value.is_nan() { missing_is_lower } else { value < threshold })
        }
    };
    if !walk_.is_player[column] {
        walk(walk_, if goes_lower { lower } else { other }, start, paths, to);
        return;
    }
    // A column that was split before counts once: its step is taken back, and the new one is in its place.
    let earlier = paths[start..].iter().position(|step| step.column == column);
    let (unknown, known) = earlier.map_or((1.0, 1.0), |place| (paths[start + place].unknown, paths[start + place].known));
    for (child, is_hot) in [(lower, goes_lower), (other, !goes_lower)] {
        let share = walk_.nodes[child].cover / own.cover;
        let child_start = paths.len();
        paths.extend_from_within(start..child_start);
        if let Some(place) = earlier {
            unwind(paths, child_start, place);
        }
        extend(paths, child_start, Step { column, unknown: unknown * share, known: if is_hot { known } else { 0.0 }, weight: 0.0 });
        walk(walk_, child, child_start, paths, to);
        paths.truncate(child_start);
    }
}

/// EXTEND of the paper.
fn extend(paths: &mut Vec<Step>, start: usize, step: Step) {
    let depth = paths.len() - start;
    paths.push(Step { weight: if depth == 0 { 1.0 } else { 0.0 }, ..step });
    let path = &mut paths[start..];
    let length = (depth + 1) as f64;
    for place in (0..depth).rev() {
        path[place + 1].weight += step.known * path[place].weight * (place + 1) as f64 / length;
        path[place].weight = step.unknown * path[place].weight * (depth - place) as f64 / length;
    }
}

/// UNWIND of the paper.
fn unwind(paths: &mut Vec<Step>, start: usize, removed: usize) {
    let path = &mut paths[start..];
    let depth = path.len() - 1;
    let Step { unknown, known, .. } = path[removed];
    let mut next = path[depth].weight;
    for place in (0..depth).rev() {
        if known != 0.0 {
            let before = path[place].weight;
            path[place].weight = next * (depth + 1) as f64 / ((place + 1) as f64 * known);
            next = before - path[place].weight * unknown * (depth - place) as f64 / (depth + 1) as f64;
        } else {
            path[place].weight = path[place].weight * (depth + 1) as f64 / (unknown * (depth - place) as f64);
        }
    }
    for place in removed..depth {
        let Step { column, unknown, known, .. } = path[place + 1];
        path[place] = Step { column, unknown, known, weight: path[place].weight };
    }
    paths.pop();
}

/// The sum of the weights of a path without one of its steps.
fn unwound_sum(path: &[Step], removed: usize) -> f64 {
    let depth = path.len() - 1;
    let Step { unknown, known, .. } = path[removed];
    let mut next = path[depth].weight;
    let mut total = 0.0;
    for place in (0..depth).rev() {
        if known != 0.0 {
            let own = next * (depth + 1) as f64 / ((place + 1) as f64 * known);
            total += own;
            next = path[place].weight - own * unknown * (depth - place) as f64 / (depth + 1) as f64;
        } else {
            total += path[place].weight * (depth + 1) as f64 / (unknown * (depth - place) as f64);
        }
    }
    total
}

/// Gives each column on the way to a leaf its part of the leaf's value.
fn settle(path: &[Step], value: f64, to: &mut [f64]) {
    for (place, step) in path.iter().enumerate().skip(1) {
        to[step.column] += unwound_sum(path, place) * (step.known - step.unknown) * value;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::coalitions::shapley;
    use super::*;

    /// A tree that splits `depth` times, by columns and thresholds that are drawn.
    fn grow(numbers: &mut impl Iterator<Item = u32>, depth: usize, cover: f64, nodes: &mut Vec<Node>) {
        let place = nodes.len();
        let mut number = || numbers.next().unwrap_or(0);
        if depth == 0 {
            nodes.push(Node { cover, kind: NodeKind::Leaf { output: 0, value: f64::from(number() % 100) / 10.0 - 5.0 } });
            return;
        }
        let (column, threshold, share) = (number() as usize % 4, (number() % 10) as f32, f64::from(number() % 9 + 1) / 10.0);
        let missing_is_lower = number() % 2 == 0;
        nodes.push(Node { cover, kind: NodeKind::Leaf { output: 0, value: 0.0 } });
        let lower = nodes.len();
        grow(numbers, depth - 1, cover * share, nodes);
        let other = nodes.len();
        grow(numbers, depth - 1, cover * (1.0 - share), nodes);
        nodes[place].kind = NodeKind::Split { column, threshold, lower, other, missing_is_lower };
    }

    /// What the tree gives where the columns of `set` are known.
    fn expected(nodes: &[Node], node: usize, row: &[f32], set: usize) -> f64 {
        match nodes[node].kind {
            NodeKind::Leaf { value, .. } => value,
            NodeKind::Split { column, threshold, lower, other, missing_is_lower } => {
                if set >> column & 1 == 1 {
                    let is_lower = if row[column].is_nan() { missing_is_lower } else { row[column] < threshold };
                    return expected(nodes, if is_lower { lower } else { other }, row, set);
                }
                let part = |child: usize| nodes[child].cover / nodes[node].cover * expected(nodes, child, row, set);
                part(lower) + part(other)
            }
        }
    }

    proptest! {
        #[test]
        fn values_are_those_of_all_sets(numbers in prop::collection::vec(any::<u32>(), 80), known in 0_usize..16, depth in 1_usize..5) {
            let mut draw = numbers.into_iter();
            let row: Vec<f32> = (0..4).map(|_| (draw.next().unwrap_or(0) % 11) as f32).map(|value| if value > 9.0 { f32::NAN } else { value }).collect();
            let mut nodes = Vec::new();
            grow(&mut draw, depth, 100.0, &mut nodes);
            let is_player: Vec<bool> = (0..4).map(|column| known >> column & 1 == 0).collect();
            let mut found = vec![0.0; 4];
            tree_shap(&nodes, &row, &is_player, &|_, value| value, &mut Paths::default(), &mut found);
            let players: Vec<usize> = (0..4).filter(|column| is_player[*column]).collect();
            let worth = |set: usize| {
                let all = players.iter().enumerate().filter(|(place, _)| set >> place & 1 == 1).fold(known, |all, (_, column)| all | 1 << column);
                expected(&nodes, 0, &row, all)
            };
            for (value, column) in shapley(players.len(), worth).iter().zip(&players) {
                prop_assert!((value - found[*column]).abs() < 1e-9, "{} {}", value, found[*column]);
            }
            prop_assert!((0..4).all(|column| is_player[column] || found[column] == 0.0));
        }
    }
}
