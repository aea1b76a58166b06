//! Lists of numbers as vectors, and the functions over them that have no model.

use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type};
use datafusion::common::{ScalarValue, internal_err};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use sensorium_inference::{Answer, Error, Failure, Kind, Step};

use crate::call::{ModelFunction, NumberedFrom, Policy, settle, try_type};
use crate::engine::Engine;
use crate::errors::to_datafusion;
use crate::settings::MmSettings;

/// Whether values of the type are lists of numbers.
pub(super) fn is_vector(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => item.data_type().is_numeric(),
        _ => false,
    }
}

/// Numbers of each row, or `None` where the row or a number in it is NULL.
pub(super) struct Vectors {
    values: Float32Array,
    rows: Rows,
}

/// Where the numbers of each row lie.
enum Rows {
    /// One row behind the other, none of them NULL.
    Whole {
        start: usize,
        width: usize,
        count: usize,
    },
    Each(Vec<Option<(usize, usize)>>),
}

impl Vectors {
    pub(super) fn new(array: &ArrayRef) -> Result<Self> {
        let (items, bounds): (ArrayRef, Vec<(usize, usize)>) = match array.data_type() {
            DataType::FixedSizeList(..) => {
                let list = array.as_fixed_size_list();
                let values = cast(list.values(), &DataType::Float32)?.as_primitive::<Float32Type>().clone();
                if list.null_count() == 0 && values.null_count() == 0 {
                    let (start, width) = (list.value_offset(0) as usize, list.value_length() as usize);
                    return Ok(Self { values, rows: Rows::Whole { start, width, count: list.len() } });
                }
                fixed(list)
            }
            DataType::LargeList(_) => {
                own(array.as_list::<i64>().values(), array.as_list::<i64>().value_offsets(), |offset| offset as usize)
            }
            _ => own(array.as_list::<i32>().values(), array.as_list::<i32>().value_offsets(), |offset| offset as usize),
        };
        let values = cast(&items, &DataType::Float32)?.as_primitive::<Float32Type>().clone();
        let usable = |(row, (start, end)): (usize, (usize, usize))| {
            let has_null = values.null_count() > 0 && values.slice(start, end - start).null_count() > 0;
            (array.is_valid(row) && !has_null).then_some((start, end))
        };
        let rows = bounds.into_iter().enumerate().map(usable).collect();
        Ok(Self { values, rows: Rows::Each(rows) })
    }

    /// Whether there is one vector for all rows of a call that has more.
    pub(super) fn is_single(&self) -> bool {
        match &self.rows {
            Rows::Whole { count, .. } => *count == 1,
            Rows::Each(rows) => rows.len() == 1,
        }
    }

    /// The vector of a row, or the only one.
    pub(super) fn row(&self, row: usize) -> Option<&[f32]> {
        let row = if self.is_single() { 0 } else { row };
        let (start, end) = match &self.rows {
            Rows::Whole { start, width, .. } => (start + row * width, start + (row + 1) * width),
            Rows::Each(rows) => rows[row]?,
        };
        Some(&self.values.values()[start..end])
    }

    /// All vectors one behind the other, if they are of this width and none is NULL.
    pub(super) fn whole(&self, wanted: usize) -> Option<&[f32]> {
        match &self.rows {
            Rows::Whole { start, width, count } if *width == wanted => Some(&self.values.values()[*start..start + count * width]),
            _ => None,
        }
    }
}

fn fixed(list: &FixedSizeListArray) -> (ArrayRef, Vec<(usize, usize)>) {
    let bounds =
        (0..list.len()).map(|row| (list.value_offset(row) as usize, list.value_offset(row) as usize + list.value_length() as usize));
    (ArrayRef::clone(list.values()), bounds.collect())
}

/// The numbers of these lists alone, as a slice of a column holds those of all its rows, and where each list lies in them.
fn own<T: Copy>(values: &ArrayRef, offsets: &[T], to_usize: impl Fn(T) -> usize) -> (ArrayRef, Vec<(usize, usize)>) {
    let (first, last) = (offsets.first().map_or(0, |offset| to_usize(*offset)), offsets.last().map_or(0, |offset| to_usize(*offset)));
    let bounds = offsets.windows(2).map(|pair| (to_usize(pair[0]) - first, to_usize(pair[1]) - first)).collect();
    (values.slice(first, last - first), bounds)
}

