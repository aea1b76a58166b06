//! From rows to a model: which head, which fusion, and the graph of it.

use std::collections::HashMap;

use sensorium_inference::{Cancel, ColumnsOf, Error, Kind, Random, Result, Training, TreeColumns};

use crate::dataset::{Dataset, Values};
use crate::encoding::{Block, Encoding, Inputs, Matrix, Sample, as_float, columns_name, is_positive, scores_name, write_inputs};
use crate::learners::{Control, Fit, Labels, Learner};
use crate::onnx::GraphBuilder;
use crate::options::{Fusion, Head, TrainOptions};
use crate::package::COLUMNS;
use crate::profile::training;
use crate::score::{Score, score};
use crate::split::{Fold, folds};
use crate::target::Target;

/// Told of what is done and of the loss, where it is known.
pub type Progress<'p> = dyn Fn(&str, Option<f64>) + Sync + 'p;

/// A model and how it came about.
#[derive(Debug)]
pub struct Fitted {
    /// The graph as an ONNX file: inputs as `package` describes them, one output `scores` of shape `[rows, outputs]`.
    pub(crate) graph: Vec<u8>,
    pub(crate) optional: Vec<bool>,
    /// What is written down of the rows.
    pub(crate) training: Training,
    /// The graph of the columns that trees look at, and whose they are, where trees make the prediction.
    pub(crate) columns: Option<(Vec<u8>, TreeColumns)>,
    /// Parts that rows were held back in, in turn; none where those were used that said when to stop.
    pub folds: Option<usize>,
    /// What was tried, the one that was taken first.
    pub tried: Vec<(Fusion, Head, Score)>,
}

/// Which part of the weight of a row is that of its copy without some optional features.
const DROPPED_WEIGHT: f32 = 0.3;
/// Parts of a cross-validation where nothing is said.
const FOLDS: usize = 5;
/// Rows from which on a fifth of them says enough of a model, if nothing has to be chosen.
const MANY_ROWS: usize = 20_000;
/// One row in so many is held back to say when to stop.
const JUDGED: usize = 5;
/// Parts for predictions of rows by models that have not learnt from them.
const INNER_FOLDS: usize = 3;
/// Rows that a fit needs at least.
const LEAST_ROWS: usize = 10;

/// Features that belong together: one of an encoder, or all numbers and categories.
#[derive(Debug, Clone)]
struct Group {
    features: Vec<usize>,
    is_vector: bool,
}

/// The features of a data set and which of them may be absent.
struct Task<'t> {
    dataset: &'t Dataset,
    optional: Vec<bool>,
    groups: Vec<Group>,
    options: &'t TrainOptions,
    control: Control<'t>,
}

/// Something fitted to one group, or to all features.
struct Base {
    encoding: Encoding,
    learner: Learner,
}

/// A fitted model.
enum Model {
    /// One head over all features.
    Joint(Base),
    /// Predictions of groups, beside the tabular features in a hybrid, and a head over them.
    Stacked { bases: Vec<(usize, Base)>, tabular: Option<Encoding>, top: Learner },
}

/// Fits a model.
///
/// # Errors
/// [`Kind::Argument`] for rows that nothing can be learnt from, [`Kind::Cancelled`].
pub fn fit(dataset: &Dataset, options: &TrainOptions, cancel: &Cancel, progress: &Progress<'_>) -> Result<Fitted> {
    let control = Control { cancel, seed: options.seed, progress };
    let task = Task::new(dataset, options, control)?;
    let parts = folds(dataset, options.folds.unwrap_or(FOLDS), options.seed);
    if parts.is_empty() {
        return Err(Error::new(Kind::Argument, "no rows can be held back: all are of one group or of one time"));
    }
    let rows: Vec<u32> = (0..dataset.rows as u32).collect();
    let candidates = task.candidates()?;
    // Where nothing is to be chosen, the rows that say when to stop can say how good it is.
    if let (&[(fusion, head)], None, true) = (candidates.as_slice(), options.folds, dataset.rows >= MANY_ROWS) {
        progress(&format!("{} {}", fusion.name(), head.name()), None);
        let (model, unseen) = task.model(fusion, head, &rows)?;
        if let Some((score, raw)) = task.judge_unseen(&rows, unseen) {
            return Ok(task.fitted(&model, vec![(fusion, head, score)], None, &raw));
        }
    }
    let mut tried: Vec<(Fusion, Head, Score)> = Vec::new();
    let mut best = Vec::new();
    for (fusion, head) in candidates {
        progress(&format!("{} {}", fusion.name(), head.name()), None);
        let (score, raw) = task.judge(fusion, head, &parts)?;
        if score.loss.is_nan() {
            return Err(Error::new(Kind::Argument, "the rows that are held back have no weight").with_hint("give them one, or fewer folds"));
        }
        if tried.iter().all(|(.., other)| score.loss < other.loss) {
            best = raw;
        }
        tried.push((fusion, head, score));
    }
    tried.sort_by(|a, b| a.2.loss.total_cmp(&b.2.loss));
    let (fusion, head, score) = &tried[0];
    let (fusion, head) = (*fusion, *head);
    progress(&format!("{} {} on all rows", fusion.name(), head.name()), Some(score.loss));
    let (model, _) = task.model(fusion, head, &rows)?;
    Ok(task.fitted(&model, tried, Some(parts.len()), &best))
}

