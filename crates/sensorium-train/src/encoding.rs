//! Features as columns of numbers, the same way while learning and in the graph.
//!
//! Linear heads see numbers of mean 0 and variance 1 with gaps filled by the mean and a column that says so, categories as one
//! column each, and vectors centred. Trees see numbers as they are, categories as numbers in the order of their mean label
//! (W. Fisher, On Grouping for Maximum Homogeneity, 1958: for two classes and squares no other split is better), and gaps as NaN.

use crate::dataset::{Dataset, Feature, Values};
use crate::onnx::{Attribute, Element, GraphBuilder};

/// Rows of numbers, row by row.
#[derive(Debug, Clone, Default)]
pub(crate) struct Matrix {
    pub(crate) rows: usize,
    pub(crate) width: usize,
    pub(crate) values: Vec<f32>,
}

impl Matrix {
    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..(row + 1) * self.width]
    }

    /// Both side by side.
    pub(crate) fn beside(&self, other: &Self) -> Self {
        let width = self.width + other.width;
        let rows = self.rows.max(other.rows);
        let mut values = Vec::with_capacity(rows * width);
        for row in 0..rows {
            values.extend_from_slice(self.row(row));
            values.extend_from_slice(other.row(row));
        }
        Self { rows, width, values }
    }
}

/// A row, and which features are taken from it to see what becomes of the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) row: u32,
    /// One bit for each feature, from the lowest on.
    pub(crate) dropped: u64,
}

impl Sample {
    pub(crate) fn whole(row: u32) -> Self {
        Self { row, dropped: 0 }
    }

    pub(crate) fn has(self, feature: usize) -> bool {
        feature >= u64::BITS as usize || self.dropped >> feature & 1 == 0
    }
}

/// Columns of one modality.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// The column that is 1 where the modality is absent, if it can be.
    pub(crate) absent: Option<usize>,
}

impl Block {
    pub(crate) fn width(&self) -> usize {
        self.end - self.start
    }
}

/// For whom features are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Linear,
    Trees,
}

/// How one feature is encoded.
#[derive(Debug, Clone)]
enum Part {
    Number { mean: f32, scale: f32, flag: bool },
    Category { names: Vec<String>, codes: Vec<f32>, other: f32, flag: bool },
    Vector { means: Vec<f32>, scale: f32, optional: bool },
}

/// How features are encoded.
#[derive(Debug, Clone)]
pub(crate) struct Encoding {
    style: Style,
    /// With their numbers among the features.
    parts: Vec<(usize, Part)>,
}

/// Rows that a category must have for a column or a place of its own.
const LEAST_ROWS: usize = 10;

impl Encoding {
    /// Looks at the features with these numbers in `samples`.
    pub(crate) fn fit(dataset: &Dataset, features: &[usize], optional: &[bool], samples: &[Sample], style: Style) -> Self {
        let part = |feature: &usize| {
            let part = match &dataset.features[*feature].values {
                Values::Numbers(values) => number(values, samples),
                Values::Categories { codes, names } => category(dataset, codes, names, samples, style),
                Values::Vectors { width, values, present } => vector(*width, values, present, samples, optional[*feature]),
            };
            (*feature, part)
        };
        Self { style, parts: features.iter().map(part).collect() }
    }

    fn part_width(&self, part: &Part) -> usize {
        match (part, self.style) {
            (Part::Number { flag, .. }, Style::Linear) => 1 + usize::from(*flag),
            (Part::Category { names, flag, .. }, Style::Linear) => names.len() + usize::from(*flag),
            (Part::Vector { means, optional, .. }, Style::Linear) => means.len() + usize::from(*optional),
            (Part::Vector { means, .. }, Style::Trees) => means.len(),
            (_, Style::Trees) => 1,
        }
    }

