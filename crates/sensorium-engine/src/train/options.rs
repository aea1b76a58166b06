//! `OPTIONS` of a training.

use sensorium_inference::{Error, Kind, Result};
use sensorium_train::TrainOptions;

use crate::ddl::OptionValue;

/// What OPTIONS ask for.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) label: String,
    /// Whether labels are numbers to be predicted, where that is said.
    pub(super) is_regression: Option<bool>,
    /// Encoders by modality: 'text', 'image', 'audio'.
    pub(super) encoders: Vec<(&'static str, String)>,
    /// Columns whose modality is said: 'text', 'image', 'audio', 'category'.
    pub(super) columns: Vec<(&'static str, String)>,
    pub(super) group: Option<String>,
    pub(super) time: Option<String>,
    pub(super) weight: Option<String>,
    pub(super) options: TrainOptions,
}

/// All options, for messages.
const NAMES: [&str; 20] = [
    "label",
    "task",
    "text",
    "image",
    "audio",
    "text_columns",
    "image_columns",
    "audio_columns",
    "category_columns",
    "fusion",
    "head",
    "optional",
    "adverse",
    "reasons",
    "group",
    "time",
    "weight",
    "class_weight",
    "folds",
    "seed",
];
const EXAMPLE: &str = "OPTIONS (label = 'bad', text = 'minilm', image = 'effnet', fusion = 'late', head = 'trees', optional = ['note'], group = 'customer_id', seed = 7)";
const FOLDS: std::ops::RangeInclusive<usize> = 2..=50;

impl Request {
    pub(super) fn read(options: Vec<(String, OptionValue)>) -> Result<Self> {
        let mut request = Self::default();
        for (name, value) in options {
            request.take(&name, value)?;
        }
        if request.group.is_some() && request.time.is_some() {
            return Err(Error::new(Kind::Setting, "group and time: rows are held back by one of them").with_hint("leave one out"));
        }
        if request.label.is_empty() {
            return Err(Error::new(Kind::Setting, "which column is the label?").with_hint(EXAMPLE));
        }
        Ok(request)
    }

    fn take(&mut self, name: &str, value: OptionValue) -> Result<()> {
        match (name, value) {
            ("label", OptionValue::Text(label)) => self.label = label,
            ("task", OptionValue::Text(task)) => {
                self.is_regression = match task.as_str() {
                    "regression" => Some(true),
                    "classification" => Some(false),
                    other => {
                        return Err(
                            Error::new(Kind::Setting, format!("task: unknown: '{other}'")).with_hint("'classification' or 'regression'")
                        );
                    }
                }
            }
            ("text", OptionValue::Text(model)) => self.encoders.push(("text", model)),
            ("image", OptionValue::Text(model)) => self.encoders.push(("image", model)),
            ("audio", OptionValue::Text(model)) => self.encoders.push(("audio", model)),
            ("text_columns", value) => self.add_columns("text", name, value)?,
            ("image_columns", value) => self.add_columns("image", name, value)?,
            ("audio_columns", value) => self.add_columns("audio", name, value)?,
            ("category_columns", value) => self.add_columns("category", name, value)?,
            ("fusion", OptionValue::Text(fusion)) => self.options.fusion = unless_auto(&fusion)?,
            ("head", OptionValue::Text(head)) => self.options.head = unless_auto(&head)?,
            ("optional", value) => self.options.optional = names(name, value)?,
            ("adverse", OptionValue::Text(class)) => self.options.adverse = Some(class),
            ("reasons", OptionValue::Map(reasons)) => self.options.reasons = reasons.into_iter().collect(),
            ("group", OptionValue::Text(column)) => self.group = Some(column),
            ("time", OptionValue::Text(column)) => self.time = Some(column),
            ("weight", OptionValue::Text(column)) => self.weight = Some(column),
            ("class_weight", OptionValue::Text(weight)) => {
                self.options.balanced = match weight.as_str() {
                    "balanced" => true,
                    "none" => false,
                    other => {
                        return Err(
                            Error::new(Kind::Setting, format!("class_weight: unknown: '{other}'")).with_hint("'balanced' or 'none'")
                        );
                    }
                }
            }
            ("folds", OptionValue::Number(number)) => {
                let folds = number.parse().ok().filter(|folds| FOLDS.contains(folds)).ok_or_else(|| {
                    Error::new(Kind::Setting, format!("folds: not a usable value: {number}")).with_hint(format!(
                        "a whole number from {} to {}",
                        FOLDS.start(),
                        FOLDS.end()
                    ))
                })?;
                self.options.folds = Some(folds);
            }
            ("seed", OptionValue::Number(number)) => {
                let wrong = || Error::new(Kind::Setting, format!("seed: not a usable value: {number}")).with_hint("a whole number from 0");
                self.options.seed = number.parse().map_err(|_| wrong())?;
            }
            (known, _) if NAMES.contains(&known) => {
                return Err(Error::new(Kind::Setting, format!("option {known}: a value of the wrong kind")).with_hint(EXAMPLE));
            }
            (other, _) => return Err(Error::new(Kind::Setting, format!("no such option: {other}")).with_nearest(other, NAMES, "options")),
        }
        Ok(())
    }

    fn add_columns(&mut self, modality: &'static str, option: &str, value: OptionValue) -> Result<()> {
        self.columns.extend(names(option, value)?.into_iter().map(|column| (modality, column)));
        Ok(())
    }
}

fn unless_auto<T: std::str::FromStr<Err = Error>>(text: &str) -> Result<Option<T>> {
    if text == "auto" { Ok(None) } else { text.parse().map(Some) }
}

fn names(option: &str, value: OptionValue) -> Result<Vec<String>> {
    match value {
        OptionValue::List(names) => Ok(names),
        OptionValue::Text(name) => Ok(vec![name]),
        _ => Err(Error::new(Kind::Setting, format!("option {option}: a value of the wrong kind"))
            .with_hint("a column or a list of columns: ['note']")),
    }
}
