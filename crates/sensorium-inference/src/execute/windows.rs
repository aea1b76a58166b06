//! How many rows a call should get at once.

use super::limits::Limits;
use super::memo::is_worthwhile;
use crate::package::{Input, Manifest, Modality};

/// What rows gain from being given to a model together with many others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Windows {
    /// Nothing, and they wait for nobody either: numbers on the CPU that are not told apart.
    Single,
    /// No more than busy cores: media, each of which is worked off alone and whose results may be long.
    Short,
    /// The more texts or series are sorted together, the less of a batch is padding; the more rows are told apart together, the
    /// fewer are run.
    Long,
}

/// Which windows suit the calls of a model.
pub fn windows(manifest: &Manifest, limits: &Limits) -> Windows {
    // What was paid for is kept soon.
    if manifest.endpoint.is_some() {
        return Windows::Short;
    }
    let has = |is: fn(&Input) -> bool| manifest.inputs.iter().any(is);
    if has(|input| input.modality.is_media()) {
        return Windows::Short;
    }
    let has_length = has(|input| matches!(input.modality, Modality::Text(_) | Modality::Prompt | Modality::Series(_)));
    if has_length || limits.device.may_be_gpu() || is_worthwhile(manifest, limits) { Windows::Long } else { Windows::Single }
}