    /// How many columns each feature has.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (usize, usize)> {
        self.parts.iter().map(|(feature, part)| (*feature, self.part_width(part)))
    }

    /// Columns in all.
    pub(crate) fn width(&self) -> usize {
        self.parts.iter().map(|(_, part)| self.part_width(part)).sum()
    }

    /// All columns as one modality.
    pub(crate) fn one_block(&self) -> Vec<Block> {
        vec![Block { start: 0, end: self.width(), absent: None }]
    }

    /// The columns of each vector, and of all other features, which must come first.
    pub(crate) fn blocks(&self) -> Vec<Block> {
        let mut blocks: Vec<Block> = Vec::new();
        let mut start = 0;
        for (_, part) in &self.parts {
            let end = start + self.part_width(part);
            match part {
                Part::Vector { optional, .. } => blocks.push(Block { start, end, absent: optional.then(|| end - 1) }),
                _ => match blocks.last_mut() {
                    Some(block) => block.end = end,
                    None => blocks.push(Block { start, end, absent: None }),
                },
            }
            start = end;
        }
        blocks
    }

    /// The samples encoded.
    pub(crate) fn matrix(&self, dataset: &Dataset, samples: &[Sample]) -> Matrix {
        let width = self.width();
        let mut values = vec![0.0; samples.len() * width];
        for (sample, row) in samples.iter().zip(values.chunks_exact_mut(width.max(1))) {
            let mut place = 0;
            for (feature, part) in &self.parts {
                let end = place + self.part_width(part);
                self.fill(part, &dataset.features[*feature], sample.row as usize, sample.has(*feature), &mut row[place..end]);
                place = end;
            }
        }
        Matrix { rows: samples.len(), width, values }
    }

    fn fill(&self, part: &Part, feature: &Feature, row: usize, is_kept: bool, to: &mut [f32]) {
        match (part, &feature.values, self.style) {
            (Part::Number { mean, scale, flag }, Values::Numbers(values), Style::Linear) => {
                let value = values[row];
                let is_missing = value.is_nan() || !is_kept;
                to[0] = if is_missing { 0.0 } else { (value - mean) * scale };
                if *flag {
                    to[1] = f32::from(u8::from(is_missing));
                }
            }
            (Part::Number { .. }, Values::Numbers(values), Style::Trees) => to[0] = if is_kept { values[row] } else { f32::NAN },
            (Part::Category { names, flag, .. }, Values::Categories { codes, names: all }, Style::Linear) => {
                let name = codes[row].filter(|_| is_kept).map(|code| &all[code as usize]);
                to.fill(0.0);
                if let Some(place) = name.and_then(|name| names.binary_search(name).ok()) {
                    to[place] = 1.0;
                }
                if *flag && name.is_none() {
                    to[names.len()] = 1.0;
                }
            }
            (Part::Category { names, codes: own, other, .. }, Values::Categories { codes, names: all }, Style::Trees) => {
                let name = codes[row].filter(|_| is_kept).map(|code| &all[code as usize]);
                to[0] = name.map_or(f32::NAN, |name| names.binary_search(name).map_or(*other, |place| own[place]));
            }
            (Part::Vector { means, scale, optional }, Values::Vectors { width, values, present }, style) => {
                let is_there = present[row] && is_kept;
                let own = &values[row * width..(row + 1) * width];
                for ((to, value), mean) in to.iter_mut().zip(own).zip(means) {
                    *to = match (is_there, style) {
                        (true, Style::Linear) => (value - mean) * scale,
                        (true, Style::Trees) => *value,
                        (false, Style::Linear) => 0.0,
                        (false, Style::Trees) => f32::NAN,
                    };
                }
                if *optional && style == Style::Linear {
                    to[*width] = f32::from(u8::from(!is_there));
                }
            }
            _ => {}
        }
    }

    /// The same as nodes of a graph: a value of shape `[rows, width]`.
    pub(crate) fn write(&self, graph: &mut GraphBuilder, inputs: &Inputs) -> String {
        let values: Vec<String> =
            self.parts.iter().map(|(feature, part)| self.write_part(graph, part, &inputs.features[*feature])).collect();
        graph.concat(&values)
    }

    fn write_part(&self, graph: &mut GraphBuilder, part: &Part, input: &FeatureInput) -> String {
        match (part, self.style) {
            (Part::Number { mean, scale, flag }, Style::Linear) => {
                let (mean, scale) = (graph.floats(&[1, 1], &[*mean]), graph.floats(&[1, 1], &[*scale]));
                let missing = graph.node("IsNaN", &[&input.value], vec![]);
                let filled = graph.node("Where", &[&missing, &mean, &input.value], vec![]);
                let centred = graph.node("Sub", &[&filled, &mean], vec![]);
                let scaled = graph.node("Mul", &[&centred, &scale], vec![]);
                if !flag {
                    return scaled;
                }
                let flag = as_float(graph, &missing);
                graph.concat(&[scaled, flag])
            }
            (Part::Number { .. }, Style::Trees) => input.value.clone(),
            (Part::Category { names, flag, .. }, Style::Linear) => {
                let missing = std::iter::once("").filter(|_| *flag);
                let keys: Vec<&str> = names.iter().map(String::as_str).chain(missing).collect();
                let places = (0..keys.len() as i64).collect();
                let attributes = vec![
                    Attribute::texts("keys_strings", keys.iter().copied()),
                    Attribute::integers("values_int64s", places),
                    Attribute::integer("default_int64", -1),
                ];
                let place = graph.node("LabelEncoder", &[&input.value], attributes);
                let all: Vec<i64> = (0..keys.len() as i64).collect();
                let all = graph.integers(&[1, all.len()], &all);
                let equal = graph.node("Equal", &[&place, &all], vec![]);
                as_float(graph, &equal)
            }
            (Part::Category { names, codes, other, .. }, Style::Trees) => {
                let keys = names.iter().map(String::as_str).chain([""]);
                let values = codes.iter().copied().chain([f32::NAN]).collect();
                let attributes = vec![
                    Attribute::texts("keys_strings", keys),
                    Attribute::floats("values_floats", values),
                    Attribute::float("default_float", *other),
                ];
                graph.node("LabelEncoder", &[&input.value], attributes)
            }
            (Part::Vector { means, scale, optional }, Style::Linear) => {
                let means_value = graph.floats(&[1, means.len()], means);
                let scale = graph.floats(&[1, 1], &[*scale]);
                let centred = graph.node("Sub", &[&input.value, &means_value], vec![]);
                let scaled = graph.node("Mul", &[&centred, &scale], vec![]);
                match &input.present {
                    Some(present) if *optional => write_masked(graph, &scaled, present),
                    _ => scaled,
                }
            }
            (Part::Vector { .. }, Style::Trees) => match &input.present {
                Some(present) => {
                    let nan = graph.floats(&[1, 1], &[f32::NAN]);
                    let is_there = is_positive(graph, present);
                    graph.node("Where", &[&is_there, &input.value, &nan], vec![])
                }
                None => input.value.clone(),
            },
        }
    }
}