/// The failure of a row that holds NaN or infinity, as no function over vectors passes these on.
pub(super) fn not_finite(row: usize) -> Failure {
    let error = Error::new(Kind::Argument, "NaN or infinity among the numbers").with_hint("leave such rows out: WHERE NOT isnan(x)");
    Failure { row, uri: None, step: Step::Input, error }
}

/// Types and literals of the arguments to the type of the result.
type ResultType = fn(&[FieldRef], &[Option<&ScalarValue>]) -> Result<DataType, Error>;

/// What a function without a model computes; types are checked while planning.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernel {
    /// The check of the arguments.
    pub(super) result_type: ResultType,
    /// The values of so many rows, with those that failed.
    pub(super) compute: fn(&[ArrayRef], usize, &DataType) -> Result<Answer>,
    /// Whether an argument that is the same for all rows may be given once.
    pub(super) takes_single: bool,
}

/// A function over vectors or predictions.
#[derive(Debug)]
pub(crate) struct VectorFunction {
    pub(super) name: &'static str,
    pub(super) kernel: Kernel,
    pub(super) policy: Policy,
    pub(super) engine: Arc<Engine>,
    pub(super) documentation: &'static Documentation,
    signature: Signature,
    rows: AtomicU64,
    vectors: Option<OfModel>,
    same_for_all: Option<SameForAll>,
}

/// A bound model call on literals, which stand behind the first argument: the same vector for all rows, made once when the
/// first of them is there.
#[derive(Debug, Clone)]
struct SameForAll {
    call: Arc<ScalarUDF>,
    vector: Arc<OnceLock<ArrayRef>>,
}

/// Writes out the vectors of a call that names a model instead of them.
type OfModel = fn(&Arc<Engine>, &[Expr]) -> Result<Option<Vec<Expr>>>;

impl VectorFunction {
    pub(super) fn new(
        name: &'static str,
        kernel: Kernel,
        policy: Policy,
        engine: &Arc<Engine>,
        documentation: &'static Documentation,
    ) -> Self {
        let signature = Signature::variadic_any(Volatility::Immutable);
        Self {
            name,
            kernel,
            policy,
            engine: Arc::clone(engine),
            documentation,
            signature,
            rows: AtomicU64::new(0),
            vectors: None,
            same_for_all: None,
        }
    }
}

impl VectorFunction {
    /// The vectors to compare, where the call names a model and what its vectors are of.
    pub(crate) fn vectors_of_model(&self, args: &[Expr]) -> Result<Option<Vec<Expr>>> {
        match self.vectors {
            Some(vectors) => vectors(&self.engine, args),
            None => Ok(None),
        }
    }

    /// The same function, which may also be called with a model.
    pub(super) fn with_model(self, vectors: OfModel) -> Self {
        Self { vectors: Some(vectors), ..self }
    }

    /// The function for one call of one statement, whose rows are numbered from 0.
    pub(crate) fn fresh(&self) -> ScalarUDF {
        let fresh = Self::new(self.name, self.kernel, self.policy, &self.engine, self.documentation);
        ScalarUDF::new_from_impl(Self { vectors: self.vectors, ..fresh })
    }

    /// The function with a model call in place of its second vector, whose arguments follow the first.
    pub(crate) fn fresh_with(&self, call: &Arc<ScalarUDF>) -> ScalarUDF {
        let fresh = Self::new(self.name, self.kernel, self.policy, &self.engine, self.documentation);
        let same_for_all = Some(SameForAll { call: Arc::clone(call), vector: Arc::default() });
        ScalarUDF::new_from_impl(Self { vectors: self.vectors, same_for_all, ..fresh })
    }

    /// The model call in place of the second vector.
    pub(crate) fn same_for_all(&self) -> Option<&Arc<ScalarUDF>> {
        self.same_for_all.as_ref().map(|same| &same.call)
    }

    /// Takes a model call on literals out of the two vectors: the other one, and the call with its arguments.
    pub(crate) fn take_constant(&self, args: &[Expr]) -> Option<(Expr, ScalarFunction)> {
        let constant = |vector: &Expr| match vector {
            Expr::ScalarFunction(call) if call.func.inner().downcast_ref::<ModelFunction>().is_some() => {
                let args = call.args.iter().map(literal).collect::<Option<Vec<Expr>>>()?;
                Some(ScalarFunction { func: Arc::clone(&call.func), args })
            }
            _ => None,
        };
        match args {
            [first, second] if self.kernel.takes_single => match (constant(second), constant(first)) {
                (Some(call), _) => Some((first.clone(), call)),
                (None, Some(call)) => Some((second.clone(), call)),
                _ => None,
            },
            _ => None,
        }
    }
}

