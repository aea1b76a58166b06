//! From rows to a model: which head, which fusion, and the graph of it.

mod checks;
mod graph;
mod samples;
mod stacking;

use sensorium_inference::{Cancel, Error, Kind, Result, Training, TreeColumns};

use self::checks::{check_feature, check_leak, check_reasons};

use crate::dataset::{Dataset, Values};
use crate::encoding::{Block, Encoding, Matrix, Sample};
use crate::learners::{Control, Fit, Learner};
use crate::options::{Fusion, Head, TrainOptions};
use crate::profile::training;
use crate::score::{Score, score};
use crate::split::{Fold, folds};

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

/// Parts of a cross-validation where nothing is said.
const FOLDS: usize = 5;
/// Rows from which on a fifth of them says enough of a model, if nothing has to be chosen.
const MANY_ROWS: usize = 20_000;
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
}