/// The values of a feature in a graph.
#[derive(Debug, Clone)]
pub(crate) struct FeatureInput {
    pub(crate) value: String,
    /// 1 where the value is there, `[rows, 1]`; none where it always is.
    pub(crate) present: Option<String>,
}

/// The values of all features in a graph.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) features: Vec<FeatureInput>,
}

/// A name for a graph input that no feature has.
fn free_name(base: String, dataset: &Dataset) -> String {
    let mut name = base;
    while dataset.features.iter().any(|feature| feature.name == name) {
        name.push('_');
    }
    name
}

/// Name of the graph input that holds all numbers side by side.
pub(crate) fn numbers_name(dataset: &Dataset) -> String {
    free_name("numbers".into(), dataset)
}

/// Name of the graph's output.
pub(crate) fn scores_name(dataset: &Dataset) -> String {
    free_name("scores".into(), dataset)
}

/// Name of the output of the graph that makes columns for trees.
pub(crate) fn columns_name(dataset: &Dataset) -> String {
    free_name("columns".into(), dataset)
}

/// Name of the graph input that says whether a feature is there.
pub(crate) fn present_name(feature: &str, dataset: &Dataset) -> String {
    free_name(format!("{feature}_present"), dataset)
}

/// Makes the inputs of a graph: all numbers side by side, each category and each vector by its own name.
pub(crate) fn write_inputs(graph: &mut GraphBuilder, dataset: &Dataset, optional: &[bool]) -> Inputs {
    let is_number = |feature: &&Feature| matches!(feature.values, Values::Numbers(_));
    let count = dataset.features.iter().filter(is_number).count();
    let numbers = (count > 0).then(|| graph.input(&numbers_name(dataset), Element::Float, count));
    let mut place = 0;
    let mut features = Vec::new();
    for (feature, optional) in dataset.features.iter().zip(optional) {
        let (value, present) = match &feature.values {
            Values::Numbers(_) => {
                let own = graph.integers(&[1], &[place]);
                place += 1;
                (graph.node("Gather", &[numbers.as_deref().unwrap_or_default(), &own], vec![Attribute::integer("axis", 1)]), None)
            }
            Values::Categories { .. } => (graph.input(&feature.name, Element::String, 1), None),
            Values::Vectors { width, .. } => {
                let value = graph.input(&feature.name, Element::Float, *width);
                (value, optional.then(|| graph.input(&present_name(&feature.name, dataset), Element::Float, 1)))
            }
        };
        features.push(FeatureInput { value, present });
    }
    Inputs { features }
}

