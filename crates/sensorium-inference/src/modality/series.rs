//! Windows of measurements to tensors.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Float64Builder, LargeListArray, LargeListBuilder, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type};

use crate::error::{Error, Kind, Result};
use crate::package::{Channels, Longer, Missing, SeriesScale, SeriesSpec, Shorter};

/// One row's window, ready for the graph.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Window {
    /// `[steps, channels]`.
    pub(crate) values: Vec<f32>,
    /// Where `values` were measured, in the same order.
    pub(crate) observed: Vec<bool>,
    /// The steps that are not padding.
    pub(crate) valid: std::ops::Range<usize>,
}

/// Whether a column of `data_type` holds windows with the channels of `spec`.
pub(crate) fn is_series(data_type: &DataType, spec: &SeriesSpec) -> bool {
    let is_measurement = |data_type: &DataType| data_type.is_numeric() || data_type.is_null() || *data_type == DataType::Boolean;
    let step = match list_item(data_type) {
        Some(step) => step,
        None => return false,
    };
    match (step, &spec.channels) {
        (DataType::Struct(fields), Channels::Names(names)) => {
            names.iter().all(|name| fields.iter().any(|field| field.name() == name && is_measurement(field.data_type())))
        }
        (DataType::FixedSizeList(item, size), channels) => {
            usize::try_from(*size) == Ok(channels.count()) && is_measurement(item.data_type())
        }
        (DataType::List(item) | DataType::LargeList(item), _) => is_measurement(item.data_type()),
        (step, channels) => channels.count() == 1 && is_measurement(step),
    }
}

fn list_item(data_type: &DataType) -> Option<&DataType> {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => Some(item.data_type()),
        _ => None,
    }
}

fn failed(error: &arrow::error::ArrowError) -> Error {
    Error::new(Kind::Argument, format!("cannot read the column: {error}"))
}

fn numbers(array: &ArrayRef) -> Result<Float64Array> {
    Ok(cast(array, &DataType::Float64).map_err(|error| failed(&error))?.as_primitive::<Float64Type>().clone())
}

fn lists(array: &ArrayRef, item: &DataType) -> Result<LargeListArray> {
    let to = DataType::LargeList(Arc::new(Field::new_list_field(item.clone(), true)));
    Ok(cast(array, &to).map_err(|error| failed(&error))?.as_list::<i64>().clone())
}

/// Windows of any encoding as lists of `steps * channels` numbers, NULL where not measured. The rows that cannot be read
/// come with the reason.
pub(crate) fn series(array: &ArrayRef, spec: &SeriesSpec, max_steps: usize) -> Result<(ArrayRef, Vec<(usize, Error)>)> {
    let channels = spec.channels.count();
    let Some(step) = list_item(array.data_type()) else {
        let none = LargeListBuilder::new(Float64Builder::new());
        return Ok((nulls(none, array.len()), Vec::new()));
    };
    if list_item(step).is_none() && !matches!(step, DataType::Struct(_)) {
        return Ok((Arc::new(lists(array, &DataType::Float64)?), Vec::new()));
    }
    let outer = lists(array, step)?;
    let steps = outer.values();
    let mut failures = Vec::new();
    let mut builder = LargeListBuilder::new(Float64Builder::new());
    let columns = match steps.as_any().downcast_ref::<StructArray>() {
        Some(structs) => Some(named(structs, spec)?),
        None => None,
    };
    let inner = if columns.is_none() { Some(lists(steps, &DataType::Float64)?) } else { None };
    let of_lists = inner.as_ref().map(|inner| inner.values().as_primitive::<Float64Type>());
    for row in 0..outer.len() {
        if outer.is_null(row) {
            builder.append_null();
            continue;
        }
        let range = outer.value_offsets()[row] as usize..outer.value_offsets()[row + 1] as usize;
        if range.len() > max_steps {
            failures.push((row, too_long(range.len(), max_steps)));
            builder.append_null();
            continue;
        }
        for step in range.clone() {
            match (&columns, &inner, of_lists) {
                (Some(columns), ..) => {
                    columns.iter().for_each(|column| builder.values().append_option(column.is_valid(step).then(|| column.value(step))));
                }
                (_, Some(inner), Some(values)) if inner.is_valid(step) => {
                    let own = inner.value_offsets()[step] as usize..inner.value_offsets()[step + 1] as usize;
                    if own.len() != channels {
                        let why = format!("step {} has {} numbers, expected {channels}", step - range.start, own.len());
                        failures.push((row, Error::new(Kind::Media, why)));
                        break;
                    }
                    own.for_each(|place| builder.values().append_option(values.is_valid(place).then(|| values.value(place))));
                }
                // A step that is NULL as a whole was not measured.
                _ => (0..channels).for_each(|_| builder.values().append_null()),
            }
        }
        builder.append(true);
    }
    Ok((Arc::new(builder.finish()), failures))
}

