//! The trees of an ONNX-ML ensemble, with the weight of the rows that went through each node.

use std::collections::BTreeSet;

use prost::Message;

use super::proto;
use crate::error::{Error, Kind, Result};

/// Trees whose leaves are added up.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ensemble {
    pub(crate) trees: Vec<Vec<Node>>,
    /// Numbers that it gives for a row.
    pub(crate) outputs: usize,
    columns: usize,
}

/// A node of a tree, whose first is the root.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// Weight of the rows that went through it.
    pub(crate) cover: f64,
    pub(crate) kind: NodeKind,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum NodeKind {
    /// Less than the threshold goes to `lower`, the rest to `other`.
    Split { column: usize, threshold: f32, lower: usize, other: usize, missing_is_lower: bool },
    /// What is added to an output.
    Leaf { output: usize, value: f64 },
}

const OPERATOR: &str = "TreeEnsembleRegressor";

fn wrong(message: impl std::fmt::Display) -> Error {
    Error::new(Kind::Package, format!("{OPERATOR}: {message}"))
}

/// The attributes of the operator.
struct Attributes<'a>(&'a [proto::Attribute]);

impl Attributes<'_> {
    fn get(&self, name: &str) -> Result<&proto::Attribute> {
        self.0.iter().find(|attribute| attribute.name == name).ok_or_else(|| wrong(format!("no {name}")))
    }

    fn integers(&self, name: &str) -> Result<&[i64]> {
        self.get(name).map(|attribute| attribute.integers.as_slice())
    }

    fn floats(&self, name: &str) -> Result<&[f32]> {
        self.get(name).map(|attribute| attribute.floats.as_slice())
    }
}

fn place(number: i64) -> Result<usize> {
    usize::try_from(number).map_err(|_| wrong(format!("{number} is no place")))
}

/// Splits that may stand above each other.
const MAX_DEPTH: usize = 1_000;
/// By how much the rows of both branches may miss those of the split, for one of them.
const COVER_TOLERANCE: f64 = 1e-3;

/// Each node but the root has one parent, depths have a limit, and rows part at splits.
fn check_tree(nodes: &[Node]) -> Result<()> {
    let mut depths: Vec<Option<usize>> = vec![None; nodes.len()];
    if let Some(root) = depths.first_mut() {
        *root = Some(0);
    }
    for (place, node) in nodes.iter().enumerate() {
        let NodeKind::Split { lower, other, .. } = node.kind else { continue };
        let depth = depths[place].ok_or_else(|| wrong("a node that nothing leads to"))? + 1;
        if depth > MAX_DEPTH {
            return Err(wrong(format!("more than {MAX_DEPTH} splits above each other")));
        }
        for child in [lower, other] {
            match depths.get_mut(child) {
                Some(own @ None) => *own = Some(depth),
                Some(Some(_)) => return Err(wrong("a node with two parents")),
                None => return Err(wrong("a split that leads nowhere")),
            }
        }
        let (parts, whole) = (nodes[lower].cover + nodes[other].cover, node.cover);
        if nodes[lower].cover <= 0.0 || nodes[other].cover <= 0.0 || (parts - whole).abs() > COVER_TOLERANCE * whole {
            return Err(wrong("nodes_hitrates are not the weights of the rows that went through"));
        }
    }
    Ok(())
}

