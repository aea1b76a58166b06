//! The scalar function behind `mm_predict`, `mm_embed` and their `mm_try_` twins.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DFSchema, ScalarValue, internal_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use sensorium_inference::{
    Cancel, Limits, ModelVersion, Stats, Values, Wanted, Windows, batch_plan, explanation_plan, explanation_rows, media_type, reasons_type,
    receipt_type, result_bytes, result_type, windows,
};

use super::arguments::bind;
use super::classify::{classes_type, evaluate_labels, is_writer};
use super::evaluate::{Arguments, Asked, Bound, Kind, NumberedFrom, evaluate};
use super::generation::{evaluate_options, is_struct, options_text, split_options, text_type};
use super::policy::{Policy, try_type};
use super::reasons::check_count;
use super::side::side_of;
use super::task::task_type;
use crate::engine::Engine;
use crate::errors::to_datafusion;
use crate::learned::Learned;
use crate::settings::{MmSettings, OnError};

/// What a row takes, and how that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowTime {
    /// Mean of the rows so far.
    Measured(Duration),
    /// From the model's size.
    Estimated(Duration),
}

impl RowTime {
    pub(crate) fn time(self) -> Duration {
        match self {
            Self::Measured(time) | Self::Estimated(time) => time,
        }
    }
}

/// About what a head takes for a row.
const HEAD_ROW_TIME: Duration = Duration::from_micros(1);

impl fmt::Display for RowTime {
    /// One digit: the next run takes a little more or less.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanoseconds = self.time().as_nanos().max(1);
        let magnitude = 10_u128.pow(nanoseconds.ilog10());
        let rounded = Duration::from_nanos(u64::try_from(nanoseconds / magnitude * magnitude).unwrap_or(u64::MAX));
        let source = if matches!(self, Self::Measured(_)) { "measured" } else { "estimated" };
        write!(f, "{rounded:?} a row ({source})")
    }
}

/// About what a receipt takes in memory.
const RECEIPT_BYTES: usize = 128;

/// A function whose first argument is a model. Planning replaces it by a bound copy of itself.
#[derive(Debug)]
pub(crate) struct ModelFunction {
    kind: Kind,
    engine: Arc<Engine>,
    documentation: &'static Documentation,
    signature: Signature,
    /// Whether `mm.on_error` makes failed rows NULL.
    null_on_error: bool,
    bound: Option<Bound>,
}

impl ModelFunction {
    pub(crate) fn new(kind: Kind, engine: &Arc<Engine>, documentation: &'static Documentation) -> Self {
        // Stable: a name means another version once one is created. Types are the model's own, so none are coerced.
        let signature = Signature::variadic_any(Volatility::Stable);
        Self { kind, engine: Arc::clone(engine), documentation, signature, null_on_error: false, bound: None }
    }

    fn copy(&self) -> Self {
        Self {
            null_on_error: self.null_on_error,
            bound: self.bound.clone(),
            signature: self.signature.clone(),
            ..Self::new(self.kind, &self.engine, self.documentation)
        }
    }

    /// The call with its model fixed to one version and its media to one folder.
    pub(crate) fn bind_to(&self, bound: Bound, null_on_error: bool) -> ScalarUDF {
        if self.kind.asked == Asked::Receipt {
            self.engine.models.expect_receipts();
        }
        let kind = self.kind.of(&bound);
        ScalarUDF::new_from_impl(Self { kind, bound: Some(bound), null_on_error, ..self.copy() })
    }

    /// The model as the statement named it, once the call is bound.
    pub(crate) fn reference(&self) -> Option<&str> {
        self.bound.as_ref().map(Bound::reference)
    }

    /// What the call is bound to.
    pub(crate) fn bound(&self) -> Option<&Bound> {
        self.bound.as_ref()
    }

    /// Whether it tells where a result comes from, so that no model runs.
    fn is_about_origin(&self) -> bool {
        matches!(self.kind.asked, Asked::Receipt | Asked::Media)
    }

    /// Whether its results have receipts.
    pub(crate) fn has_receipt(&self) -> bool {
        self.is_bound() && !self.is_about_origin()
    }

    /// The function that tells where the results of this bound one come from, over what the model is given.
    pub(crate) fn receipt_of(&self, asked: Asked) -> ScalarUDF {
        let function = if asked == Asked::Media { "mm_media" } else { "mm_receipt" };
        let kind = Kind { function, asked, policy: Policy::Setting };
        let bound = self.bound.as_ref().map(Bound::apart);
        ScalarUDF::new_from_impl(Self { kind, bound, ..self.copy() })
    }

    /// What a call of `version` says about how texts are written, and its arguments without that.
    pub(crate) fn take_options(
        &self,
        version: &ModelVersion,
        arguments: &[Expr],
        schema: &DFSchema,
    ) -> Result<(Option<String>, Vec<Expr>)> {
        let known = self.bound.as_ref().and_then(Bound::options).map(str::to_string);
        if let (Asked::Classes, true, [inputs @ .., labels]) = (self.kind.asked, is_writer(version), arguments) {
            return Ok((Some(evaluate_labels(labels)?), inputs.to_vec()));
        }
        if !self.kind.asked.has_options() {
            return Ok((known, arguments.to_vec()));
        }
        let (inputs, options) = split_options(arguments, |argument| is_struct(argument, schema));
        let options = options.map(evaluate_options).transpose()?.or(known);
        Ok((options, inputs.to_vec()))
    }

