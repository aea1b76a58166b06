//! What all metrics are to DataFusion.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, Signature, Volatility};

use super::accumulators::{Call, Counted, Kept, Ranked, Summed};
use super::arguments::{Label, is_binary, is_number};
use super::contingency::Contingency;
use super::options::{Options, Parameter};
use super::ranking::Ranking;
use super::sums::{Row, Sums};
use crate::settings::MmSettings;

/// What a metric keeps of its rows, and how its figure comes of that.
#[derive(Debug, Clone, Copy)]
pub(crate) enum State {
    /// How often each score came.
    Ranked { figure: fn(&mut Ranking, &Options) -> Result<ScalarValue> },
    /// Sums of what `add` says about each row.
    Summed {
        label: Label,
        width: fn(&Options) -> usize,
        add: fn(&mut Sums, Row, &Options) -> Result<()>,
        figure: fn(&Sums, &Options) -> Result<ScalarValue>,
    },
    /// How often each prediction met each label.
    Counted { figure: fn(&Contingency, &Options) -> Result<ScalarValue> },
    /// How the values of two samples are spread, by value or, where they are no numbers, by name.
    Spread { ranked: fn(&mut Ranking, &Options) -> Result<ScalarValue>, named: Option<fn(&Contingency, &Options) -> Result<ScalarValue>> },
}

/// An aggregate over what a model said and what was true.
#[derive(Debug)]
pub(crate) struct Metric {
    name: &'static str,
    documentation: &'static LazyLock<Documentation>,
    state: State,
    returns: fn() -> DataType,
    parameters: &'static [Parameter],
    signature: Signature,
    max_bytes: usize,
}

impl Metric {
    pub(crate) fn function(
        name: &'static str,
        documentation: &'static LazyLock<Documentation>,
        returns: fn() -> DataType,
        parameters: &'static [Parameter],
        state: State,
    ) -> AggregateUDF {
        let signature = Signature::variadic_any(Volatility::Immutable);
        let max_bytes = MmSettings::default().max_metric_bytes;
        AggregateUDF::new_from_impl(Self { name, documentation, state, returns, parameters, signature, max_bytes })
    }

    /// The same function with another limit of its memory.
    pub(crate) fn within(&self, max_bytes: usize) -> AggregateUDF {
        AggregateUDF::new_from_impl(Self {
            name: self.name,
            documentation: self.documentation,
            state: self.state,
            returns: self.returns,
            parameters: self.parameters,
            signature: self.signature.clone(),
            max_bytes,
        })
    }

    pub(crate) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Whether the values of two samples are no numbers.
    fn is_named(&self, value: &DataType) -> bool {
        matches!(self.state, State::Spread { .. }) && !is_number(value) && *value != DataType::Boolean
    }

    fn check(&self, arguments: &[DataType]) -> Result<()> {
        let columns = match arguments {
            [columns @ .., DataType::Struct(_)] if !self.parameters.is_empty() && columns.len() >= 2 => columns,
            columns => columns,
        };
        let is_class =
            |data_type: &DataType| data_type.is_string() || is_binary(data_type) || matches!(data_type, DataType::Dictionary(..));
        let is_answer = |data_type: &DataType| matches!(data_type, DataType::Struct(fields) if fields.find("label").is_some());
        let fits = |first: &DataType, second: &DataType| match self.state {
            State::Ranked { .. } | State::Summed { label: Label::Binary, .. } => is_number(first) && is_binary(second),
            State::Summed { label: Label::Number, .. } => is_number(first) && is_number(second),
            State::Counted { .. } => (is_class(first) || is_answer(first)) && is_class(second),
            State::Spread { named, .. } => (is_binary(first) || named.is_some() && is_class(first)) && is_binary(second),
        };
        match columns {
            [first, second] if fits(first, second) => Ok(()),
            [first, second, weight] if fits(first, second) && is_number(weight) => Ok(()),
            _ => {
                let given: Vec<String> = arguments.iter().map(ToString::to_string).collect();
                plan_err!("{} does not take ({})\n\nhint: {}", self.name, given.join(", "), self.documentation.syntax_example)
            }
        }
    }

    /// The options of a call: a struct of literals behind its columns.
    fn options(&self, args: &AccumulatorArgs) -> Result<Options> {
        let said = args.exprs.last().zip(args.expr_fields.last()).filter(|(_, field)| is_options(field));
        let said = said.map(|(expr, _)| {
            let row =
                RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &RecordBatchOptions::new().with_row_count(Some(1)))?;
            match expr.evaluate(&row) {
                Ok(value) => value.into_array(1),
                Err(_) => plan_err!("{}: options are literals: {{bins: 20}}", self.name),
            }
        });
        let said: Option<ArrayRef> = said.transpose()?;
        Options::read(self.name, self.parameters, said.as_ref())
    }

    fn any_accumulator(&self, args: &AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return plan_err!("{}(DISTINCT ..) is not supported: take different rows in a subquery", self.name);
        }
        let options = self.options(args)?;
        let columns = args.expr_fields.iter().filter(|field| !is_options(field) || self.parameters.is_empty()).count();
        let call = Call { function: self.name, columns, options };
        let ranking = || Ranking::new(self.name, self.max_bytes);
        let contingency = || Contingency::new(self.name, self.max_bytes);
        Ok(match self.state {
            State::Ranked { figure } => Box::new(Kept(call, Ranked { ranking: ranking(), figure })),
            State::Spread { ranked: figure, .. } if !self.is_named(args.expr_fields[0].data_type()) => {
                Box::new(Kept(call, Ranked { ranking: ranking(), figure }))
            }
            State::Spread { named: Some(figure), .. } => {
                Box::new(Kept(call, Counted { contingency: contingency(), figure, is_spread: true }))
            }
            State::Spread { .. } => return plan_err!("{} takes numbers", self.name),
            State::Counted { figure } => Box::new(Kept(call, Counted { contingency: contingency(), figure, is_spread: false })),
            State::Summed { label, width, add, figure } => {
                let sums = Sums::new(width(&call.options));
                Box::new(Kept(call, Summed { label, sums, add, figure }))
            }
        })
    }
}

fn is_options(field: &FieldRef) -> bool {
    matches!(field.data_type(), DataType::Struct(fields) if fields.find("label").is_none())
}

impl PartialEq for Metric {
    fn eq(&self, other: &Self) -> bool {
        (self.name, self.max_bytes) == (other.name, other.max_bytes)
    }
}

impl Eq for Metric {}

impl Hash for Metric {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.name, self.max_bytes).hash(state);
    }
}

impl AggregateUDFImpl for Metric {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(self.documentation)
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.check(arguments)?;
        Ok((self.returns)())
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let types = match self.state {
            State::Ranked { .. } => Ranking::state_types(),
            State::Spread { .. } if !self.is_named(args.input_fields[0].data_type()) => Ranking::state_types(),
            State::Spread { .. } | State::Counted { .. } => Contingency::state_types(),
            State::Summed { .. } => Sums::state_types(),
        };
        Ok(types.into_iter().map(|(part, data_type)| Arc::new(Field::new(format!("{}[{part}]", args.name), data_type, true))).collect())
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.any_accumulator(&args)
    }
}