impl Ensemble {
    /// The one ensemble in the bytes of an `.onnx` file, whose nodes have covers in `nodes_hitrates` and are numbered from 0 on in each
    /// tree.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self> {
        let model = proto::Model::decode(bytes).map_err(|_| wrong("not an ONNX model"))?;
        let nodes = model.graph.map(|graph| graph.nodes).unwrap_or_default();
        let mut ensembles = nodes.iter().filter(|node| node.operator == OPERATOR);
        let (Some(node), None) = (ensembles.next(), ensembles.next()) else { return Err(wrong("the graph has none, or several")) };
        let attributes = Attributes(&node.attributes);
        // What is not said is so by default.
        let word = |name: &str, default: &str| attributes.get(name).is_ok_and(|own| own.string != default.as_bytes());
        if word("aggregate_function", "SUM") || word("post_transform", "NONE") {
            return Err(wrong("leaves that are not added up, or numbers that are changed afterwards"));
        }
        let outputs = attributes.get("n_targets")?.integer;
        let mut ensemble = Self { trees: Vec::new(), outputs: place(outputs)?, columns: 0 };
        ensemble.read_nodes(&attributes)?;
        ensemble.read_leaves(&attributes)?;
        Ok(ensemble)
    }

    fn read_nodes(&mut self, attributes: &Attributes<'_>) -> Result<()> {
        let trees = attributes.integers("nodes_treeids")?;
        let ids = attributes.integers("nodes_nodeids")?;
        let (columns, thresholds) = (attributes.integers("nodes_featureids")?, attributes.floats("nodes_values")?);
        let (lower, other) = (attributes.integers("nodes_truenodeids")?, attributes.integers("nodes_falsenodeids")?);
        let missing = attributes.integers("nodes_missing_value_tracks_true")?;
        let covers = attributes.floats("nodes_hitrates")?;
        let modes = &attributes.get("nodes_modes")?.strings;
        let lengths = [ids.len(), columns.len(), thresholds.len(), lower.len(), other.len(), missing.len(), covers.len(), modes.len()];
        if lengths.iter().any(|length| *length != trees.len()) {
            return Err(wrong("attributes of different lengths"));
        }
        for (number, tree) in trees.iter().enumerate() {
            let tree = place(*tree)?;
            if tree == self.trees.len() {
                self.trees.push(Vec::new());
            }
            let count = self.trees.len();
            let nodes =
                self.trees.last_mut().filter(|_| tree + 1 == count).ok_or_else(|| wrong("trees that are not numbered one by one"))?;
            if place(ids[number])? != nodes.len() {
                return Err(wrong("nodes that are not numbered one by one"));
            }
            let kind = match modes[number].as_slice() {
                b"LEAF" => NodeKind::Leaf { output: 0, value: 0.0 },
                b"BRANCH_LT" => NodeKind::Split {
                    column: place(columns[number])?,
                    threshold: thresholds[number],
                    lower: place(lower[number])?,
                    other: place(other[number])?,
                    missing_is_lower: missing[number] != 0,
                },
                mode => return Err(wrong(format!("a node of mode {}", String::from_utf8_lossy(mode)))),
            };
            if let NodeKind::Split { column, lower, other, .. } = kind {
                // Children behind their parents: no walk goes on for ever.
                if lower <= nodes.len() || other <= nodes.len() {
                    return Err(wrong("a node before the one that leads to it"));
                }
                self.columns = self.columns.max(column + 1);
            }
            nodes.push(Node { cover: f64::from(covers[number]), kind });
        }
        self.trees.iter().try_for_each(|nodes| check_tree(nodes))
    }

    fn read_leaves(&mut self, attributes: &Attributes<'_>) -> Result<()> {
        let (trees, nodes) = (attributes.integers("target_treeids")?, attributes.integers("target_nodeids")?);
        let (outputs, values) = (attributes.integers("target_ids")?, attributes.floats("target_weights")?);
        if [nodes.len(), outputs.len(), values.len()].iter().any(|length| *length != trees.len()) {
            return Err(wrong("attributes of different lengths"));
        }
        let mut seen = BTreeSet::new();
        if !trees.iter().zip(nodes).all(|leaf| seen.insert(leaf)) {
            return Err(wrong("a leaf with several values"));
        }
        for (((tree, node), output), own) in trees.iter().zip(nodes).zip(outputs).zip(values) {
            let node = self.trees.get_mut(place(*tree)?).and_then(|nodes| nodes.get_mut(usize::try_from(*node).ok()?));
            match node.map(|node| &mut node.kind) {
                Some(NodeKind::Leaf { output: to, value }) if place(*output)? < self.outputs => {
                    (*to, *value) = (place(*output)?, f64::from(*own));
                }
                _ => return Err(wrong("a value of what is no leaf")),
            }
        }
        Ok(())
    }

    /// Checks that it looks at no more than `columns` columns and that `weights` take its outputs.
    pub(crate) fn check(&self, columns: usize, weights: &[Vec<f32>]) -> Result<()> {
        if self.columns > columns {
            return Err(wrong(format!("{} columns, and {columns} are described", self.columns)));
        }
        if weights.iter().any(|weights| weights.len() != self.outputs) {
            return Err(wrong(format!("{} outputs, and weights for another number", self.outputs)));
        }
        Ok(())
    }
}