fn too_long(steps: usize, max_steps: usize) -> Error {
    Error::new(Kind::Limit, format!("{steps} steps are over the limit of {max_steps}")).with_hint("SET mm.max_series_steps")
}

fn nulls(mut builder: LargeListBuilder<Float64Builder>, rows: usize) -> ArrayRef {
    (0..rows).for_each(|_| builder.append_null());
    Arc::new(builder.finish())
}

/// The fields of a step in the order of the channels, NULL where the step is.
fn named(structs: &StructArray, spec: &SeriesSpec) -> Result<Vec<Float64Array>> {
    let Channels::Names(names) = &spec.channels else {
        return Err(Error::new(Kind::Argument, "the package does not name its channels, so that a step cannot be a struct"));
    };
    let column = |name: &String| {
        let column = structs.column_by_name(name).ok_or_else(|| Error::new(Kind::Argument, format!("no field '{name}' in a step")))?;
        let own = numbers(column)?;
        let valid = arrow::buffer::NullBuffer::union(own.nulls(), structs.nulls());
        Ok(Float64Array::new(own.values().clone(), valid))
    };
    names.iter().map(column).collect()
}

/// The window of one row. `samples` are `[steps, channels]`, NaN where not measured; at most `max_steps` steps.
///
/// # Errors
/// [`Kind::Limit`] for more steps, [`Kind::Media`] for a window that the package does not say how to bring to its shape.
pub(crate) fn window(mut samples: Vec<f64>, spec: &SeriesSpec, max_steps: usize) -> Result<Window> {
    let channels = spec.channels.count();
    let steps = samples.len() / channels;
    let wrong = |what: String| Error::new(Kind::Media, what);
    if steps > max_steps {
        return Err(too_long(steps, max_steps));
    }
    if steps == 0 {
        return Err(wrong("a window without steps".into()));
    }
    if let Some(place) = samples.iter().position(|value| value.is_infinite()) {
        return Err(wrong(format!("step {}, channel {} is infinite", place / channels, place % channels)));
    }
    fill_gaps(&mut samples, spec)?;
    if let Some(place) = samples.iter().position(|value| value.abs() > f64::from(f32::MAX)) {
        return Err(wrong(format!("step {}, channel {} is too large", place / channels, place % channels)));
    }
    let mut samples = fit(samples, spec)?;
    scale(&mut samples, spec);
    let observed: Vec<bool> = samples.iter().map(|value| !value.is_nan()).collect();
    let stand_in = if let Some(Missing::Number(value)) = spec.missing { value } else { 0.0 };
    let mut values: Vec<f32> = samples.iter().map(|value| if value.is_nan() { stand_in as f32 } else { *value as f32 }).collect();
    if let Some(place) = values.iter().position(|value| !value.is_finite()) {
        return Err(wrong(format!("step {}, channel {} is too large", place / channels, place % channels)));
    }
    let (steps, mut observed) = (values.len() / channels, observed);
    let padding = spec.steps.map_or(0, |wanted| wanted.saturating_sub(steps));
    if spec.shorter == Some(Shorter::PadStart) {
        values.splice(0..0, std::iter::repeat_n(0.0, padding * channels));
        observed.splice(0..0, std::iter::repeat_n(false, padding * channels));
        return Ok(Window { values, observed, valid: padding..padding + steps });
    }
    values.resize(values.len() + padding * channels, 0.0);
    observed.resize(observed.len() + padding * channels, false);
    Ok(Window { values, observed, valid: 0..steps })
}