    /// Whether failed rows are NULL.
    pub(crate) fn null_on_error(&self) -> bool {
        self.null_on_error
    }

    /// Whether the call was bound already, as in a view that is used in a further query.
    pub(crate) fn is_bound(&self) -> bool {
        self.bound.is_some()
    }

    /// The version that `reference` means for the statement being planned.
    pub(crate) fn resolve(&self, reference: &str) -> Result<Arc<ModelVersion>> {
        self.engine.resolve(reference)
    }

    /// `name@version` of a bound call.
    pub(crate) fn pinned(&self) -> Option<String> {
        self.bound.as_ref().map(|bound| bound.version.pinned())
    }

    /// What a row of the call takes on one core or device: as measured, or else estimated from the model's size.
    pub(crate) fn row_time(&self) -> RowTime {
        let Some(Bound { version, .. }) = &self.bound else { return RowTime::Estimated(Duration::ZERO) };
        if self.kind.asked.wanted() == Wanted::Explanation {
            let rows = u32::try_from(explanation_rows(&version.manifest)).unwrap_or(u32::MAX);
            return RowTime::Estimated(version.manifest.estimated_row_time() + HEAD_ROW_TIME.saturating_mul(rows));
        }
        if self.is_about_origin() {
            return RowTime::Estimated(HEAD_ROW_TIME);
        }
        match self.engine.models.measured_row_time(version) {
            Some(time) => RowTime::Measured(time),
            None => RowTime::Estimated(version.manifest.estimated_row_time()),
        }
    }

    /// Which windows suit a bound call.
    pub(crate) fn windows(&self, limits: &Limits) -> Result<Windows> {
        Ok(windows(&self.model(None, &[])?.version.manifest, limits))
    }

    /// How the rows of the call are cut into batches.
    pub(crate) fn batch_plan(&self, limits: &Limits) -> String {
        let plan = |bound: &Bound| {
            let (manifest, batches) = (&bound.version.manifest, batch_plan(&bound.version.manifest, limits));
            if self.kind.asked.wanted() == Wanted::Explanation {
                format!("{batches}; a row: {}", explanation_plan(manifest))
            } else {
                batches
            }
        };
        self.bound.as_ref().map_or_else(String::new, plan)
    }

    /// About what a row of a bound call's results takes in memory.
    pub(crate) fn result_bytes(&self) -> Result<usize> {
        if self.is_about_origin() {
            return Ok(RECEIPT_BYTES);
        }
        result_bytes(&self.model(None, &[])?.version.manifest, self.kind.asked.wanted()).map_err(to_datafusion)
    }

    /// What was seen of predicates.
    pub(crate) fn learned(&self) -> &Learned {
        &self.engine.learned
    }

    /// Counts further rows of a bound call; returns the number of the first within the query.
    pub(crate) fn count(&self, rows: usize) -> u64 {
        self.bound.as_ref().map_or(0, |bound| bound.count(rows))
    }

    /// Runs a bound call.
    pub(crate) fn evaluate_bound(&self, arguments: &Arguments<'_>, settings: &MmSettings) -> Result<Values> {
        evaluate(&self.engine, self.kind, &self.model(None, &[])?, arguments, settings)
    }

    /// Parts what the model is given from what the function takes besides.
    pub(crate) fn split<T>(&self, arguments: &[T]) -> (Vec<T>, Vec<T>)
    where
        T: Clone,
    {
        let (inputs, rest) = self.kind.asked.split(arguments);
        (inputs.to_vec(), rest.to_vec())
    }

    /// The part of `version` that a call with these arguments is of.
    pub(crate) fn side(&self, version: &Arc<ModelVersion>, arguments: &[FieldRef]) -> Result<Arc<ModelVersion>> {
        side_of(Arc::clone(version), self.kind.asked, arguments).map_err(to_datafusion)
    }