impl<'t> Task<'t> {
    fn new(dataset: &'t Dataset, options: &'t TrainOptions, control: Control<'t>) -> Result<Self> {
        if dataset.rows < LEAST_ROWS {
            return Err(Error::new(Kind::Argument, format!("{} rows are too few to learn from: at least {LEAST_ROWS}", dataset.rows)));
        }
        let names = || dataset.features.iter().map(|feature| feature.name.as_str());
        if let Some(unknown) = options.optional.iter().find(|name| names().all(|feature| feature != **name)) {
            return Err(Error::new(Kind::Setting, format!("optional: no such column: '{unknown}'")).with_nearest(
                unknown,
                names(),
                "columns",
            ));
        }
        check_reasons(dataset, options)?;
        for feature in &dataset.features {
            check_feature(feature, options)?;
            check_leak(dataset, feature)?;
        }
        let optional = dataset.features.iter().map(|feature| options.optional.contains(&feature.name)).collect();
        let is_vector = |place: &usize| matches!(dataset.features[*place].values, Values::Vectors { .. });
        let (vectors, tabular): (Vec<usize>, Vec<usize>) = (0..dataset.features.len()).partition(is_vector);
        let tabular = Some(Group { features: tabular, is_vector: false }).filter(|group| !group.features.is_empty());
        let vectors = vectors.into_iter().map(|feature| Group { features: vec![feature], is_vector: true });
        Ok(Self { dataset, optional, groups: tabular.into_iter().chain(vectors).collect(), options, control })
    }

    /// What is to be tried.
    fn candidates(&self) -> Result<Vec<(Fusion, Head)>> {
        let has_tabular = self.groups.iter().any(|group| !group.is_vector);
        let has_several = self.groups.len() > 1;
        let fusions = match self.options.fusion {
            Some(Fusion::Late | Fusion::Hybrid) if !has_several => {
                return Err(
                    Error::new(Kind::Setting, "fusion: there is one modality only, nothing can be fused").with_hint("leave the option out")
                );
            }
            Some(Fusion::Hybrid) if !has_tabular && self.options.head.is_some_and(|head| head != Head::Mlp) => {
                return Err(Error::new(Kind::Setting, "fusion = 'hybrid': no numbers or categories that predictions could meet")
                    .with_hint("fusion = 'late', or head = 'mlp', whose projections meet"));
            }
            Some(fusion) => vec![fusion],
            None if !has_several => vec![Fusion::Early],
            None => vec![Fusion::Early, Fusion::Late, Fusion::Hybrid],
        };
        let heads = match self.options.head {
            Some(head) => vec![head],
            None => vec![Head::Linear, Head::Trees, Head::Mlp],
        };
        // Only if asked for: trees over thousands of numbers of encoders, which are slow and no better than lines, and networks
        // where no modalities meet.
        let is_idle = |fusion: Fusion, head: Head| {
            let has_no_use = match head {
                Head::Linear => false,
                Head::Trees => !has_tabular || has_several && fusion == Fusion::Early,
                Head::Mlp => fusion != Fusion::Hybrid,
            };
            let has_nothing_to_meet = fusion == Fusion::Hybrid && head != Head::Mlp && !has_tabular;
            self.options.head.is_none() && has_no_use || has_nothing_to_meet
        };
        let all = fusions.iter().flat_map(|fusion| heads.iter().map(move |head| (*fusion, *head)));
        Ok(all.filter(|(fusion, head)| !is_idle(*fusion, *head)).collect())
    }