/// Fills what was not measured from its neighbours in time, where the package says so.
fn fill_gaps(samples: &mut [f64], spec: &SeriesSpec) -> Result<()> {
    let channels = spec.channels.count();
    let Some(gap) = samples.iter().position(|value| value.is_nan()) else { return Ok(()) };
    let is_linear = match &spec.missing {
        Some(Missing::Text(how)) => how == "linear",
        Some(Missing::Number(_)) => return Ok(()),
        None if spec.observed => return Ok(()),
        None => {
            let error = Error::new(Kind::Media, format!("step {}, channel {} is missing", gap / channels, gap % channels));
            return Err(
                error.with_hint("write `missing = 0.0`, \"linear\" or \"last\" into the package's series, or leave such windows out")
            );
        }
    };
    for channel in 0..channels {
        let known: Vec<(usize, f64)> =
            samples.iter().skip(channel).step_by(channels).copied().enumerate().filter(|(_, value)| !value.is_nan()).collect();
        if known.is_empty() {
            return Err(Error::new(Kind::Media, format!("channel {channel} has no measurement at all")));
        }
        for (step, value) in samples.iter_mut().skip(channel).step_by(channels).enumerate().filter(|(_, value)| value.is_nan()) {
            let behind = known.partition_point(|(place, _)| *place < step);
            *value = match (behind.checked_sub(1).map(|place| known[place]), known.get(behind)) {
                (Some((left, before)), Some((right, after))) if is_linear => {
                    before + (after - before) * (step - left) as f64 / (right - left) as f64
                }
                (Some((_, before)), _) => before,
                (None, Some((_, after))) => *after,
                (None, None) => f64::NAN,
            };
        }
    }
    Ok(())
}

/// Cuts or resamples to the steps of the package.
fn fit(samples: Vec<f64>, spec: &SeriesSpec) -> Result<Vec<f64>> {
    let channels = spec.channels.count();
    let steps = samples.len() / channels;
    let Some(wanted) = spec.steps.filter(|wanted| *wanted != steps) else { return Ok(samples) };
    let refuse = |what: &str, key: &str| {
        let error = Error::new(Kind::Media, format!("{steps} steps are {what} than the {wanted} that the model takes"));
        Err(error.with_hint(format!("cut windows of {wanted} steps, or write `{key}` into the package's series")))
    };
    match (steps < wanted, spec.shorter, spec.longer) {
        (true, None, _) => refuse("fewer", "shorter = \"pad_end\""),
        (true, Some(Shorter::PadEnd | Shorter::PadStart), _) => Ok(samples),
        (false, _, None) => refuse("more", "longer = \"keep_last\""),
        (false, _, Some(Longer::KeepLast)) => Ok(samples[(steps - wanted) * channels..].to_vec()),
        (false, _, Some(Longer::KeepFirst)) => Ok(samples[..wanted * channels].to_vec()),
        (true, Some(Shorter::Resample), _) | (false, _, Some(Longer::Resample)) => Ok(resampled(&samples, channels, wanted)),
    }
}

/// Linear interpolation at `wanted` equally spaced places from the first to the last step, as `numpy.interp` over
/// `numpy.linspace(0, steps - 1, wanted)`.
fn resampled(samples: &[f64], channels: usize, wanted: usize) -> Vec<f64> {
    let steps = samples.len() / channels;
    let scale = if wanted > 1 { (steps - 1) as f64 / (wanted - 1) as f64 } else { 0.0 };
    let mut values = Vec::with_capacity(wanted * channels);
    for step in 0..wanted {
        let place = (step as f64 * scale).min((steps - 1) as f64);
        let (left, part) = (place as usize, place.fract());
        let right = (left + 1).min(steps - 1);
        values.extend((0..channels).map(|channel| {
            let (before, after) = (samples[left * channels + channel], samples[right * channels + channel]);
            before + (after - before) * part
        }));
    }
    values
}