impl PartialEq for VectorFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.same_for_all() == other.same_for_all()
    }
}

impl Eq for VectorFunction {}

impl Hash for VectorFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.same_for_all().hash(state);
    }
}

impl ScalarUDFImpl for VectorFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(self.documentation)
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!("{}: the type depends on the arguments", self.name)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let value = match (self.same_for_all(), args.arg_fields.split_first(), args.scalar_arguments.split_first()) {
            (Some(call), Some((vector, fields)), Some((_, scalar_arguments))) => {
                let field = call.return_field_from_args(ReturnFieldArgs { arg_fields: fields, scalar_arguments })?;
                (self.kernel.result_type)(&[Arc::clone(vector), field], &[None, None])
            }
            _ => (self.kernel.result_type)(args.arg_fields, args.scalar_arguments),
        };
        let value = value.map_err(to_datafusion)?;
        Ok(Arc::new(match self.policy {
            Policy::Try => Field::new(self.name, try_type(value), false),
            Policy::Setting => Field::new(self.name, value, true),
        }))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let all_scalar = args.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let rows = if all_scalar { 1 } else { args.number_rows };
        let array = |argument: &ColumnarValue| argument.to_array(if self.kernel.takes_single { 1 } else { rows });
        let arrays: Vec<ArrayRef> = match &self.same_for_all {
            Some(same) => vec![array(&args.args[0])?, same.vector(&args)?],
            None => args.args.iter().map(array).collect::<Result<_>>()?,
        };
        let settings = MmSettings::of(&args.config_options);
        let value_type = match (self.policy, args.return_field.data_type()) {
            (Policy::Try, DataType::Struct(fields)) => fields[0].data_type(),
            (_, other) => other,
        };
        let answer = (self.kernel.compute)(&arrays, rows, value_type)?;
        let first_row = if all_scalar { 0 } else { self.rows.fetch_add(rows as u64, Ordering::Relaxed) };
        let values = settle(&self.engine, self.name, None, answer, self.policy, &settings, &NumberedFrom(first_row))?
            .whole()
            .map_err(to_datafusion)?;
        if all_scalar { ScalarValue::try_from_array(&values, 0).map(ColumnarValue::Scalar) } else { Ok(ColumnarValue::Array(values)) }
    }
}

impl SameForAll {
    /// The vector as one row.
    fn vector(&self, args: &ScalarFunctionArgs) -> Result<ArrayRef> {
        if let Some(vector) = self.vector.get() {
            return Ok(ArrayRef::clone(vector));
        }
        let literals: Vec<Option<&ScalarValue>> = args.args[1..]
            .iter()
            .map(|argument| match argument {
                ColumnarValue::Scalar(value) => Some(value),
                ColumnarValue::Array(_) => None,
            })
            .collect();
        let fields = &args.arg_fields[1..];
        let return_field = self.call.return_field_from_args(ReturnFieldArgs { arg_fields: fields, scalar_arguments: &literals })?;
        let own = ScalarFunctionArgs {
            args: args.args[1..].to_vec(),
            arg_fields: fields.to_vec(),
            number_rows: 1,
            return_field,
            config_options: Arc::clone(&args.config_options),
        };
        let vector = self.call.invoke_with_args(own)?.to_array(1)?;
        Ok(ArrayRef::clone(self.vector.get_or_init(|| vector)))
    }
}

/// The literal that an argument is, or that a struct of literals makes.
fn literal(argument: &Expr) -> Option<Expr> {
    match argument {
        Expr::Literal(..) => Some(argument.clone()),
        Expr::ScalarFunction(call) if call.name() == "named_struct" => {
            let pair = |pair: &[Expr]| match pair {
                [Expr::Literal(name, _), Expr::Literal(value, _)] => Some((name.try_as_str().flatten()?.to_string(), value.clone())),
                _ => None,
            };
            let pairs = call.args.chunks(2).map(pair).collect::<Option<Vec<_>>>()?;
            let pairs: Vec<(&str, ScalarValue)> = pairs.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
            Some(Expr::Literal(ScalarValue::from(pairs), None))
        }
        _ => None,
    }
}

/// A wrong argument of a function without a model.
pub(super) fn argument_error(message: impl Into<String>, hint: &str) -> Error {
    Error::new(Kind::Argument, message).with_hint(hint)
}
