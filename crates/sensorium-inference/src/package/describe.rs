//! One line per input and output, for `DESCRIBE MODEL`.

use super::image_spec::{ImageSpec, Resize};
use super::joint::Matching;
use super::manifest::{Input, Manifest, Missing, Modality, OutputRef, Prediction};
use super::text_spec::TextSpec;

impl Input {
    /// What the input takes and what is done to it, in one line.
    pub fn describe(&self) -> String {
        let detail = match &self.modality {
            Modality::Number { element, missing } => format!("{element}{}", describe_missing(missing.as_ref())),
            Modality::Category { missing } => format!("string{}", describe_missing(missing.as_ref())),
            Modality::Vector { width, element } => format!("{width} x {element}"),
            Modality::Text(spec) => describe_text(spec),
            Modality::Image(spec) => describe_image(spec),
        };
        if self.optional { format!("{detail}, optional") } else { detail }
    }
}

fn describe_missing(missing: Option<&Missing>) -> String {
    match missing {
        None => String::new(),
        Some(Missing::Number(value)) => format!(", absent = {value}"),
        Some(Missing::Text(value)) => format!(", absent = '{value}'"),
    }
}

fn describe_text(spec: &TextSpec) -> String {
    format!("at most {} tokens", spec.max_tokens)
}

fn describe_image(spec: &ImageSpec) -> String {
    let filter = format!("{:?}", spec.filter).to_lowercase();
    let resize = match spec.resize {
        None => "no resize".to_string(),
        Some(Resize::ShortestEdge { shortest_edge }) => format!("shortest edge to {shortest_edge} ({filter})"),
        Some(Resize::Exact(size)) => format!("resize to {}x{} ({filter})", size.height, size.width),
    };
    let crop = spec.crop.map_or(String::new(), |size| format!(", centre crop {}x{}", size.height, size.width));
    format!("{resize}{crop}, {} channels", spec.channels())
}

impl OutputRef {
    /// Where the value comes from and what is done to it.
    pub fn describe(&self) -> String {
        let pooling = self.pooling.map_or(String::new(), |pooling| format!(", {} pooling", format!("{pooling:?}").to_lowercase()));
        let normalize = if self.normalize { ", L2-normalised" } else { "" };
        format!("{}{pooling}{normalize}", self.output)
    }
}

impl Matching {
    /// How a cosine becomes a probability, in one line.
    pub fn describe(&self) -> String {
        let bias = if self.logit_bias == 0.0 { String::new() } else { format!(" {:+}", self.logit_bias) };
        let prompt = self.prompt.as_ref().map_or(String::new(), |prompt| format!(", prompt '{prompt}'"));
        format!("{} of cosine * {}{bias}{prompt}", format!("{:?}", self.activation).to_lowercase(), self.logit_scale)
    }
}

impl Manifest {
    /// What `mm_predict` makes of the outputs, in one line.
    pub fn describe_prediction(&self) -> String {
        match &self.prediction {
            Prediction::Classification { classes, scores, activation, .. } => {
                format!("{} classes from {}, {}", classes.len(), scores.output, format!("{activation:?}").to_lowercase())
            }
            Prediction::Regression { value } => value.describe(),
            Prediction::Outputs { fields } => fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", "),
        }
    }
}