    /// A model with all that is known of it; the first of `tried` is its own, and `raw` was predicted for rows that were held back.
    fn fitted(self, model: &Model, tried: Vec<(Fusion, Head, Score)>, folds: Option<usize>, raw: &[f32]) -> Fitted {
        let (graph, columns) = (self.write(model), self.write_columns(model));
        let training = training(self.dataset, folds, &tried, raw);
        Fitted { graph, optional: self.optional, training, columns, folds, tried }
    }

    /// Figures over the rows that said when to stop, from what a model that had not learnt from them predicted; none where there were no
    /// such rows, or where they have no weight.
    fn judge_unseen(&self, rows: &[u32], unseen: Option<Matrix>) -> Option<(Score, Vec<f32>)> {
        let (unseen, samples) = (unseen?, self.samples(rows));
        let judges = self.judges(&samples);
        let judged = samples.iter().zip(&judges).filter(|(_, judge)| **judge).map(|(sample, _)| sample);
        let (mut own, mut raw) = (Vec::new(), Vec::new());
        for (place, sample) in judged.enumerate().filter(|(_, sample)| sample.dropped == 0) {
            own.push(sample.row);
            raw.extend_from_slice(unseen.row(place));
        }
        let score = score(&self.dataset.target, &own, &raw, &self.dataset.weights);
        (!score.loss.is_nan()).then_some((score, raw))
    }

    /// Figures over rows that are held back in turn, and what was predicted for them.
    fn judge(&self, fusion: Fusion, head: Head, parts: &[Fold]) -> Result<(Score, Vec<f32>)> {
        let (mut rows, mut raw) = (Vec::new(), Vec::new());
        for part in parts {
            self.control.check()?;
            let (model, _) = self.model(fusion, head, &part.train)?;
            let samples: Vec<Sample> = part.held_back.iter().map(|row| Sample::whole(*row)).collect();
            raw.extend(self.predict(&model, &samples)?.values);
            rows.extend_from_slice(&part.held_back);
        }
        Ok((score(&self.dataset.target, &rows, &raw, &self.dataset.weights), raw))
    }

    /// A model, and what one that had not learnt from the rows that say when to stop predicted for these.
    fn model(&self, fusion: Fusion, head: Head, rows: &[u32]) -> Result<(Model, Option<Matrix>)> {
        let samples = self.samples(rows);
        if fusion == Fusion::Early || (fusion, head) == (Fusion::Hybrid, Head::Mlp) {
            let all: Vec<usize> = self.groups.iter().flat_map(|group| group.features.iter().copied()).collect();
            let (base, unseen) = self.base(&all, head, &samples, fusion == Fusion::Hybrid)?;
            return Ok((Model::Joint(base), unseen));
        }
        let stacked: Vec<usize> = (0..self.groups.len()).filter(|group| fusion == Fusion::Late || self.groups[*group].is_vector).collect();
        let mut bases = Vec::new();
        let mut features = Matrix::default();
        for group in stacked {
            let head = if self.groups[group].is_vector && head == Head::Trees { Head::Linear } else { head };
            let (base, learnt) = self.unseen_predictions(group, head, rows, &samples)?;
            features = features.beside(&learnt);
            bases.push((group, base));
        }
        let tabular = self.groups.iter().find(|group| !group.is_vector && fusion == Fusion::Hybrid);
        let tabular = tabular.map(|group| Encoding::fit(self.dataset, &group.features, &self.optional, &samples, head.style()));
        if let Some(encoding) = &tabular {
            features = encoding.matrix(self.dataset, &samples).beside(&features);
        }
        let head = if fusion == Fusion::Late { Head::Linear } else { head };
        let labels = self.labels(&samples);
        let all = [Block { start: 0, end: features.width, absent: None }];
        let Fit { learner: top, unseen } = head.fit_stacked(&features, &labels, &self.judges(&samples), &all, self.control)?;
        Ok((Model::Stacked { bases, tabular, top }, unseen))
    }

    /// `by_modality`: a head that knows modalities is told of them.
    fn base(&self, features: &[usize], head: Head, samples: &[Sample], by_modality: bool) -> Result<(Base, Option<Matrix>)> {
        let encoding = Encoding::fit(self.dataset, features, &self.optional, samples, head.style());
        let matrix = encoding.matrix(self.dataset, samples);
        let blocks = if by_modality { encoding.blocks() } else { encoding.one_block() };
        let Fit { learner, unseen } = head.fit(&matrix, &self.labels(samples), &self.judges(samples), &blocks, self.control)?;
        Ok((Base { encoding, learner }, unseen))
    }

