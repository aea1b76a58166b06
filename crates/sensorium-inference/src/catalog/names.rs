//! References to models: `name`, `name@3`, `name@alias`.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Kind, Result};

/// Longest name of a model or alias.
const MAX_NAME_BYTES: usize = 128;

/// A model as a query names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelReference {
    /// Name in the catalog.
    pub name: String,
    /// Which of its versions.
    pub version: VersionReference,
}

/// The part behind `@`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum VersionReference {
    /// No `@`: the highest number.
    Newest,
    /// A number.
    Number(u64),
    /// An alias.
    Alias(String),
}

impl FromStr for ModelReference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, version) = match text.split_once('@') {
            None => (text, VersionReference::Newest),
            Some((name, version)) => match version.parse() {
                Ok(number) => (name, VersionReference::Number(number)),
                Err(_) => {
                    check_name("alias", version)?;
                    (name, VersionReference::Alias(version.to_string()))
                }
            },
        };
        check_name("model name", name)?;
        Ok(Self { name: name.to_string(), version })
    }
}

impl fmt::Display for ModelReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            VersionReference::Newest => f.write_str(&self.name),
            VersionReference::Number(number) => write!(f, "{}@{number}", self.name),
            VersionReference::Alias(alias) => write!(f, "{}@{alias}", self.name),
        }
    }
}

/// Names become folders of any store: letters, digits, `_`, `-` and `.`, not first `.` or a digit.
pub(super) fn check_name(what: &str, name: &str) -> Result<()> {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if starts_well && is_plain && name.len() <= MAX_NAME_BYTES {
        return Ok(());
    }
    Err(Error::new(Kind::Catalog, format!("not a {what}: '{name}'"))
        .with_hint("letters, digits, '_', '-' and '.', a letter or '_' first, at most 128"))
}
