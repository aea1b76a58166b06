//! Running a bound call on arrays.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::ArrayRef;
use arrow::datatypes::FieldRef;
use datafusion::error::Result;
use sensorium_inference::{Answer, Cancel, MediaAccess, ModelVersion, Request, Stats, Values, Wanted};

use super::arguments::bind;
use super::classify::{LabelVectors, classify};
use super::generation::texts;
use super::policy::{Policy, settle};
use super::reasons::reasons;
use crate::engine::Engine;
use crate::errors::to_datafusion;
use crate::settings::MmSettings;

/// A call whose model is known: what planning decided about it.
#[derive(Debug, Clone)]
pub(crate) struct Bound {
    /// The model as the call names it, for binding it again.
    reference: String,
    /// The version in the catalog.
    pub(crate) whole: Arc<ModelVersion>,
    /// The part of it that runs on the call's input: itself, but for joint models.
    pub(crate) version: Arc<ModelVersion>,
    /// What the call says about how its texts are written, as JSON; the version has it.
    options: Option<Arc<str>>,
    /// For each media input, the folder of the table that it comes from.
    pub(crate) bases: BTreeMap<String, String>,
    /// Rows that this call has seen, which numbers the failed ones.
    rows: Arc<AtomicU64>,
    /// The vectors of labels, which all rows share.
    pub(super) labels: Arc<LabelVectors>,
}

impl Bound {
    pub(crate) fn new(reference: &str, whole: Arc<ModelVersion>, version: Arc<ModelVersion>, bases: BTreeMap<String, String>) -> Self {
        Self { reference: reference.to_string(), whole, version, options: None, bases, rows: Arc::default(), labels: Arc::default() }
    }

    /// The same, with texts written as `options` say.
    ///
    /// # Errors
    /// For an option that there is not, or a value that makes no sense.
    pub(crate) fn with_options(self, options: Option<&str>) -> Result<Self> {
        let Some(options) = options else { return Ok(self) };
        let version = self.whole.with_options(options).map_err(to_datafusion)?;
        Ok(Self { version: Arc::new(version), options: Some(options.into()), ..self })
    }

    /// What the call says about how texts are written.
    pub(crate) fn options(&self) -> Option<&str> {
        self.options.as_deref()
    }

    /// The same, with rows that are counted by themselves.
    pub(crate) fn apart(&self) -> Self {
        Self { rows: Arc::default(), ..self.clone() }
    }

    /// Counts further rows of the call; returns the number of the first.
    pub(super) fn count(&self, rows: usize) -> u64 {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed)
    }

    /// The input whose side of a joint model runs.
    pub(crate) fn side(&self) -> Option<&str> {
        let is_side = !Arc::ptr_eq(&self.whole, &self.version) && self.options.is_none();
        self.version.manifest.inputs.first().map(|input| input.name.as_str()).filter(|_| is_side)
    }

    pub(crate) fn reference(&self) -> &str {
        &self.reference
    }
}

impl PartialEq for Bound {
    fn eq(&self, other: &Self) -> bool {
        self.version.sha256 == other.version.sha256 && self.version.pinned() == other.version.pinned() && self.bases == other.bases
    }
}

impl Eq for Bound {}

impl Hash for Bound {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.version.pinned().hash(state);
        self.bases.hash(state);
    }
}

/// Which function a call is of, and what that means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Kind {
    pub(crate) function: &'static str,
    pub(crate) asked: Asked,
    pub(crate) policy: Policy,
}

impl Kind {
    /// What a call of a bound model asks for: of one that writes, its labels are answers.
    pub(super) fn of(self, bound: &Bound) -> Self {
        let asked = if self.asked == Asked::Classes && bound.options.is_some() { Asked::Answers } else { self.asked };
        Self { asked, ..self }
    }
}

/// What a function returns of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Asked {
    /// What its task gives.
    Prediction,
    /// Its vector.
    Embedding,
    /// What is said in a sound.
    Transcript,
    /// A text that it writes.
    Text,
    /// What the model sees of a prompt.
    Prompt,
    /// A picture that it draws.
    Picture,
    /// The lines of text in a picture.
    Lines,
    /// The best of the labels that the call names, by their vectors.
    Classes,
    /// The same, as the answer of a model that writes.
    Answers,
    /// How much each input has to do with the prediction.
    Explanation,
    /// The inputs that have most to do with it; the call says how many.
    Reasons,
    /// Where a result comes from; nothing is run.
    Receipt,
    /// The media that it is made of, for messages.
    Media,
}

