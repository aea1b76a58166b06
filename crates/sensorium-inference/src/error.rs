//! What can go wrong below SQL, named by what the reader does next.

use std::fmt;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with the action that mends it.
///
/// `Display` gives the message alone; [`Error::hint`] is printed by the caller on a line of its own.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: Kind,
    message: String,
    hint: Option<String>,
    retryable: bool,
}

/// The classes of [`Error`], one per thing that its reader can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The files of a model do not say enough, or say something that cannot be carried out.
    Package,
    /// A model name, version or alias does not exist, or exists already.
    Catalog,
    /// The arguments of a call do not fit the inputs of its model.
    Argument,
    /// A setting or option has a value that makes no sense.
    Setting,
    /// ONNX Runtime or the device that was asked for cannot be used.
    Runtime,
    /// A URI is outside the allowed roots, or an endpoint at a host that is not allowed.
    Forbidden,
    /// Bytes could not be read from where a URI points to.
    Fetch,
    /// Bytes are not a picture (or a text, or a number) that can be used.
    Media,
    /// An input is larger than a setting allows.
    Limit,
    /// The graph itself failed, or returned something unusable.
    Model,
    /// The query was cancelled.
    Cancelled,
}

impl Kind {
    /// Every class, in the order of the reference page.
    pub const ALL: [Self; 11] = [
        Self::Package,
        Self::Catalog,
        Self::Argument,
        Self::Setting,
        Self::Runtime,
        Self::Forbidden,
        Self::Fetch,
        Self::Media,
        Self::Limit,
        Self::Model,
        Self::Cancelled,
    ];

    /// Stable name, as found in `mm_errors()` and in front of messages.
    pub fn code(self) -> &'static str {
        match self {
            Self::Package => "package",
            Self::Catalog => "catalog",
            Self::Argument => "argument",
            Self::Setting => "setting",
            Self::Runtime => "runtime",
            Self::Forbidden => "forbidden",
            Self::Fetch => "fetch",
            Self::Media => "media",
            Self::Limit => "limit",
            Self::Model => "model",
            Self::Cancelled => "cancelled",
        }
    }

    /// What the reader of such an error does next.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Package => "complete the model's folder, most often its `sensorium.toml`, and create the model again",
            Self::Catalog => "name a model, version or alias that `SHOW MODELS` lists",
            Self::Argument => "pass the inputs that `DESCRIBE MODEL` lists, with a CAST where types differ",
            Self::Setting => "set a value that the settings page allows",
            Self::Runtime => "run `sensorium setup`, or name another `mm.device`",
            Self::Forbidden => {
                "add the folder or prefix to `mm.allowed_roots` if its files may be read, or the host to `mm.allowed_hosts` if it may be asked"
            }
            Self::Fetch => "look whether the URI exists and answers",
            Self::Media => "replace the file, or let such rows become NULL with `SET mm.on_error = 'null'`",
            Self::Limit => "raise the limit that the message names, or leave the row out",
            Self::Model => "look at the inputs of that row; a model that fails on all rows was exported wrongly",
            Self::Cancelled => "run the query again",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Error {
    /// An error of `kind` with a one-line `message`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, retryable: false }
    }

    /// Adds what the reader can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the closest of `names` to `wrong` as the hint, or the list of all names where none is close.
    #[must_use]
    pub fn with_nearest<'a>(self, wrong: &str, names: impl IntoIterator<Item = &'a str>, what: &str) -> Self {
        let names: Vec<&str> = names.into_iter().collect();
        match crate::nearest::nearest(wrong, names.iter().copied()) {
            Some(name) => self.with_hint(format!("did you mean '{name}'?")),
            None if names.is_empty() => self,
            None => self.with_hint(format!("{what}: {}", names.join(", "))),
        }
    }

    /// Marks an error that may not come again when the same is tried again.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// The same with its texts changed.
    pub(crate) fn rewritten(self, change: impl Fn(&str) -> String) -> Self {
        Self { message: change(&self.message), hint: self.hint.as_deref().map(change), ..self }
    }

    /// The class of the error.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Stable name of the class.
    pub fn code(&self) -> &'static str {
        self.kind.code()
    }

    /// What the reader can do about it, where that is known.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Whether trying the same again may succeed.
    pub fn is_retryable(&self) -> bool {
        self.retryable
    }
}
