//! `{{ name }}` in a query and in paths.
//!
//! In a query it stands for a value and becomes a placeholder of the SQL, never text; in a path it is written out.

use std::collections::BTreeMap;

use chrono::{Datelike, NaiveDate};
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::{JobError, Result};
use crate::job_file::Job;

/// The parameter that every run has.
const RUN_DATE: &str = "run_date";

/// Values by name.
#[derive(Debug, Clone)]
pub struct Parameters {
    values: BTreeMap<String, ScalarValue>,
    date: NaiveDate,
}

impl Parameters {
    /// Those of a job for a run date.
    ///
    /// # Errors
    /// For a value that SQL has no type for, or a name that every run has.
    pub fn of(job: &Job, date: NaiveDate) -> Result<Self> {
        let days = date.num_days_from_ce() - NaiveDate::default().num_days_from_ce();
        let mut values = BTreeMap::from([(RUN_DATE.to_string(), ScalarValue::Date32(Some(days)))]);
        for (name, value) in &job.file.parameters {
            let value = match value {
                toml::Value::String(text) => ScalarValue::from(text.as_str()),
                toml::Value::Integer(number) => ScalarValue::from(*number),
                toml::Value::Float(number) => ScalarValue::from(*number),
                toml::Value::Boolean(truth) => ScalarValue::from(*truth),
                other => {
                    return Err(JobError::new(format!("parameters.{name}: a {}", other.type_str()))
                        .with_hint("texts, numbers and truth values are possible"));
                }
            };
            if values.insert(name.clone(), value).is_some() {
                return Err(JobError::new(format!("parameters.{name}: every run has one of its own")).with_hint("another name"));
            }
        }
        Ok(Self { values, date })
    }

    /// The value of one.
    ///
    /// # Errors
    /// Where there is none.
    pub fn value(&self, name: &str) -> Result<&ScalarValue> {
        self.values.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.values.keys().map(String::as_str).collect();
            JobError::new(format!("{{{{ {name} }}}}: no such parameter")).with_hint(format!("there are {}", known.join(", ")))
        })
    }

    /// The values by name.
    pub fn values(&self) -> &BTreeMap<String, ScalarValue> {
        &self.values
    }

    /// A path with its parameters written out.
    ///
    /// # Errors
    /// For a name that is not known, or braces that are not closed.
    pub fn in_path(&self, path: &str) -> Result<String> {
        replace(path, |name| match name {
            RUN_DATE => Ok(self.date.to_string()),
            other => self.value(other).map(ToString::to_string),
        })
    }
}

/// The names that a query asks for.
pub(crate) fn placeholders(sql: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    replace(sql, |name| {
        names.push(name.to_string());
        Ok(String::new())
    })?;
    Ok(names)
}

/// The query with `$name` for `{{ name }}`.
pub(crate) fn with_placeholders(sql: &str) -> Result<String> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize().map_err(|error| JobError::new(error.to_string()))?;
    let in_quotes = tokens.iter().find_map(|token| match token {
        Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) if text.contains("{{") => Some(text),
        _ => None,
    });
    if let Some(text) = in_quotes {
        return Err(JobError::new(format!("'{text}': a parameter in quotes"))
            .with_hint("it stands for a value and needs none; texts are joined by ||"));
    }
    replace(sql, |name| Ok(format!("${name}")))
}

fn replace(text: &str, mut value: impl FnMut(&str) -> Result<String>) -> Result<String> {
    let (mut result, mut rest) = (String::new(), text);
    while let Some((before, behind)) = rest.split_once("{{") {
        let (name, after) = behind
            .split_once("}}")
            .ok_or_else(|| JobError::new(format!("'{{{{{}': braces that are not closed", behind.chars().take(20).collect::<String>())))?;
        result.push_str(before);
        result.push_str(&value(name.trim())?);
        rest = after;
    }
    result.push_str(rest);
    Ok(result)
}