impl Asked {
    /// What the model itself must give for that.
    pub(crate) fn wanted(self) -> Wanted {
        match self {
            Self::Prediction
            | Self::Transcript
            | Self::Text
            | Self::Answers
            | Self::Picture
            | Self::Lines
            | Self::Receipt
            | Self::Media => Wanted::Prediction,
            Self::Prompt => Wanted::Prompt,
            Self::Embedding | Self::Classes => Wanted::Embedding,
            Self::Explanation | Self::Reasons => Wanted::Explanation,
        }
    }

    /// Whether the call may say how texts are written.
    pub(crate) fn has_options(self) -> bool {
        matches!(self, Self::Text | Self::Prompt | Self::Picture)
    }

    /// Parts what the model is given from what the function takes besides.
    pub(crate) fn split<T>(self, arguments: &[T]) -> (&[T], &[T]) {
        match self {
            Self::Classes | Self::Reasons => arguments.split_at(arguments.len().saturating_sub(1)),
            _ => (arguments, &[]),
        }
    }
}

/// What rows are called in messages.
pub(crate) trait RowNames {
    /// Number of a row within the query.
    fn number(&self, row: usize) -> u64;

    /// The values of its `mm.row_key`; none where these columns are not known.
    fn key(&self, row: usize) -> Option<Vec<String>>;
}

/// Rows of which nothing but the order is known.
pub(crate) struct NumberedFrom(pub(crate) u64);

impl RowNames for NumberedFrom {
    fn number(&self, row: usize) -> u64 {
        self.0 + row as u64
    }

    fn key(&self, _: usize) -> Option<Vec<String>> {
        None
    }
}

/// The arguments behind the model, all of `rows` rows.
pub(crate) struct Arguments<'a> {
    pub(crate) arrays: &'a [ArrayRef],
    pub(crate) fields: &'a [FieldRef],
    pub(crate) rows: usize,
    /// Where the call is told to stop.
    pub(crate) cancel: &'a Cancel,
    pub(crate) stats: &'a Stats,
    /// What a row is called in messages.
    pub(crate) names: &'a dyn RowNames,
}

/// Runs a bound call.
pub(crate) fn evaluate(engine: &Engine, kind: Kind, bound: &Bound, arguments: &Arguments<'_>, settings: &MmSettings) -> Result<Values> {
    let answer = match kind.asked {
        Asked::Classes => classify(engine, kind, bound, arguments, settings)?,
        Asked::Reasons => reasons(engine, kind, bound, arguments, settings)?,
        Asked::Text => texts(answer(engine, kind, bound, arguments, settings)?, kind.policy)?,
        Asked::Prediction
        | Asked::Embedding
        | Asked::Answers
        | Asked::Transcript
        | Asked::Prompt
        | Asked::Picture
        | Asked::Lines
        | Asked::Explanation
        | Asked::Receipt
        | Asked::Media => answer(engine, kind, bound, arguments, settings)?,
    };
    settle(engine, kind.function, Some(&bound.version.pinned()), answer, kind.policy, settings, arguments.names)
}

/// What the model gives for the arguments.
pub(super) fn answer(engine: &Engine, kind: Kind, bound: &Bound, arguments: &Arguments<'_>, settings: &MmSettings) -> Result<Answer> {
    let version = &bound.version;
    let inputs = bind(&version.name, &version.manifest, arguments.fields).map_err(to_datafusion)?.columns(arguments.arrays);
    let access = MediaAccess { bases: bound.bases.clone(), allowed_roots: settings.allowed_roots.clone() };
    let request = Request {
        inputs: &inputs,
        rows: arguments.rows,
        wanted: kind.asked.wanted(),
        access: &access,
        limits: &settings.limits,
        stop_at_failure: kind.policy.stops(settings),
        statement: engine.ledger.statement(),
        cancel: arguments.cancel,
        stats: arguments.stats,
    };
    let run = Some(settings.run_id.as_str()).filter(|run| !run.is_empty());
    let answer = match kind.asked {
        Asked::Receipt => engine.models.receipts(&engine.catalog, version, &bound.whole, &request, run),
        Asked::Media => engine.models.media(version, &request),
        _ => engine.models.run(&engine.catalog, version, &request),
    };
    answer.map_err(to_datafusion)
}
