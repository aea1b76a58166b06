//! What is to be predicted.

use sensorium_inference::{Error, Kind, Result};

/// Labels of rows.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// Number of the class of each row; classes in the order of their names.
    Classes { codes: Vec<u32>, names: Vec<String> },
    /// A number for each row.
    Numbers(Vec<f64>),
}

/// More classes than this are names of rows rather than of classes.
const MAX_CLASSES: usize = 1_000;

fn wrong(message: impl std::fmt::Display) -> Error {
    Error::new(Kind::Argument, message.to_string())
}

impl Target {
    /// Classes as they came, put into the order of their names.
    pub(crate) fn classes(column: &str, codes: Vec<u32>, names: &[String]) -> Result<Self> {
        if codes.is_empty() {
            return Err(wrong("no rows to learn from"));
        }
        match names.len() {
            1 => return Err(wrong(format!("label '{column}' is '{}' in all rows: there is nothing to learn", names[0]))),
            many if many > MAX_CLASSES => {
                return Err(wrong(format!("label '{column}' has {many} classes, {MAX_CLASSES} are possible"))
                    .with_hint("a number to be predicted is said by OPTIONS (task = 'regression')"));
            }
            _ => {}
        }
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.sort_by(|a, b| names[*a].cmp(&names[*b]));
        let mut places = vec![0; names.len()];
        order.iter().enumerate().for_each(|(place, code)| places[*code] = place as u32);
        let codes = codes.into_iter().map(|code| places[code as usize]).collect();
        Ok(Self::Classes { codes, names: order.into_iter().map(|code| names[code].clone()).collect() })
    }

    pub(crate) fn numbers(column: &str, values: Vec<f64>) -> Result<Self> {
        let Some(first) = values.first() else { return Err(wrong("no rows to learn from")) };
        if let Some(row) = values.iter().position(|value| !(*value as f32).is_finite()) {
            return Err(wrong(format!("row {}: label '{column}' is {}, which is no finite number", row + 1, values[row])));
        }
        if values.iter().all(|value| value == first) {
            return Err(wrong(format!("label '{column}' is {first} in all rows: there is nothing to learn")));
        }
        Ok(Self::Numbers(values))
    }

    pub(crate) fn is_regression(&self) -> bool {
        matches!(self, Self::Numbers(_))
    }

    /// How many numbers a row's raw prediction has: one for a number and for two classes, else one for each class.
    pub(crate) fn outputs(&self) -> usize {
        match self {
            Self::Numbers(_) => 1,
            Self::Classes { names, .. } if names.len() == 2 => 1,
            Self::Classes { names, .. } => names.len(),
        }
    }

    /// The label of a row as a number: of its class, or itself.
    pub(crate) fn value(&self, row: usize) -> f64 {
        match self {
            Self::Classes { codes, .. } => f64::from(codes[row]),
            Self::Numbers(values) => values[row],
        }
    }
}