    /// The model of a group, and what models of it that have not learnt from a row say of that row.
    fn unseen_predictions(&self, group: usize, head: Head, rows: &[u32], samples: &[Sample]) -> Result<(Base, Matrix)> {
        let features = &self.groups[group].features;
        let outputs = self.dataset.target.outputs();
        let mut part_of = vec![0_u8; self.dataset.rows];
        let mut order: Vec<u32> = rows.to_vec();
        order.sort_unstable();
        Random::new(self.options.seed ^ 1).shuffle(&mut order);
        match &self.dataset.groups {
            Some(groups) => rows.iter().for_each(|row| part_of[*row as usize] = (groups[*row as usize] as usize % INNER_FOLDS) as u8),
            None => order.iter().enumerate().for_each(|(place, row)| part_of[*row as usize] = (place % INNER_FOLDS) as u8),
        }
        let mut predictions = vec![0.0; samples.len() * outputs];
        for part in 0..INNER_FOLDS as u8 {
            let is_own = |sample: &Sample| part_of[sample.row as usize] == part;
            let learn: Vec<Sample> = self.present(group, samples.iter().copied().filter(|sample| !is_own(sample)));
            let places: Vec<usize> = (0..samples.len()).filter(|place| is_own(&samples[*place])).collect();
            if learn.len() < LEAST_ROWS || places.is_empty() {
                continue;
            }
            let (base, _) = self.base(features, head, &learn, false)?;
            let own: Vec<Sample> = places.iter().map(|place| samples[*place]).collect();
            let found = base.learner.predict(&base.encoding.matrix(self.dataset, &own))?;
            for (found_place, place) in places.iter().enumerate() {
                predictions[place * outputs..(place + 1) * outputs].copy_from_slice(found.row(found_place));
            }
        }
        let (base, _) = self.base(features, head, &self.present(group, samples.iter().copied()), false)?;
        let matrix = self.masked(group, samples, Matrix { rows: samples.len(), width: outputs, values: predictions });
        Ok((base, matrix))
    }

    /// Whether a sample has the modality of a group.
    fn is_present(&self, group: usize, sample: Sample) -> bool {
        let group = &self.groups[group];
        !group.is_vector
            || group.features.iter().all(|feature| match &self.dataset.features[*feature].values {
                Values::Vectors { present, .. } => present[sample.row as usize] && sample.has(*feature),
                _ => true,
            })
    }

    fn present(&self, group: usize, samples: impl Iterator<Item = Sample>) -> Vec<Sample> {
        samples.filter(|sample| self.is_present(group, *sample)).collect()
    }

    /// Predictions of a group, 0 where it is absent, and beside them whether it is, where that can be.
    fn masked(&self, group: usize, samples: &[Sample], predictions: Matrix) -> Matrix {
        if !self.can_be_absent(group) {
            return predictions;
        }
        let mut values = Vec::with_capacity(samples.len() * (predictions.width + 1));
        for (place, sample) in samples.iter().enumerate() {
            let is_there = self.is_present(group, *sample);
            values.extend(predictions.row(place).iter().map(|value| if is_there { *value } else { 0.0 }));
            values.push(f32::from(u8::from(!is_there)));
        }
        Matrix { rows: samples.len(), width: predictions.width + 1, values }
    }

    fn can_be_absent(&self, group: usize) -> bool {
        self.groups[group].is_vector && self.groups[group].features.iter().any(|feature| self.optional[*feature])
    }

    /// Rows to learn from, and a copy of each without some of its optional features, so that their absence is known.
    fn samples(&self, rows: &[u32]) -> Vec<Sample> {
        let vectors = self.groups.iter().filter(|group| group.is_vector).flat_map(|group| group.features.iter().copied());
        let optional: Vec<usize> = vectors.filter(|feature| self.optional[*feature]).collect();
        let mut samples: Vec<Sample> = rows.iter().map(|row| Sample::whole(*row)).collect();
        if !optional.is_empty() {
            let mut random = Random::new(self.options.seed ^ 2);
            // From 1 on: at least one is left out.
            let dropped = |random: &mut Random| {
                let which = 1 + random.below((1 << optional.len().min(62)) - 1);
                optional
                    .iter()
                    .enumerate()
                    .filter(|(place, _)| which >> place & 1 == 1)
                    .fold(0, |bits, (_, feature)| bits | 1_u64 << feature)
            };
            samples.extend(rows.iter().map(|row| Sample { row: *row, dropped: dropped(&mut random) }));
        }
        samples
    }

