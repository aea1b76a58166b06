//! `mm_average`: the mean of the vectors of a group.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, DocSection, Documentation, Signature, Volatility};

use super::vectors::{Vectors, is_vector};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "The mean of the vectors of a group, as 32-bit numbers, or their weighted mean: one vector for all reviews of a customer, all frames of a video, all classes of a picture by their probability. NULL vectors and weights are left out; NULL where none is left or the weights add up to nothing.",
        "mm_average(vector [, weight])",
    )
    .with_argument("vector", "A list of numbers, of the same length in all rows of a group")
    .with_argument("weight", "A number")
    .with_sql_example("SELECT customer, mm_average(mm_embed('minilm', review)) AS taste FROM reviews GROUP BY customer")
    .build()
});

pub(super) fn function() -> AggregateUDF {
    AggregateUDF::new_from_impl(Average { signature: Signature::variadic_any(Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Average {
    signature: Signature,
}

fn item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Float32, true))
}

fn sums_type() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Float64, true)))
}

impl AggregateUDFImpl for Average {
    fn name(&self) -> &str {
        "mm_average"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        let is_weight = |data_type: &DataType| data_type.is_numeric() || data_type.is_null();
        match arguments {
            [DataType::FixedSizeList(_, size)] if is_vector(&arguments[0]) => Ok(DataType::FixedSizeList(item(), *size)),
            [DataType::FixedSizeList(_, size), weight] if is_vector(&arguments[0]) && is_weight(weight) => {
                Ok(DataType::FixedSizeList(item(), *size))
            }
            [vector] if is_vector(vector) => Ok(DataType::List(item())),
            [vector, weight] if is_vector(vector) && is_weight(weight) => Ok(DataType::List(item())),
            _ => plan_err!("mm_average takes vectors and, if need be, their weights: mm_average(vector, weight)"),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |part: &str, data_type: DataType| Arc::new(Field::new(format!("{}[{part}]", args.name), data_type, true));
        Ok(vec![field("sums", sums_type()), field("weight", DataType::Float64)])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return plan_err!("mm_average(DISTINCT ..) is not supported: take different vectors in a subquery");
        }
        Ok(Box::new(Sums { sums: None, weight: 0.0, data_type: args.return_field.data_type().clone() }))
    }
}

/// Weighted sums of each place of the vectors, in double precision.
#[derive(Debug)]
struct Sums {
    sums: Option<Vec<f64>>,
    weight: f64,
    data_type: DataType,
}

impl Sums {
    /// A vector or the sum of several. NaN and infinity are errors, as a mean would hide them.
    fn add(&mut self, values: impl ExactSizeIterator<Item = f64>, weight: f64) -> Result<()> {
        let sums = self.sums.get_or_insert_with(|| vec![0.0; values.len()]);
        if sums.len() != values.len() {
            return exec_err!("mm_average: vectors of {} and {} numbers have no mean", sums.len(), values.len());
        }
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        self.weight += weight;
        if sums.iter().chain([&self.weight]).any(|sum| !sum.is_finite()) {
            return exec_err!("mm_average: NaN or infinity among the numbers\n\nhint: leave such rows out: WHERE NOT isnan(x)");
        }
        Ok(())
    }
}

impl Accumulator for Sums {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let vectors = Vectors::new(&values[0])?;
        let weights = values.get(1).map(|weights| cast(weights, &DataType::Float64)).transpose()?;
        let weights = weights.as_ref().map(|weights| weights.as_primitive::<Float64Type>());
        for row in 0..values[0].len() {
            let weight = weights.map_or(Some(1.0), |weights| weights.is_valid(row).then(|| weights.value(row)));
            if let (Some(vector), Some(weight)) = (vectors.row(row), weight) {
                self.add(vector.iter().map(|value| f64::from(*value) * weight), weight)?;
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (sums, weights) = (states[0].as_list::<i32>(), states[1].as_primitive::<Float64Type>());
        for row in (0..sums.len()).filter(|row| sums.is_valid(*row)) {
            let own = sums.value(row);
            self.add(own.as_primitive::<Float64Type>().values().iter().copied(), weights.value(row))?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let sums = match &self.sums {
            Some(sums) => {
                let values: Vec<ScalarValue> = sums.iter().map(|sum| ScalarValue::Float64(Some(*sum))).collect();
                ScalarValue::List(ScalarValue::new_list(&values, &DataType::Float64, true))
            }
            None => ScalarValue::try_from(&sums_type())?,
        };
        Ok(vec![sums, ScalarValue::Float64(Some(self.weight))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let Some(sums) = self.sums.as_ref().filter(|_| self.weight != 0.0) else { return ScalarValue::try_from(&self.data_type) };
        let values: ArrayRef = Arc::new(sums.iter().map(|sum| (sum / self.weight) as f32).collect::<Float32Array>());
        match &self.data_type {
            DataType::FixedSizeList(_, size) => {
                Ok(ScalarValue::FixedSizeList(Arc::new(FixedSizeListArray::try_new(item(), *size, values, None)?)))
            }
            _ => Ok(ScalarValue::List(Arc::new(ListArray::try_new(item(), OffsetBuffer::from_lengths([values.len()]), values, None)?))),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.sums.as_ref().map_or(0, |sums| sums.capacity() * size_of::<f64>())
    }
}
