//! A fitted model as graphs.

use sensorium_inference::{ColumnsOf, TreeColumns};

use super::{Base, Model, Task};
use crate::encoding::{Encoding, Inputs, columns_name, scores_name, write_inputs, write_masked};
use crate::learners::Learner;
use crate::onnx::GraphBuilder;
use crate::package::COLUMNS;

impl Task<'_> {
    /// The graph of a model.
    pub(super) fn write(&self, model: &Model) -> Vec<u8> {
        let mut graph = GraphBuilder::default();
        let inputs = write_inputs(&mut graph, self.dataset, &self.optional);
        let raw = match model {
            Model::Joint(base) => write_base(&mut graph, base, &inputs),
            Model::Stacked { bases, tabular, top } => {
                let mut features: Vec<String> = tabular.iter().map(|encoding| encoding.write(&mut graph, &inputs)).collect();
                for (group, base) in bases {
                    let raw = write_base(&mut graph, base, &inputs);
                    features.push(self.write_group(&mut graph, *group, raw, &inputs));
                }
                let features = graph.concat(&features);
                top.write(&mut graph, &features)
            }
        };
        graph.output(&raw, &scores_name(self.dataset), self.dataset.target.outputs());
        graph.finish("head")
    }

    /// The graph of the columns that trees look at, where they make the prediction or, added to those of other modalities, a part of it.
    pub(super) fn write_columns(&self, model: &Model) -> Option<(Vec<u8>, TreeColumns)> {
        let mut graph = GraphBuilder::default();
        let inputs = write_inputs(&mut graph, self.dataset, &self.optional);
        let own = |encoding: &Encoding| -> Vec<ColumnsOf> {
            encoding.counts().map(|(feature, count)| ColumnsOf { input: self.dataset.features[feature].name.clone(), count }).collect()
        };
        let (value, columns, weights) = match model {
            Model::Joint(Base { encoding, learner: Learner::Trees(_) }) => (encoding.write(&mut graph, &inputs), own(encoding), Vec::new()),
            Model::Stacked { bases, tabular, top: Learner::Trees(_) } => {
                let mut columns: Vec<ColumnsOf> = tabular.iter().flat_map(&own).collect();
                let mut values: Vec<String> = tabular.iter().map(|encoding| encoding.write(&mut graph, &inputs)).collect();
                for (group, base) in bases {
                    let raw = write_base(&mut graph, base, &inputs);
                    values.push(self.write_group(&mut graph, *group, raw, &inputs));
                    let input = self.dataset.features[self.groups[*group].features[0]].name.clone();
                    let count = self.dataset.target.outputs() + usize::from(self.can_be_absent(*group));
                    columns.push(ColumnsOf { input, count });
                }
                (graph.concat(&values), columns, Vec::new())
            }
            // The trees' predictions are the first columns of the head over them.
            Model::Stacked { bases, top: Learner::Linear(top), .. } => {
                let (_, Base { encoding, .. }) = bases.first().filter(|(_, base)| matches!(base.learner, Learner::Trees(_)))?;
                (encoding.write(&mut graph, &inputs), own(encoding), top.first_weights(self.dataset.target.outputs()))
            }
            Model::Joint(_) | Model::Stacked { .. } => return None,
        };
        let width = columns.iter().map(|columns| columns.count).sum();
        graph.output(&value, &columns_name(self.dataset), width);
        Some((graph.finish("columns"), TreeColumns { graph: COLUMNS.into(), columns, weights }))
    }

    fn write_group(&self, graph: &mut GraphBuilder, group: usize, raw: String, inputs: &Inputs) -> String {
        let present = self.groups[group].features.iter().find_map(|feature| inputs.features[*feature].present.as_ref());
        match present.filter(|_| self.can_be_absent(group)) {
            Some(present) => write_masked(graph, &raw, present),
            None => raw,
        }
    }
}

fn write_base(graph: &mut GraphBuilder, base: &Base, inputs: &Inputs) -> String {
    let features = base.encoding.write(graph, inputs);
    base.learner.write(graph, &features)
}