fn scale(samples: &mut [f64], spec: &SeriesSpec) {
    let channels = spec.channels.count();
    for channel in 0..channels {
        let own = || samples.iter().skip(channel).step_by(channels).filter(|value| !value.is_nan());
        let (mean, divisor) = match &spec.normalize {
            SeriesScale::None => return,
            SeriesScale::Fixed { mean, std } => (mean[channel], std[channel]),
            SeriesScale::Window { epsilon } => {
                let count = own().count().max(1) as f64;
                let mean = own().sum::<f64>() / count;
                let variance = own().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
                (mean, (variance + epsilon).sqrt())
            }
        };
        // A channel that never moves is at its mean everywhere.
        let divisor = if divisor == 0.0 { 1.0 } else { divisor };
        samples.iter_mut().skip(channel).step_by(channels).for_each(|value| *value = (*value - mean) / divisor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::SeriesLayout;

    fn spec(channels: usize, steps: Option<usize>) -> SeriesSpec {
        let normalize = SeriesScale::None;
        SeriesSpec {
            channels: Channels::Count(channels),
            layout: SeriesLayout::ChannelsLast,
            steps,
            shorter: None,
            longer: None,
            normalize,
            missing: None,
            masked: false,
            observed: false,
        }
    }

    #[test]
    fn gaps_are_filled_from_their_neighbours() {
        let samples = vec![f64::NAN, 10.0, 2.0, f64::NAN, f64::NAN, 40.0, 8.0, f64::NAN];
        let filled = |how: &str| {
            let spec = SeriesSpec { missing: Some(Missing::Text(how.into())), ..spec(2, None) };
            window(samples.clone(), &spec, 9).expect("a window").values
        };
        assert_eq!(filled("linear"), [2.0, 10.0, 2.0, 25.0, 5.0, 40.0, 8.0, 40.0]);
        assert_eq!(filled("last"), [2.0, 10.0, 2.0, 10.0, 2.0, 40.0, 8.0, 40.0]);
        assert!(window(samples, &spec(2, None), 9).expect_err("gaps").to_string().contains("step 0, channel 0 is missing"));
    }

    #[test]
    fn short_and_long_windows_are_brought_to_length() {
        let short = SeriesSpec { shorter: Some(Shorter::PadStart), longer: Some(Longer::KeepLast), ..spec(1, Some(3)) };
        let found = window(vec![1.0, 2.0], &short, 9).expect("a window");
        assert_eq!((found.values.as_slice(), found.valid), ([0.0, 1.0, 2.0].as_slice(), 1..3));
        assert_eq!(window(vec![1.0, 2.0, 3.0, 4.0], &short, 9).expect("a window").values, [2.0, 3.0, 4.0]);
        let resampled = SeriesSpec { shorter: Some(Shorter::Resample), longer: Some(Longer::Resample), ..spec(1, Some(3)) };
        assert_eq!(window(vec![1.0, 2.0], &resampled, 9).expect("a window").values, [1.0, 1.5, 2.0]);
        assert_eq!(window(vec![1.0, 9.0, 3.0, 0.0, 5.0], &resampled, 9).expect("a window").values, [1.0, 3.0, 5.0]);
        assert!(window(vec![1.0, 2.0], &spec(1, Some(3)), 9).is_err());
        assert!(window(vec![], &short, 9).is_err() && window(vec![1.0; 10], &short, 9).is_err());
    }

    #[test]
    fn a_channel_that_never_moves_becomes_zero() {
        let scaled = SeriesSpec { normalize: SeriesScale::Window { epsilon: 0.0 }, ..spec(2, None) };
        assert_eq!(window(vec![5.0, 1.0, 5.0, 3.0], &scaled, 9).expect("a window").values, [0.0, -1.0, 0.0, 1.0]);
    }
}
