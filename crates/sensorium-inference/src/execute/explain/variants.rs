//! Rows for a head that are put together from a row and from what stands in for values that it is not to know.

use std::collections::HashMap;
use std::sync::Arc;

use ort::value::Tensor;

use super::super::sessions::Feeds;
use super::super::tensor::{Data, HostTensor};
use crate::error::{Error, Kind, Result};
use crate::package::{Feed, Manifest, Source};

/// What a row is given for an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// Its own value.
    Own,
    /// Nothing, for a modality: the mask of one that may be absent, the mean of another.
    Absent,
    /// One of the values that were drawn for the column.
    Drawn(usize),
}

/// What stands in for an input's values.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum StandIn {
    /// Of a column of numbers.
    Numbers(Vec<f32>),
    /// Of a column of categories.
    Texts(Vec<String>),
    /// Of a vector that cannot be absent.
    Mean(Vec<f32>),
    /// The graph masks what is absent.
    Mask,
}

/// A graph input of the head.
#[derive(Debug)]
pub(super) struct HeadFeed {
    pub(super) feed: Feed,
    /// The input of each column, or the one of all.
    inputs: Vec<usize>,
    is_presence: bool,
}

impl HeadFeed {
    pub(super) fn new(manifest: &Manifest, feed: &Feed) -> Result<Self> {
        let place = |name: &String| {
            let found = manifest.inputs.iter().position(|input| input.name == *name);
            found.ok_or_else(|| Error::new(Kind::Package, format!("no input '{name}'")))
        };
        let inputs = match &feed.source {
            Source::Columns { inputs } => inputs.iter().map(place).collect::<Result<_>>()?,
            Source::Vector { input } | Source::Present { input } => vec![place(input)?],
            Source::Output(reference) => vec![place(&encoded_input(manifest, &reference.stage)?)?],
            _ => return Err(Error::new(Kind::Package, format!("graph input {} cannot be changed", feed.port))),
        };
        Ok(Self { feed: feed.clone(), inputs, is_presence: matches!(feed.source, Source::Present { .. }) })
    }
}

/// The input that an encoder's graph looks at.
fn encoded_input(manifest: &Manifest, stage: &str) -> Result<String> {
    let feeds = manifest.stage(stage).map(|stage| stage.feeds.as_slice()).unwrap_or_default();
    let input = feeds.iter().find_map(|feed| feed.source.input());
    match (input, feeds.iter().find_map(|feed| feed.source.earlier_stage())) {
        (Some(input), _) => Ok(input.to_string()),
        (None, Some(earlier)) if earlier != stage => encoded_input(manifest, earlier),
        _ => Err(Error::new(Kind::Package, format!("graph '{stage}' looks at no input"))),
    }
}

enum Values {
    Floats(Vec<f32>),
    Texts(Vec<String>),
}

/// Rows that are put together.
pub(super) struct Variants<'a> {
    feeds: &'a [HeadFeed],
    stand_ins: &'a [StandIn],
    own: &'a [HostTensor],
    values: Vec<Values>,
    pub(super) rows: usize,
}

impl<'a> Variants<'a> {
    /// `own` are the tensors of the rows themselves, one for each feed.
    pub(super) fn new(feeds: &'a [HeadFeed], stand_ins: &'a [StandIn], own: &'a [HostTensor]) -> Self {
        let empty =
            |tensor: &HostTensor| if matches!(tensor.data, Data::Text(_)) { Values::Texts(Vec::new()) } else { Values::Floats(Vec::new()) };
        Self { feeds, stand_ins, own, values: own.iter().map(empty).collect(), rows: 0 }
    }

    /// Adds `row` with the values that `choose` gives each input.
    pub(super) fn push(&mut self, row: usize, choose: &dyn Fn(usize) -> Choice) {
        for ((feed, tensor), values) in self.feeds.iter().zip(self.own).zip(&mut self.values) {
            let width = tensor.width();
            let range = row * width..(row + 1) * width;
            match (values, &tensor.data) {
                (Values::Texts(to), Data::Text(from)) => {
                    for (input, own) in feed.inputs.iter().zip(&from[range]) {
                        to.push(match (choose(*input), &self.stand_ins[*input]) {
                            (Choice::Drawn(draw), StandIn::Texts(drawn)) => drawn[draw].clone(),
                            _ => own.clone(),
                        });
                    }
                }
                (Values::Floats(to), Data::Float32(from)) => {
                    let own = &from[range];
                    if let [input] = feed.inputs.as_slice()
                        && (width != 1 || !matches!(self.stand_ins[*input], StandIn::Numbers(_)))
                    {
                        match (choose(*input), &self.stand_ins[*input]) {
                            (Choice::Absent, _) if feed.is_presence => to.push(0.0),
                            (Choice::Absent, StandIn::Mean(mean)) => to.extend_from_slice(mean),
                            _ => to.extend_from_slice(own),
                        }
                        continue;
                    }
                    for (input, own) in feed.inputs.iter().zip(own) {
                        to.push(match (choose(*input), &self.stand_ins[*input]) {
                            (Choice::Drawn(draw), StandIn::Numbers(drawn)) => drawn[draw],
                            _ => *own,
                        });
                    }
                }
                _ => {}
            }
        }
        self.rows += 1;
    }

    /// Forgets all rows.
    pub(super) fn clear(&mut self) {
        self.rows = 0;
        self.values.iter_mut().for_each(|values| match values {
            Values::Floats(values) => values.clear(),
            Values::Texts(values) => values.clear(),
        });
    }

    /// The tensors for a graph that takes some of the head's inputs.
    pub(super) fn feeds(&self, wanted: &[Feed]) -> Result<Feeds> {
        let places: HashMap<&str, usize> =
            self.feeds.iter().enumerate().map(|(place, feed)| (feed.feed.port.name.as_str(), place)).collect();
        let tensor = |feed: &Feed| {
            let failed = |error: ort::Error| Error::new(Kind::Model, format!("cannot fill graph input {}: {error}", feed.port));
            let place =
                places.get(feed.port.name.as_str()).ok_or_else(|| Error::new(Kind::Package, format!("no graph input {}", feed.port)))?;
            let width = self.own[*place].width();
            let shape: Vec<i64> = if feed.port.shape.len() == 1 { vec![self.rows as i64] } else { vec![self.rows as i64, width as i64] };
            let value = match &self.values[*place] {
                Values::Floats(values) => Tensor::from_array((shape, values.clone())).map_err(failed)?.into_dyn(),
                Values::Texts(values) => Tensor::from_string_array((shape, values.as_slice())).map_err(failed)?.into_dyn(),
            };
            Ok((feed.port.name.clone(), Arc::new(value)))
        };
        wanted.iter().map(tensor).collect()
    }
}
