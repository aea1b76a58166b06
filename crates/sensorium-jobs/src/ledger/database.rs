//! What a ledger needs of a database: several writes at once or none, and rows.

use crate::error::{JobError, Result};

/// A value of a column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
}

/// Statement with the values of its `$1`, `$2`, .., which stand in this order.
pub(crate) type Statement<'s> = (&'s str, Vec<Value>);

/// A database with tables of its own.
pub(crate) trait Database: std::fmt::Debug + Send {
    /// Carries all statements out, or none.
    fn write(&mut self, statements: &[Statement<'_>]) -> Result<()>;

    /// The rows of a query.
    fn rows(&mut self, statement: &Statement<'_>) -> Result<Vec<Vec<Value>>>;

    /// Takes the lock of that name for as long as the session lives, if nobody has it; the ledger in a file has locks beside it.
    fn try_lock(&mut self, name: &str) -> Result<bool>;

    /// Gives it back.
    fn unlock(&mut self, name: &str);

    /// Brings the tables to a version by a step, unless they are that far.
    fn migrate(&mut self, version: i64, step: &str) -> Result<()>;
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_string())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Takes the columns of a row one after another.
pub(super) struct Columns(std::vec::IntoIter<Value>);

impl Columns {
    pub(super) fn of(row: Vec<Value>) -> Self {
        Self(row.into_iter())
    }

    fn next(&mut self) -> Value {
        self.0.next().unwrap_or(Value::Null)
    }

    pub(super) fn optional_text(&mut self) -> Option<String> {
        match self.next() {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn text(&mut self) -> Result<String> {
        self.optional_text().ok_or_else(|| JobError::new("ledger: a text is missing"))
    }

    pub(super) fn number(&mut self) -> Result<u64> {
        self.optional_number().ok_or_else(|| JobError::new("ledger: a number is missing"))
    }

    pub(super) fn optional_number(&mut self) -> Option<u64> {
        match self.next() {
            Value::Integer(number) => u64::try_from(number).ok(),
            _ => None,
        }
    }

    pub(super) fn real(&mut self) -> Option<f64> {
        match self.next() {
            Value::Real(number) => Some(number),
            Value::Integer(number) => Some(number as f64),
            _ => None,
        }
    }
}
