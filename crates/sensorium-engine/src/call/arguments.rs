//! Which argument of a call goes to which input of its model.

use arrow::array::{Array, ArrayRef, StructArray};
use arrow::datatypes::{DataType, FieldRef};
use sensorium_inference::{Error, Input, Kind, Manifest, Modality, Result, input_accepts};

/// Where the values of one input come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// An argument of the call, counted behind the model.
    Argument(usize),
    /// A field of the call's one struct argument.
    Field(usize),
}

/// The places of each input, in the order of the manifest; none for an absent input, several for a vector that is
/// given number by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binding(Vec<Vec<Place>>);

/// Binds arguments of the given types to the inputs of a model, and checks that they fit.
///
/// # Errors
/// [`Kind::Argument`] for a missing, superfluous, misnamed or ill-typed argument.
pub(crate) fn bind(model: &str, manifest: &Manifest, arguments: &[FieldRef]) -> Result<Binding> {
    let binding = match arguments {
        [single] if matches!(single.data_type(), DataType::Struct(_)) => by_name(model, manifest, single.data_type())?,
        _ => by_position(model, manifest, arguments)?,
    };
    for (input, places) in manifest.inputs.iter().zip(&binding.0) {
        for place in places {
            check(input, places.len() > 1, binding.data_type(place, arguments))?;
        }
    }
    Ok(binding)
}

fn check(input: &Input, is_place: bool, data_type: Option<&DataType>) -> Result<()> {
    let Some(data_type) = data_type else { return Ok(()) };
    match (&input.modality, data_type) {
        // One place of a vector that is given number by number.
        (Modality::Vector { element, .. }, number) if is_place => {
            let place = Input { modality: Modality::Number { element: *element, missing: None }, ..input.clone() };
            input_accepts(&place, number)
        }
        _ => input_accepts(input, data_type),
    }
}

fn by_name(model: &str, manifest: &Manifest, data_type: &DataType) -> Result<Binding> {
    let DataType::Struct(fields) = data_type else { return Ok(Binding(Vec::new())) };
    let names = || manifest.inputs.iter().map(|input| input.name.as_str());
    for field in fields {
        if manifest.input(field.name()).is_none() {
            return Err(Error::new(Kind::Argument, format!("model '{model}' has no input '{}'", field.name())).with_nearest(
                field.name(),
                names(),
                "its inputs",
            ));
        }
    }
    let places = manifest.inputs.iter().map(|input| match fields.iter().position(|field| *field.name() == input.name) {
        Some(index) => Ok(vec![Place::Field(index)]),
        None if input.optional => Ok(Vec::new()),
        None => Err(missing(model, manifest, &input.name)),
    });
    Ok(Binding(places.collect::<Result<_>>()?))
}

fn missing(model: &str, manifest: &Manifest, name: &str) -> Error {
    Error::new(Kind::Argument, format!("model '{model}' needs the input '{name}'"))
        .with_hint(format!("its inputs: {}", signature(manifest)))
}

/// `amount (number), note (text, optional)`
pub(crate) fn signature(manifest: &Manifest) -> String {
    let one = |input: &Input| format!("{} ({}{})", input.name, input.modality.name(), if input.optional { ", optional" } else { "" });
    manifest.inputs.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn by_position(model: &str, manifest: &Manifest, arguments: &[FieldRef]) -> Result<Binding> {
    let inputs = &manifest.inputs;
    if let [Input { modality: Modality::Vector { width, .. }, .. }] = inputs.as_slice()
        && arguments.len() == *width
        && arguments.iter().all(|argument| !argument.data_type().is_nested())
    {
        return Ok(Binding(vec![(0..*width).map(Place::Argument).collect()]));
    }
    if arguments.len() > inputs.len() {
        let message = format!("model '{model}' takes {} inputs, got {}", inputs.len(), arguments.len());
        return Err(Error::new(Kind::Argument, message).with_hint(format!("its inputs: {}", signature(manifest))));
    }
    let places = inputs.iter().enumerate().map(|(index, input)| match arguments.get(index) {
        Some(_) => Ok(vec![Place::Argument(index)]),
        None if input.optional => Ok(Vec::new()),
        None => Err(missing(model, manifest, &input.name)),
    });
    Ok(Binding(places.collect::<Result<_>>()?))
}

impl Binding {
    fn data_type<'a>(&self, place: &Place, arguments: &'a [FieldRef]) -> Option<&'a DataType> {
        match place {
            Place::Argument(index) => arguments.get(*index).map(|field| field.data_type()),
            Place::Field(index) => match arguments.first().map(|field| field.data_type()) {
                Some(DataType::Struct(fields)) => fields.get(*index).map(|field| field.data_type()),
                _ => None,
            },
        }
    }

    /// Whether some required input may be NULL.
    pub(crate) fn may_be_null(&self, manifest: &Manifest, arguments: &[FieldRef]) -> bool {
        let field_is_nullable = |index: &usize| match arguments.first().map(|field| field.data_type()) {
            Some(DataType::Struct(fields)) => fields.get(*index).is_none_or(|field| field.is_nullable()),
            _ => true,
        };
        let is_nullable = |place: &Place| match place {
            Place::Argument(index) => arguments.get(*index).is_none_or(|field| field.is_nullable()),
            Place::Field(index) => arguments.first().is_none_or(|field| field.is_nullable()) || field_is_nullable(index),
        };
        manifest
            .inputs
            .iter()
            .zip(&self.0)
            .filter(|(input, places)| manifest.needs(input, !places.is_empty()))
            .any(|(_, places)| places.iter().any(is_nullable))
    }

    /// The columns of each input.
    pub(crate) fn columns(&self, arguments: &[ArrayRef]) -> Vec<Vec<ArrayRef>> {
        let fields = arguments.first().and_then(|array| array.as_any().downcast_ref::<StructArray>()).map(flattened);
        let column = |place: &Place| match place {
            Place::Argument(index) => arguments.get(*index).cloned(),
            Place::Field(index) => fields.as_ref().and_then(|fields| fields.get(*index).cloned()),
        };
        self.0.iter().map(|places| places.iter().filter_map(column).collect()).collect()
    }
}

/// Fields of a struct column, NULL where the struct is.
fn flattened(structs: &StructArray) -> Vec<ArrayRef> {
    match structs.nulls() {
        None => structs.columns().to_vec(),
        Some(nulls) => {
            let is_null = arrow::array::BooleanArray::new(!nulls.inner(), None);
            let masked = |column: &ArrayRef| arrow::compute::nullif(column, &is_null).unwrap_or_else(|_| ArrayRef::clone(column));
            structs.columns().iter().map(masked).collect()
        }
    }
}
