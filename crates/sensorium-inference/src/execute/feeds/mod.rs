//! The input tensors of one graph for one batch.

mod frames;
mod series;

use std::borrow::Cow;
use std::collections::HashMap;

use arrow::array::{ArrowPrimitiveType, AsArray};
use arrow::datatypes::{Float32Type, Float64Type, Int8Type, Int32Type, Int64Type, UInt8Type};
use half::f16;
use ort::memory::Allocator;
use ort::value::{DynValue, PrimitiveTensorElementType, Tensor};

use super::encode::Encoded;
use super::rows::run_of;
use crate::error::{Error, Kind, Result};
use crate::modality::{Column, row_wise, row_wise_of};
use crate::package::{Element, Feed, Layout, Manifest, Modality, OutputRef, Port, Source, TextSpec, TokenPart};

/// The rows of one batch and all that is known of them.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) columns: &'a HashMap<String, Column>,
    pub(super) encoded: &'a Encoded,
    /// Row of each position of the window.
    pub(super) window: &'a [usize],
    /// Padded lengths are multiples of this, where padding does not change answers.
    pub(super) token_multiple: usize,
    /// Positions in the window; the last is repeated where a graph wants a fixed number.
    pub(super) positions: Cow<'a, [usize]>,
}

fn failed(port: &Port, error: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Model, format!("cannot fill graph input {port}: {error}"))
}

fn tensor<T>(port: &Port, shape: Vec<usize>, values: Vec<T>) -> Result<DynValue>
where
    T: PrimitiveTensorElementType + std::fmt::Debug + Clone + 'static,
{
    let shape: Vec<i64> = shape.into_iter().map(|size| size as i64).collect();
    Tensor::from_array((shape, values)).map(ort::value::Value::into_dyn).map_err(|error| failed(port, &error))
}

/// A tensor whose values `fill` writes, all of them, into memory that was not cleared for it.
fn filled<T>(port: &Port, shape: &[usize], fill: impl FnOnce(&mut [T])) -> Result<DynValue>
where
    T: PrimitiveTensorElementType + std::fmt::Debug,
{
    let mut tensor = Tensor::<T>::new(&Allocator::default(), shape).map_err(|error| failed(port, &error))?;
    fill(tensor.try_extract_tensor_mut().map_err(|error| failed(port, &error))?.1);
    Ok(tensor.into_dyn())
}

/// Numbers that were made as `f64`, in the type of the graph.
pub(super) fn numbers(port: &Port, shape: Vec<usize>, values: impl Iterator<Item = f64>) -> Result<DynValue> {
    match port.element {
        Element::Float16 => tensor(port, shape, values.map(f16::from_f64).collect()),
        Element::Float32 => tensor(port, shape, values.map(|value| value as f32).collect()),
        Element::Float64 => tensor(port, shape, values.collect()),
        Element::Int8 => tensor(port, shape, values.map(|value| value as i8).collect()),
        Element::Int32 => tensor(port, shape, values.map(|value| value as i32).collect()),
        Element::Int64 => tensor(port, shape, values.map(|value| value as i64).collect()),
        Element::Uint8 => tensor(port, shape, values.map(|value| value as u8).collect()),
        Element::Bool => tensor(port, shape, values.map(|value| value != 0.0).collect()),
        Element::String | Element::ZipMap => Err(failed(port, &"numbers for text")),
    }
}

/// 32-bit values, which are the graph's type in nearly all cases.
pub(super) fn floats(port: &Port, shape: Vec<usize>, values: Vec<f32>) -> Result<DynValue> {
    match port.element {
        Element::Float32 => tensor(port, shape, values),
        _ => numbers(port, shape, values.into_iter().map(f64::from)),
    }
}

