//! `mm_predict('credit', t.*)`: the columns whose names are inputs of the model.

use arrow::datatypes::FieldRef;
use datafusion::common::{DFSchema, TableReference};
use datafusion::error::Result;
use datafusion::functions::core::expr_fn::named_struct;
use datafusion::logical_expr::{Expr, lit};
use sensorium_inference::{Error, Kind, Manifest};

use super::arguments::signature;
use crate::errors::to_datafusion;

/// Writes out the `*` among `arguments` (the model is not one of them) as a struct of the columns of `schema` that the
/// model has inputs for. Arguments without `*` are returned as they are.
pub(crate) fn expand_wildcards(model: &str, manifest: &Manifest, arguments: Vec<Expr>, schema: &DFSchema) -> Result<Vec<Expr>> {
    #[expect(deprecated, reason = "the SQL planner still makes it of `*` in a function's arguments")]
    let qualifiers: Vec<Option<&TableReference>> = arguments
        .iter()
        .filter_map(|argument| match argument {
            Expr::Wildcard { qualifier, .. } => Some(qualifier.as_ref()),
            _ => None,
        })
        .collect();
    let [qualifier] = qualifiers.as_slice() else {
        return Ok(arguments);
    };
    if arguments.len() > 1 {
        let mixed = Error::new(Kind::Argument, "`*` must be the only argument behind the model")
            .with_hint("name all inputs: {income: t.income, ..}");
        return Err(to_datafusion(mixed));
    }
    let mut fields = Vec::new();
    for input in &manifest.inputs {
        let is_match = |(table, field): &(Option<&TableReference>, &FieldRef)| {
            *field.name() == input.name && qualifier.is_none_or(|wanted| table.is_some_and(|table| wanted.resolved_eq(table)))
        };
        let matches: Vec<_> = schema.iter().filter(is_match).collect();
        match matches.as_slice() {
            [(table, field)] => fields.extend([lit(input.name.as_str()), Expr::Column((*table, *field).into())]),
            [] => {}
            _ => {
                let ambiguous = Error::new(Kind::Argument, format!("`*` has several columns named '{}'", input.name))
                    .with_hint("write t.* for one table's columns");
                return Err(to_datafusion(ambiguous));
            }
        }
    }
    if fields.is_empty() {
        let nothing = Error::new(Kind::Argument, format!("`*` has no column that is an input of model '{model}'"));
        return Err(to_datafusion(nothing.with_hint(format!("its inputs: {}", signature(manifest)))));
    }
    Ok(vec![named_struct(fields)])
}