pub(crate) fn as_float(graph: &mut GraphBuilder, value: &str) -> String {
    graph.node("Cast", &[value], vec![Attribute::integer("to", Element::Float as i64)])
}

/// A value, zero where it is absent, and beside it whether it is.
pub(crate) fn write_masked(graph: &mut GraphBuilder, value: &str, present: &str) -> String {
    let zero = graph.floats(&[1, 1], &[0.0]);
    let is_there = is_positive(graph, present);
    let kept = graph.node("Where", &[&is_there, value, &zero], vec![]);
    let absent = graph.node("Not", &[&is_there], vec![]);
    let flag = as_float(graph, &absent);
    graph.concat(&[kept, flag])
}

pub(crate) fn is_positive(graph: &mut GraphBuilder, value: &str) -> String {
    let zero = graph.floats(&[1, 1], &[0.0]);
    graph.node("Greater", &[value, &zero], vec![])
}

fn number(values: &[f32], samples: &[Sample]) -> Part {
    let own = || samples.iter().map(|sample| values[sample.row as usize]);
    let known = || own().filter(|value| !value.is_nan()).map(f64::from);
    let count = known().count().max(1) as f64;
    let mean = known().sum::<f64>() / count;
    let variance = known().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    let scale = if variance > 0.0 { 1.0 / variance.sqrt() } else { 0.0 };
    Part::Number { mean: mean as f32, scale: scale as f32, flag: own().any(f32::is_nan) }
}

fn category(dataset: &Dataset, codes: &[Option<u32>], names: &[String], samples: &[Sample], style: Style) -> Part {
    let mut rows = vec![(0, 0.0); names.len()];
    let (mut rest, mut all, mut flag) = ((0, 0.0), 0.0, false);
    for sample in samples {
        let row = sample.row as usize;
        let label = dataset.target.value(row);
        all += label;
        match codes[row] {
            Some(code) => rows[code as usize] = (rows[code as usize].0 + 1, rows[code as usize].1 + label),
            None => flag = true,
        }
    }
    let overall = all / samples.len().max(1) as f64;
    let mut kept: Vec<(String, f64)> = Vec::new();
    for (name, (count, sum)) in names.iter().zip(&rows) {
        if *count >= LEAST_ROWS {
            // A few rows say little: the mean is drawn to that of all.
            kept.push((name.clone(), (sum + overall * LEAST_ROWS as f64) / (*count + LEAST_ROWS) as f64));
        } else {
            rest = (rest.0 + count, rest.1 + sum);
        }
    }
    kept.sort_by(|a, b| a.0.cmp(&b.0));
    let other_mean = (rest.1 + overall * LEAST_ROWS as f64) / (rest.0 + LEAST_ROWS) as f64;
    let codes = match style {
        Style::Linear => Vec::new(),
        Style::Trees => kept.iter().map(|(_, mean)| *mean as f32).collect(),
    };
    Part::Category { names: kept.into_iter().map(|(name, _)| name).collect(), codes, other: other_mean as f32, flag }
}

fn vector(width: usize, values: &[f32], present: &[bool], samples: &[Sample], optional: bool) -> Part {
    let mut means = vec![0.0_f64; width];
    let (mut squares, mut count) = (0.0_f64, 0.0_f64);
    for sample in samples.iter().map(|sample| sample.row as usize).filter(|row| present[*row]) {
        let own = &values[sample * width..(sample + 1) * width];
        means.iter_mut().zip(own).for_each(|(mean, value)| *mean += f64::from(*value));
        squares += own.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
        count += 1.0;
    }
    let count = count.max(1.0);
    means.iter_mut().for_each(|mean| *mean /= count);
    let variance = squares / count - means.iter().map(|mean| mean * mean).sum::<f64>();
    let scale = if variance > 0.0 { (width as f64 / variance).sqrt() } else { 0.0 };
    Part::Vector { means: means.into_iter().map(|mean| mean as f32).collect(), scale: scale as f32, optional }
}