    /// The inputs of a call.
    fn without_options<'a>(&self, arguments: &'a [FieldRef]) -> &'a [FieldRef] {
        let is_struct = |argument: &FieldRef| matches!(argument.data_type(), DataType::Struct(_));
        if self.kind.asked.has_options() { split_options(arguments, is_struct).0 } else { arguments }
    }

    /// The model of a call that was not bound, and what it asks of it; labels of a model that writes are no argument any more.
    fn bind_at_once(&self, args: &mut ScalarFunctionArgs) -> Result<(Kind, Bound)> {
        let inputs = 1 + self.without_options(&args.arg_fields[1..]).len();
        let name = match args.args.first() {
            Some(ColumnarValue::Scalar(name)) => Some(name.clone()),
            _ => None,
        };
        let bound = self.model(name.as_ref(), &args.arg_fields[1..inputs])?;
        let has_labels = self.kind.asked == Asked::Classes && is_writer(&bound.whole);
        let inputs = if has_labels { inputs.saturating_sub(1) } else { inputs };
        args.arg_fields.truncate(inputs);
        let options = args.args.drain(inputs..).next().map(|options| options.into_array(1)).transpose()?;
        let options = options.map(|options| options_text(&options)).transpose().map_err(to_datafusion)?;
        let bound = bound.with_options(options.as_deref())?;
        Ok((self.kind.of(&bound), bound))
    }

    fn model(&self, name: Option<&ScalarValue>, arguments: &[FieldRef]) -> Result<Bound> {
        match (&self.bound, name.and_then(|name| name.try_as_str().flatten())) {
            (Some(bound), _) => Ok(bound.clone()),
            (None, Some(name)) => {
                let whole = self.resolve(name)?;
                let side = self.side(&whole, arguments)?;
                Ok(Bound::new(name, whole, side, BTreeMap::new()))
            }
            (None, None) => plan_err!("{}: the model must be a string literal, such as 'credit' or 'credit@3'", self.kind.function),
        }
    }
}

/// The name of the model in a call's arguments, if it is a literal.
pub(crate) fn model_literal(arguments: &[Expr]) -> Option<&str> {
    match arguments.first() {
        Some(Expr::Literal(value, _)) => value.try_as_str().flatten(),
        _ => None,
    }
}

impl PartialEq for ModelFunction {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.bound == other.bound
            && self.null_on_error == other.null_on_error
            && Arc::ptr_eq(&self.engine, &other.engine)
    }
}

impl Eq for ModelFunction {}

impl Hash for ModelFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kind.hash(state);
        self.bound.hash(state);
    }
}

impl ScalarUDFImpl for ModelFunction {
    fn name(&self) -> &str {
        self.kind.function
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(self.documentation)
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!("{}: the type depends on the model", self.kind.function)
    }

    fn with_updated_config(&self, config: &ConfigOptions) -> Option<ScalarUDF> {
        let null_on_error = MmSettings::of(config).on_error == OnError::Null;
        Some(ScalarUDF::new_from_impl(Self { null_on_error, ..self.copy() }))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let arguments = args.arg_fields.get(1..).unwrap_or_default();
        let bound = self.model(args.scalar_arguments.first().copied().flatten(), arguments)?;
        let manifest = &bound.version.manifest;
        let value = match self.kind.asked {
            Asked::Classes => classes_type(&bound.whole, arguments),
            Asked::Text | Asked::Prompt | Asked::Picture => text_type(&bound.whole, self.kind.asked, self.kind.policy),
            Asked::Transcript | Asked::Lines => task_type(&bound.whole, self.kind.asked),
            Asked::Receipt => Ok(receipt_type()),
            Asked::Media => Ok(media_type()),
            Asked::Prediction | Asked::Embedding | Asked::Explanation | Asked::Answers => result_type(manifest, self.kind.asked.wanted()),
            Asked::Reasons => check_count(arguments.last(), args.scalar_arguments.last().copied().flatten())
                .and_then(|()| result_type(manifest, self.kind.asked.wanted()))
                .map(|_| reasons_type()),
        };
        let value = value.map_err(to_datafusion)?;
        // Labels, the number of reasons, and options are no input of the model.
        let (arguments, labels) = self.kind.asked.split(arguments);
        let arguments = self.without_options(arguments);
        // `t.*` has no type before its columns are known; the rule that writes them out checks them.
        let has_wildcard =
            arguments.iter().zip(&args.scalar_arguments[1..]).any(|(field, value)| field.data_type().is_null() && value.is_none());
        let may_be_null = has_wildcard
            || labels.iter().any(|labels| labels.is_nullable())
            || bind(&bound.version.name, manifest, arguments).map_err(to_datafusion)?.may_be_null(manifest, arguments);
        Ok(Arc::new(match self.kind.policy {
            Policy::Try => Field::new(self.kind.function, try_type(value), false),
            Policy::Setting => Field::new(self.kind.function, value, may_be_null || self.null_on_error),
        }))
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (kind, bound) = self.bind_at_once(&mut args)?;
        let all_scalar = args.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = if all_scalar { 1 } else { args.number_rows };
        let arrays: Vec<ArrayRef> = args.args[1..].iter().map(|argument| argument.to_array(rows)).collect::<Result<_>>()?;
        let settings = MmSettings::of(&args.config_options);
        // A constant call is folded, and so run, several times while it is planned; it has no rows to count.
        let first = if all_scalar { 0 } else { bound.count(rows) };
        let (cancel, stats) = (Cancel::default(), Stats::default());
        let fields = &args.arg_fields[1..];
        let arguments = Arguments { arrays: &arrays, fields, rows, cancel: &cancel, stats: &stats, names: &NumberedFrom(first) };
        let values = evaluate(&self.engine, kind, &bound, &arguments, &settings)?.whole().map_err(to_datafusion)?;
        if all_scalar { ScalarValue::try_from_array(&values, 0).map(ColumnarValue::Scalar) } else { Ok(ColumnarValue::Array(values)) }
    }
}