impl Batch<'_> {
    fn rows(&self) -> impl Iterator<Item = usize> {
        self.positions.iter().map(|position| self.window[*position])
    }

    fn column(&self, input: &str) -> Result<&Column> {
        self.columns.get(input).ok_or_else(|| Error::new(Kind::Package, format!("no input '{input}'")))
    }

    /// The tensor of one graph input. `earlier` holds the vectors of stages that ran before.
    pub(super) fn feed(&self, feed: &Feed, earlier: &HashMap<OutputRef, Vec<f32>>) -> Result<DynValue> {
        let port = &feed.port;
        match &feed.source {
            Source::Columns { inputs } => self.columns(port, inputs),
            Source::Vector { input } => self.vector(port, input),
            Source::Tokens { input, part } => self.tokens(port, input, *part),
            Source::Pixels { input } => self.pixels(port, input),
            Source::Frames { input } => self.frames(port, input),
            Source::Present { input } => {
                let column = self.column(input)?;
                numbers(port, self.flat_shape(port, 1), self.rows().map(|row| f64::from(u8::from(column.is_present(row)))))
            }
            Source::Constant { value, shape } => numbers(port, shape.clone(), (0..shape.iter().product()).map(|_| *value)),
            Source::Sound { input } => self.sound(port, input),
            Source::SoundMask { input } => self.sound_mask(port, input),
            Source::Queries => {
                let inputs: Vec<String> = self.manifest.inputs.iter().map(|input| input.name.clone()).collect();
                self.columns(port, &inputs)
            }
            Source::ContextFeatures | Source::ContextLabels | Source::ContextState { .. } => Err(failed(port, &"the same for all rows")),
            Source::Series { input } => self.series(port, input),
            Source::SeriesMask { input } => self.series_mask(port, input),
            Source::SeriesObserved { input } => self.series_observed(port, input),
            Source::Crops => Err(failed(port, &"pieces of a picture come from an earlier stage")),
            Source::States { .. }
            | Source::StatesMask
            | Source::MarkedStates { .. }
            | Source::Embedded { .. }
            | Source::Asked { .. }
            | Source::Loop
            | Source::Written
            | Source::WrittenPositions
            | Source::WrittenPlaces
            | Source::WrittenMask
            | Source::Carried { .. }
            | Source::UsesCache => Err(failed(port, &"a decoder runs step by step")),
            Source::Output(reference) => {
                let values = earlier.get(reference).ok_or_else(|| failed(port, &"its stage did not run"))?;
                let width = values.len() / self.positions.len().max(1);
                floats(port, vec![self.positions.len(), width], values.clone())
            }
        }
    }

    fn flat_shape(&self, port: &Port, width: usize) -> Vec<usize> {
        if port.shape.len() == 1 { vec![self.positions.len()] } else { vec![self.positions.len(), width] }
    }

    fn columns(&self, port: &Port, inputs: &[String]) -> Result<DynValue> {
        let shape = self.flat_shape(port, inputs.len());
        let columns = inputs.iter().map(|input| self.column(input)).collect::<Result<Vec<_>>>()?;
        if port.element == Element::String {
            let strings: Vec<_> = columns.iter().map(|column| column.values.as_string::<i32>()).collect();
            // ort takes string tensors of 'static types only.
            let texts: Vec<String> = self.rows().flat_map(|row| strings.iter().map(move |values| values.value(row).to_string())).collect();
            let shape: Vec<i64> = shape.into_iter().map(|size| size as i64).collect();
            return Tensor::from_string_array((shape, texts.as_slice()))
                .map(ort::value::Value::into_dyn)
                .map_err(|error| failed(port, &error));
        }
        macro_rules! gather {
            ($arrow:ty) => {{
                let sources: Vec<&[<$arrow as ArrowPrimitiveType>::Native]> =
                    columns.iter().map(|column| &column.values.as_primitive::<$arrow>().values()[..]).collect();
                self.turned(port, &shape, &sources)
            }};
        }
        match port.element {
            Element::Float32 => gather!(Float32Type),
            Element::Float64 => gather!(Float64Type),
            Element::Int8 => gather!(Int8Type),
            Element::Int32 => gather!(Int32Type),
            Element::Int64 => gather!(Int64Type),
            Element::Uint8 => gather!(UInt8Type),
            Element::Float16 => {
                let sources: Vec<&[f32]> = columns.iter().map(|column| &column.values.as_primitive::<Float32Type>().values()[..]).collect();
                let values = self.rows().flat_map(|row| sources.iter().map(move |source| source[row])).collect();
                floats(port, shape, values)
            }
            Element::Bool => {
                let bits = self.rows().flat_map(|row| columns.iter().map(move |column| column.values.as_boolean().value(row)));
                tensor(port, shape, bits.collect())
            }
            Element::String | Element::ZipMap => Err(failed(port, &"text for numbers")),
        }
    }

    /// The values of all columns for the rows of the batch, those of one row side by side.
    fn turned<T>(&self, port: &Port, shape: &[usize], sources: &[&[T]]) -> Result<DynValue>
    where
        T: PrimitiveTensorElementType + std::fmt::Debug + Copy + 'static,
    {
        if let Some(rows) = run_of(self.rows()) {
            let sources: Vec<&[T]> = sources.iter().map(|source| &source[rows.clone()]).collect();
            return filled(port, shape, |values| row_wise(&sources, values));
        }
        let rows: Vec<usize> = self.rows().collect();
        filled(port, shape, |values| row_wise_of(sources, &rows, values))
    }

    fn vector(&self, port: &Port, input: &str) -> Result<DynValue> {
        let column = self.column(input)?;
        let Some(Modality::Vector { width, .. }) = self.manifest.input(input).map(|input| &input.modality) else {
            return Err(failed(port, &"not a vector"));
        };
        let shape = vec![self.positions.len(), *width];
        macro_rules! gather {
            ($arrow:ty) => {{
                let values = column.values.as_primitive::<$arrow>().values();
                self.rows().flat_map(|row| &values[row * width..(row + 1) * width]).copied().collect::<Vec<_>>()
            }};
        }
        match port.element {
            Element::Float32 => tensor(port, shape, gather!(Float32Type)),
            Element::Float16 => floats(port, shape, gather!(Float32Type)),
            Element::Float64 => tensor(port, shape, gather!(Float64Type)),
            Element::Int8 => tensor(port, shape, gather!(Int8Type)),
            Element::Int32 => tensor(port, shape, gather!(Int32Type)),
            Element::Int64 => tensor(port, shape, gather!(Int64Type)),
            Element::Uint8 => tensor(port, shape, gather!(UInt8Type)),
            Element::Bool => {
                let bits =
                    self.rows().flat_map(|row| (row * width..(row + 1) * width).map(|place| column.values.as_boolean().value(place)));
                tensor(port, shape, bits.collect())
            }
            Element::String | Element::ZipMap => Err(failed(port, &"text for numbers")),
        }
    }

    /// Tokens of each row without padding, and the padded length of the batch.
    pub(super) fn token_lengths(&self, input: &str) -> Option<(Vec<usize>, usize)> {
        let tokens = self.encoded.tokens.get(input)?;
        let lengths: Vec<usize> = self.positions.iter().map(|position| tokens[*position].ids.len()).collect();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let padded = match self.manifest.input(input).map(|input| &input.modality) {
            Some(Modality::Text(TextSpec { fixed_tokens: Some(fixed), .. })) => *fixed,
            Some(Modality::Text(spec)) if spec.masked => longest.next_multiple_of(self.token_multiple).min(spec.max_tokens.max(longest)),
            _ => longest,
        };
        Some((lengths, padded))
    }

    /// Tokens of all texts of the batch without padding, and with.
    pub(super) fn tokens_and_padding(&self) -> (usize, usize) {
        let of_inputs = self.encoded.tokens.keys().filter_map(|input| self.token_lengths(input));
        of_inputs
            .fold((0, 0), |(tokens, padded), (lengths, longest)| (tokens + lengths.iter().sum::<usize>(), padded + longest * lengths.len()))
    }

    fn tokens(&self, port: &Port, input: &str, part: TokenPart) -> Result<DynValue> {
        let (Some(tokens), Some((_, padded))) = (self.encoded.tokens.get(input), self.token_lengths(input)) else {
            return Err(failed(port, &"not a text"));
        };
        let pad = match self.manifest.input(input).map(|input| &input.modality) {
            Some(Modality::Text(spec)) => spec.pad_token,
            _ => 0,
        };
        let mut values: Vec<i64> = Vec::with_capacity(self.positions.len() * padded);
        for position in self.positions.iter() {
            let row = &tokens[*position];
            let end = values.len() + padded;
            match part {
                TokenPart::InputIds => values.extend(row.ids.iter().map(|id| i64::from(*id))),
                TokenPart::TokenTypeIds => values.extend(row.segments.iter().map(|id| i64::from(*id))),
                TokenPart::AttentionMask => values.extend(row.ids.iter().map(|_| 1)),
                TokenPart::PositionIds => values.extend((0..padded).map(|place| place as i64)),
            }
            values.resize(end, if part == TokenPart::InputIds { i64::from(pad) } else { 0 });
        }
        let shape = vec![self.positions.len(), padded];
        match port.element {
            Element::Int64 => tensor(port, shape, values),
            _ => numbers(port, shape, values.into_iter().map(|value| value as f64)),
        }
    }

    /// Samples of each sound, and of the longest of the batch.
    fn sound_lengths(&self, port: &Port, input: &str) -> Result<(Vec<&[f32]>, usize)> {
        let sounds = self.encoded.sounds.get(input).ok_or_else(|| failed(port, &"not a sound"))?;
        let sounds: Vec<&[f32]> = self.positions.iter().map(|position| sounds[*position].as_slice()).collect();
        let longest = sounds.iter().map(|sound| sound.len()).max().unwrap_or(0);
        // A graph still needs something where all are absent.
        Ok((sounds, longest.max(1)))
    }

    fn sound(&self, port: &Port, input: &str) -> Result<DynValue> {
        let Some(Modality::Audio(spec)) = self.manifest.input(input).map(|input| &input.modality) else {
            return Err(failed(port, &"not a sound"));
        };
        let (sounds, longest) = self.sound_lengths(port, input)?;
        if let Some(counts) = self.patch_counts(input) {
            return frames::patches(port, &sounds, counts);
        }
        let shape: Vec<usize> = match spec.fixed_shape() {
            Some(fixed) => [sounds.len()].into_iter().chain(fixed).collect(),
            None => vec![sounds.len(), longest],
        };
        let place = |values: &mut [f32]| {
            let width = values.len() / sounds.len().max(1);
            for (sound, padded) in sounds.iter().zip(values.chunks_exact_mut(width.max(1))) {
                padded[..sound.len()].copy_from_slice(sound);
                padded[sound.len()..].fill(0.0);
            }
        };
        if port.element == Element::Float32 {
            return filled(port, &shape, place);
        }
        let mut values = vec![0.0; shape.iter().product()];
        place(&mut values);
        floats(port, shape, values)
    }

    fn sound_mask(&self, port: &Port, input: &str) -> Result<DynValue> {
        let (sounds, longest) = self.sound_lengths(port, input)?;
        let mask = sounds.iter().flat_map(|sound| (0..longest).map(|place| f64::from(u8::from(place < sound.len()))));
        numbers(port, vec![sounds.len(), longest], mask)
    }

    fn pixels(&self, port: &Port, input: &str) -> Result<DynValue> {
        let (Some(pixels), Some(Modality::Image(spec))) =
            (self.encoded.pixels.get(input), self.manifest.input(input).map(|input| &input.modality))
        else {
            return Err(failed(port, &"not a picture"));
        };
        let size = spec.size()?;
        let (height, width, channels) = (size.height as usize, size.width as usize, spec.channels());
        let shape = match spec.layout {
            Layout::Nchw => vec![self.positions.len(), channels, height, width],
            Layout::Nhwc => vec![self.positions.len(), height, width, channels],
        };
        let place = |values: &mut [f32]| {
            for (position, picture) in self.positions.iter().zip(values.chunks_exact_mut((height * width * channels).max(1))) {
                match pixels[*position].as_slice() {
                    [] => picture.fill(0.0),
                    own => picture.copy_from_slice(own),
                }
            }
        };
        if port.element == Element::Float32 {
            return filled(port, &shape, place);
        }
        let mut values = vec![0.0; shape.iter().product()];
        place(&mut values);
        floats(port, shape, values)
    }
}