    /// Samples that say when to stop: all of a row, or none.
    fn judges(&self, samples: &[Sample]) -> Vec<bool> {
        let mut random = Random::new(self.options.seed ^ 3);
        let is_judge: Vec<bool> = match (&self.dataset.groups, &self.dataset.times) {
            // The latest, as when the model is used.
            (_, Some(times)) => {
                let mut own: Vec<i64> = samples.iter().map(|sample| times[sample.row as usize]).collect();
                own.sort_unstable();
                let border = own[own.len() - 1 - own.len() / JUDGED];
                times.iter().map(|time| *time > border).collect()
            }
            (Some(groups), None) => {
                let of_group: Vec<bool> = (0..=groups.iter().copied().max().unwrap_or(0)).map(|_| random.below(JUDGED) == 0).collect();
                groups.iter().map(|group| of_group[*group as usize]).collect()
            }
            (None, None) => (0..self.dataset.rows).map(|_| random.below(JUDGED) == 0).collect(),
        };
        let judges: Vec<bool> = samples.iter().map(|sample| is_judge[sample.row as usize]).collect();
        // With one class only among either, there is nothing to be told.
        if judges.iter().all(|judge| *judge) { vec![false; judges.len()] } else { judges }
    }

    fn labels(&self, samples: &[Sample]) -> Labels {
        let target = &self.dataset.target;
        let classes = match target {
            Target::Classes { names, .. } => Some(names.len()),
            Target::Numbers(_) => None,
        };
        let has_copies = samples.iter().any(|sample| sample.dropped != 0);
        let mut weights: Vec<f32> = samples
            .iter()
            .map(|sample| {
                let part = match (has_copies, sample.dropped) {
                    (false, _) => 1.0,
                    (true, 0) => 1.0 - DROPPED_WEIGHT,
                    (true, _) => DROPPED_WEIGHT,
                };
                part * self.dataset.weights[sample.row as usize]
            })
            .collect();
        let values: Vec<f32> = samples.iter().map(|sample| target.value(sample.row as usize) as f32).collect();
        if let (Some(classes), true) = (classes, self.options.balanced) {
            let mut totals = vec![0.0_f64; classes];
            values.iter().zip(&weights).for_each(|(value, weight)| totals[*value as usize] += f64::from(*weight));
            let all: f64 = totals.iter().sum();
            weights.iter_mut().zip(&values).for_each(|(weight, value)| {
                // A class without weight has none either way.
                *weight *= if totals[*value as usize] > 0.0 { (all / (classes as f64 * totals[*value as usize])) as f32 } else { 0.0 };
            });
        }
        Labels { values, weights, classes }
    }

    fn predict(&self, model: &Model, samples: &[Sample]) -> Result<Matrix> {
        match model {
            Model::Joint(base) => base.learner.predict(&base.encoding.matrix(self.dataset, samples)),
            Model::Stacked { bases, tabular, top } => {
                let mut features = tabular.as_ref().map(|encoding| encoding.matrix(self.dataset, samples)).unwrap_or_default();
                for (group, base) in bases {
                    let found = base.learner.predict(&base.encoding.matrix(self.dataset, samples))?;
                    features = features.beside(&self.masked(*group, samples, found));
                }
                top.predict(&features)
            }
        }
    }

    /// The graph of a model.
    fn write(&self, model: &Model) -> Vec<u8> {
        let mut graph = GraphBuilder::default();
        let inputs = write_inputs(&mut graph, self.dataset, &self.optional);
        let raw = match model {
            Model::Joint(base) => write_base(&mut graph, base, &inputs),
            Model::Stacked { bases, tabular, top } => {
                let mut features: Vec<String> = tabular.iter().map(|encoding| encoding.write(&mut graph, &inputs)).collect();
                for (group, base) in bases {
                    let raw = write_base(&mut graph, base, &inputs);
                    features.push(self.write_masked(&mut graph, *group, raw, &inputs));
                }
                let features = graph.concat(&features);
                top.write(&mut graph, &features)
            }
        };
        graph.output(&raw, &scores_name(self.dataset), self.dataset.target.outputs());
        graph.finish("head")
    }

