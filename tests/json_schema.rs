//! Answers that are JSON of a schema: another library reads and checks them.

use arrow::array::AsArray;
use libtest_mimic::Failed;
use sensorium_inference::Random;
use serde_json::{Map, Value, json};

use crate::support::{Fresh, ensure};
use crate::{Outcome, Test};

pub(crate) const TESTS: &[Test] = &[
    ("answers_end_where_there_is_little_room", answers_that_end),
    ("answers_of_random_schemas", answers_of_random_schemas),
    ("schemas_that_are_refused", refused),
];

const SCHEMAS: usize = 200;

fn asked() -> Result<Fresh, Failed> {
    let fresh = Fresh::with_models(&[("llama", "tests/fixtures/text/llama")])?;
    fresh.rows("CREATE VIEW notes AS SELECT column1 AS note FROM (VALUES ('The invoice'), ('Which supplier?'))")?;
    Ok(fresh)
}

fn answers(fresh: &Fresh, schema: &Value, options: &str) -> Result<Vec<String>, Failed> {
    let schema_text = schema.to_string().replace('\'', "''");
    let query = format!("SELECT mm_generate('llama', note, {{json_schema: '{schema_text}', {options}}}) FROM notes");
    let found = fresh.column(&query).map_err(|error| format!("{schema}: {error:?}"))?;
    Ok(found.as_string::<i32>().iter().flatten().map(str::to_string).collect())
}

fn check(schema: &Value, answers: &[String]) -> Outcome {
    let validator = jsonschema::validator_for(schema).map_err(|error| format!("{schema}: {error}"))?;
    ensure(answers.len() == 2, || format!("{schema}: {} answers", answers.len()))?;
    for answer in answers {
        let read: Value = serde_json::from_str(answer).map_err(|error| format!("{schema}: {error} in {answer:?}"))?;
        validator.validate(&read).map_err(|error| format!("{schema}: {error} in {answer:?}"))?;
    }
    Ok(())
}

/// A model of random weights writes anything; what it may write is what counts. By the likeliest tokens, and by chance.
fn answers_of_random_schemas() -> Outcome {
    let fresh = asked()?;
    let mut random = Random::new(8);
    for number in 0..SCHEMAS {
        let schema = with_definitions(&mut random);
        let options = if number % 2 == 0 { "max_tokens: 200".into() } else { format!("max_tokens: 200, temperature: 1.5, seed: {number}") };
        check(&schema, &answers(&fresh, &schema, &options)?)?;
    }
    Ok(())
}

/// A text without bounds ends in time all the same; what no room is enough for is an error of its row.
fn answers_that_end() -> Outcome {
    let fresh = asked()?;
    let schema = json!({
        "type": "object",
        "properties": { "why": { "type": "string" }, "parts": { "type": "array", "items": { "type": "string" }, "minItems": 2 } },
        "required": ["why", "parts"],
    });
    for tokens in [28, 40, 60, 100] {
        for options in [format!("max_tokens: {tokens}"), format!("max_tokens: {tokens}, temperature: 2.0, seed: {tokens}")] {
            check(&schema, &answers(&fresh, &schema, &options)?)?;
        }
    }
    let long = json!({ "type": "string", "minLength": 500 });
    let error = fresh.error(&format!("SELECT mm_generate('llama', note, {{json_schema: '{long}', max_tokens: 50}}) FROM notes"))?;
    ensure(error.contains("50 tokens have no room for an answer of json_schema"), || error.clone())?;
    // The schema may be written as a struct.
    let query =
        "SELECT mm_generate('llama', note, {max_tokens: 9, json_schema: {enum: ['paid', 'open']}}) IN ('\"paid\"', '\"open\"') FROM notes";
    let found = fresh.column(query)?;
    ensure(found.as_boolean().true_count() == 2, || format!("{found:?}"))
}

fn refused() -> Outcome {
    let fresh = asked()?;
    let cases = [
        ("{json_schema: '{\"type\": \"strin\"}'}", "json_schema cannot be carried out"),
        ("{json_schema: '{\"type\": \"array\", \"uniqueItems\": true}'}", "json_schema cannot be carried out"),
        ("{json_schema: 'no schema'}", "json_schema: not a usable value"),
        ("{json_schema: 5}", "json_schema: not a usable value"),
        ("{json_schema: '{}', beams: 2}", "json_schema beside beams or stop texts"),
    ];
    for (options, expected) in cases {
        let error = fresh.error(&format!("EXPLAIN SELECT mm_generate('llama', note, {options}) FROM notes"))?;
        ensure(error.contains(expected), || format!("{options}: {error}"))?;
    }
    Ok(())
}

fn with_definitions(random: &mut Random) -> Value {
    let mut schema = object(random, 3);
    if let Some(own) = schema.as_object_mut() {
        own.insert(
            "$defs".into(),
            json!({ "code": { "type": "string", "pattern": "^[A-Z]{2}[0-9]{1,3}$" }, "flag": { "type": "boolean" } }),
        );
    }
    schema
}

fn any(random: &mut Random, depth: usize) -> Value {
    match random.below(if depth == 0 { 9 } else { 12 }) {
        0 => json!({ "type": "boolean" }),
        1 => json!({ "type": "null" }),
        2 => json!({ "type": "integer", "minimum": -(random.below(50) as i64), "maximum": 60 + random.below(1_000) }),
        3 => json!({ "type": "number", "minimum": 0, "maximum": 1 }),
        4 => json!({ "type": "string", "maxLength": 1 + random.below(12) }),
        5 => json!({ "enum": ["paid", "open", 7, null, "a \"quoted\" word"] }),
        6 => json!({ "const": { "kind": "fixed", "value": [1, 2] } }),
        7 => json!({ "$ref": if random.below(2) == 0 { "#/$defs/code" } else { "#/$defs/flag" } }),
        8 => json!({ "type": "string", "format": "date" }),
        9 => json!({ "anyOf": [any(random, depth - 1), any(random, depth - 1)] }),
        10 => {
            let least = random.below(2);
            json!({ "type": "array", "items": any(random, depth - 1), "minItems": least, "maxItems": least + random.below(3) })
        }
        _ => object(random, depth - 1),
    }
}

fn object(random: &mut Random, depth: usize) -> Value {
    let names: Vec<String> = (0..1 + random.below(4)).map(|number| format!("field {number}")).collect();
    let properties: Map<String, Value> = names.iter().map(|name| (name.clone(), any(random, depth))).collect();
    let others = if random.below(2) == 0 { json!(false) } else { json!({ "type": "boolean" }) };
    let required: Vec<&String> = names.iter().filter(|_| random.below(3) > 0).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": others })
}
