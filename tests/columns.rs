//! Every Arrow encoding of strings, numbers, bytes and lists goes in, empty and NULL ones too.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, DictionaryArray, FixedSizeListArray, Float32Array, Int32Array,
    LargeBinaryArray, ListArray, RecordBatch, StringArray, StringDictionaryBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Int8Type, Int32Type};

use crate::support::{Fresh, cached, ensure, fresh, numbers};
use crate::{Outcome, Test};

pub(crate) const TESTS: &[Test] = &[("bytes", bytes), ("empty", empty), ("lists", lists), ("numbers", all_numbers), ("strings", strings)];

fn table(fresh: &Fresh, column: ArrayRef) -> Outcome {
    let batch = RecordBatch::try_from_iter_with_nullable([("x", column, true)])?;
    fresh.session.context().deregister_table("t")?;
    fresh.session.context().register_batch("t", batch)?;
    Ok(())
}

fn strings() -> Outcome {
    let fresh = Fresh::with_models(&[("minilm", &cached("models/minilm"))])?;
    let plain: ArrayRef = Arc::new(StringArray::from(vec![Some("good"), None, Some("bad"), Some("good")]));
    let mut builder = StringDictionaryBuilder::<Int8Type>::new();
    [Some("good"), None, Some("bad"), Some("good")].into_iter().for_each(|text| builder.append_option(text));
    let large_values: ArrayRef = Arc::new(builder.finish());
    let variants = [
        Arc::clone(&plain),
        cast(&plain, &DataType::LargeUtf8)?,
        cast(&plain, &DataType::Utf8View)?,
        Arc::clone(&large_values),
        cast(&plain, &DataType::Dictionary(Box::new(DataType::Int16), Box::new(DataType::LargeUtf8)))?,
        plain.slice(0, 4),
    ];
    let mut first: Option<ArrayRef> = None;
    for column in variants {
        let data_type = column.data_type().clone();
        table(&fresh, column)?;
        let found = fresh.column("SELECT mm_embed('minilm', x) FROM t")?;
        ensure(found.is_null(1) && found.null_count() == 1, || format!("{data_type}: {} NULLs", found.null_count()))?;
        let same = first.get_or_insert_with(|| Arc::clone(&found)).as_ref() == found.as_ref();
        ensure(same, || format!("{data_type} gives another answer"))?;
    }
    Ok(())
}

fn all_numbers() -> Outcome {
    let fresh = Fresh::with_models(&[("add", "tests/fixtures/tiny/add.onnx")])?;
    let plain: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(3)]));
    let types = [
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Float16,
        DataType::Float32,
        DataType::Float64,
        DataType::Decimal128(10, 2),
        DataType::Decimal256(20, 3),
    ];
    for data_type in types {
        table(&fresh, cast(&plain, &data_type)?)?;
        let rows = fresh.rows("SELECT mm_predict('add', x, 1).sum FROM t")?;
        let sums = rows.column(0).as_primitive::<Float32Type>();
        ensure(sums.iter().eq([Some(2.0), None, Some(4.0)]), || format!("{data_type}: {sums:?}"))?;
    }
    let dictionary: DictionaryArray<Int32Type> =
        DictionaryArray::new(Int32Array::from(vec![0, 1, 0]), Arc::new(Float32Array::from(vec![1.0, 2.0])));
    table(&fresh, Arc::new(dictionary))?;
    let rows = fresh.rows("SELECT mm_predict('add', x, 1).sum FROM t")?;
    ensure(numbers(rows.column(0))? == [2.0, 3.0, 2.0], || "a dictionary of numbers".into())
}