    /// The graph of the columns that trees look at, where they make the prediction or, added to those of other modalities, a part of it.
    fn write_columns(&self, model: &Model) -> Option<(Vec<u8>, TreeColumns)> {
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
                    values.push(self.write_masked(&mut graph, *group, raw, &inputs));
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

    fn write_masked(&self, graph: &mut GraphBuilder, group: usize, raw: String, inputs: &Inputs) -> String {
        let present = self.groups[group].features.iter().find_map(|feature| inputs.features[*feature].present.as_ref());
        let Some(present) = present.filter(|_| self.can_be_absent(group)) else { return raw };
        let zero = graph.floats(&[1, 1], &[0.0]);
        let is_there = is_positive(graph, present);
        let kept = graph.node("Where", &[&is_there, &raw, &zero], vec![]);
        let absent = graph.node("Not", &[&is_there], vec![]);
        let flag = as_float(graph, &absent);
        graph.concat(&[kept, flag])
    }
}

fn write_base(graph: &mut GraphBuilder, base: &Base, inputs: &Inputs) -> String {
    let features = base.encoding.write(graph, inputs);
    base.learner.write(graph, &features)
}

fn check_reasons(dataset: &Dataset, options: &TrainOptions) -> Result<()> {
    let names = || dataset.features.iter().map(|feature| feature.name.as_str());
    if let Some(unknown) = options.reasons.keys().find(|name| names().all(|feature| feature != **name)) {
        return Err(Error::new(Kind::Setting, format!("reasons: no such column: '{unknown}'")).with_nearest(unknown, names(), "columns"));
    }
    match (&options.adverse, &dataset.target) {
        (Some(adverse), Target::Classes { names, .. }) if !names.contains(adverse) => Err(Error::new(
            Kind::Setting,
            format!("adverse: no such class: '{adverse}'"),
        )
        .with_nearest(adverse, names.iter().map(String::as_str), "classes")),
        (Some(_), Target::Numbers(_)) => {
            Err(Error::new(Kind::Setting, "adverse: a number has no classes").with_hint("leave the option out"))
        }
        _ => Ok(()),
    }
}

fn check_feature(feature: &crate::dataset::Feature, options: &TrainOptions) -> Result<()> {
    let name = &feature.name;
    let (is_empty, missing) = match &feature.values {
        Values::Numbers(values) => (values.iter().all(|value| value.is_nan()), None),
        Values::Categories { names, .. } => (names.is_empty(), None),
        Values::Vectors { present, .. } => (present.iter().all(|present| !present), present.iter().position(|present| !present)),
    };
    if is_empty {
        return Err(Error::new(Kind::Argument, format!("column '{name}' is NULL in all rows")).with_hint("leave it out"));
    }
    match missing {
        Some(row) if !options.optional.contains(name) => Err(Error::new(Kind::Argument, format!("row {}: '{name}' is NULL", row + 1))
            .with_hint(format!("OPTIONS (optional = ['{name}']) if it may be absent, or leave such rows out: WHERE {name} IS NOT NULL"))),
        _ => Ok(()),
    }
}

/// A feature that is the label under another name: the same numbers, or each of its values goes with one class only and each
/// class with one value.
fn check_leak(dataset: &Dataset, feature: &crate::dataset::Feature) -> Result<()> {
    let value = |row: usize| match &feature.values {
        Values::Numbers(values) => Some(values[row]).filter(|value| !value.is_nan()).map(f32::to_bits),
        Values::Categories { codes, .. } => codes[row],
        Values::Vectors { .. } => None,
    };
    let label = |row: usize| (dataset.target.value(row) as f32).to_bits();
    let is_same = if dataset.target.is_regression() {
        matches!(feature.values, Values::Numbers(_)) && (0..dataset.rows).all(|row| value(row) == Some(label(row)))
    } else {
        let (mut label_of, mut value_of) = (HashMap::new(), HashMap::new());
        let goes_with_one = |row: usize| {
            let Some(value) = value(row) else { return false };
            *label_of.entry(value).or_insert(label(row)) == label(row) && *value_of.entry(label(row)).or_insert(value) == value
        };
        (0..dataset.rows).all(goes_with_one)
    };
    if !is_same {
        return Ok(());
    }
    Err(Error::new(Kind::Argument, format!("column '{}' says the label: each of its values goes with one", feature.name))
        .with_hint("leave it out; what is known only afterwards is no feature"))
}
