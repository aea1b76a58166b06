//! What can be said behind the columns of a metric: `{bins: 20}`.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, plan_err};

/// One parameter of a metric.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) default: f64,
    /// Least and greatest value.
    pub(crate) range: (f64, f64),
    pub(crate) is_whole: bool,
}

/// The parameters of a call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options(HashMap<&'static str, f64>);

impl Options {
    /// What a call says of `known`, in a struct of one row; the rest by default.
    pub(super) fn read(function: &str, known: &[Parameter], said: Option<&ArrayRef>) -> Result<Self> {
        let mut values: HashMap<_, _> = known.iter().map(|parameter| (parameter.name, parameter.default)).collect();
        let Some(said) = said else { return Ok(Self(values)) };
        let said = said.as_struct();
        for (name, value) in said.column_names().into_iter().zip(said.columns()) {
            let Some(parameter) = known.iter().find(|parameter| parameter.name == name) else {
                let names: Vec<&str> = known.iter().map(|parameter| parameter.name).collect();
                return plan_err!("{function}: no such option: '{name}'\n\nhint: options: {}", names.join(", "));
            };
            values.insert(parameter.name, parameter.check(function, value)?);
        }
        Ok(Self(values))
    }

    /// A number; of a parameter that the metric lists.
    pub(crate) fn number(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// A whole number; of a parameter that the metric lists.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.number(name) as usize
    }
}

impl Parameter {
    fn check(&self, function: &str, value: &ArrayRef) -> Result<f64> {
        let number = cast(value, &DataType::Float64).ok();
        let number =
            number.as_ref().map(|value| value.as_primitive::<Float64Type>()).filter(|value| value.is_valid(0)).map(|value| value.value(0));
        let (least, most) = self.range;
        match number {
            Some(number) if number >= least && number <= most && (!self.is_whole || number.fract() == 0.0) => Ok(number),
            _ => {
                let kind = if self.is_whole { "a whole number" } else { "a number" };
                plan_err!("{function}: option '{}' takes {kind} from {least} to {most}", self.name)
            }
        }
    }
}