fn lists() -> Outcome {
    let fresh = Fresh::with_models(&[("affine", "tests/fixtures/tiny/affine.onnx")])?;
    let fixed: ArrayRef = Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
        vec![Some(vec![Some(0.0), Some(0.0)]), Some(vec![Some(1.0), Some(1.0)]), None, Some(vec![Some(-1.0), Some(2.0)])],
        2,
    ));
    let list = DataType::new_list(DataType::Float64, true);
    for column in
        [Arc::clone(&fixed), cast(&fixed, &list)?, cast(&fixed, &DataType::new_large_list(DataType::Int32, true))?, fixed.slice(1, 3)]
    {
        let (data_type, rows) = (column.data_type().clone(), column.len());
        table(&fresh, column)?;
        let found = fresh.rows("SELECT mm_predict('affine', x).y FROM t")?;
        let values = found.column(0).as_primitive::<Float32Type>();
        let expected = [Some(1.0), Some(6.0), None, Some(5.0)];
        ensure(values.iter().eq(expected[4 - rows..].iter().copied()), || format!("{data_type}: {values:?}"))?;
    }
    // A NULL inside a list and a list of the wrong length fail their rows only.
    fresh.rows("SET mm.on_error = 'null'")?;
    let ragged = ListArray::from_iter_primitive::<Float32Type, _, _>(vec![
        Some(vec![Some(1.0), None]),
        Some(vec![Some(1.0)]),
        Some(vec![Some(1.0), Some(1.0)]),
    ]);
    table(&fresh, Arc::new(ragged))?;
    let found = fresh.rows("SELECT mm_predict('affine', x).y FROM t")?;
    ensure(found.column(0).as_primitive::<Float32Type>().iter().eq([None, None, Some(6.0)]), || format!("{:?}", found.column(0)))?;
    let errors = fresh.rows("SELECT message FROM mm_errors()")?;
    ensure(errors.num_rows() == 2, || format!("{} errors", errors.num_rows()))
}

fn bytes() -> Outcome {
    let fresh = Fresh::with_models(&[("effnet", &cached("models/efficientnet-lite0"))])?;
    let picture = std::fs::read("tests/fixtures/pictures/photo_coffee.jpg")?;
    let values = [Some(picture.as_slice()), None];
    let by_uri = fresh.rows("SELECT mm_predict('effnet', 'tests/fixtures/pictures/photo_coffee.jpg').label")?;
    let expected = by_uri.column(0).as_string::<i32>().value(0).to_string();
    let variants: [ArrayRef; 3] = [
        Arc::new(values.into_iter().collect::<BinaryArray>()),
        Arc::new(values.into_iter().collect::<LargeBinaryArray>()),
        Arc::new(values.into_iter().collect::<BinaryViewArray>()),
    ];
    for column in variants {
        table(&fresh, column)?;
        let rows = fresh.rows("SELECT mm_predict('effnet', x).label FROM t")?;
        let labels = rows.column(0).as_string::<i32>();
        ensure(labels.iter().eq([Some(expected.as_str()), None]), || format!("{labels:?}"))?;
    }
    Ok(())
}

fn empty() -> Outcome {
    let fresh = fresh();
    for (name, package) in
        [("minilm", cached("models/minilm")), ("effnet", cached("models/efficientnet-lite0")), ("credit", "examples/models/credit".into())]
    {
        fresh.rows(&format!("CREATE MODEL {name} FROM '{package}'"))?;
    }
    fresh.register("loans", "examples/data/credit_data.parquet")?;
    for query in [
        "SELECT mm_embed('minilm', x) FROM (SELECT 'a' AS x) WHERE x = 'b'",
        "SELECT mm_predict('effnet', x) FROM (SELECT 'a' AS x) WHERE x = 'b'",
        "SELECT mm_predict('credit', l.*) FROM loans l WHERE \"Amount\" < 0",
        "SELECT * FROM mm_predict_table('credit', (SELECT * FROM loans LIMIT 0))",
    ] {
        let rows = fresh.rows(query)?;
        ensure(rows.num_rows() == 0, || format!("{} rows: {query}", rows.num_rows()))?;
    }
    let all_null =
        fresh.rows("SELECT mm_embed('minilm', NULL), mm_predict('effnet', NULL), mm_similarity(NULL, NULL), mm_embed('minilm', '')")?;
    let nulls: Vec<bool> = (0..4).map(|column| all_null.column(column).is_null(0)).collect();
    ensure(nulls == [true, true, true, false], || format!("{nulls:?}"))
}
