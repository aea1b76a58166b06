//! The graphs of a model and where their inputs come from.

use serde::{Deserialize, Serialize};

use super::port::Port;

/// One graph and where its inputs come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Name by which later stages and outputs refer to it.
    pub name: String,
    /// Path of the `.onnx` file in the package.
    pub graph: String,
    /// One entry per graph input.
    pub feeds: Vec<Feed>,
    /// Everything the graph returns.
    pub outputs: Vec<Port>,
}

impl Stage {
    /// The batch size that the graph insists on, if it does.
    pub fn fixed_batch(&self) -> Option<usize> {
        let first = |feed: &Feed| feed.port.shape.first().copied().flatten().filter(|_| feed.source.is_by_row());
        self.feeds.iter().find_map(first)
    }
}

/// A graph input with the place its tensor is made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Feed {
    /// The graph input.
    pub port: Port,
    /// Where its values come from.
    pub source: Source,
}

/// Where a graph input gets its values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Source {
    /// Number or category inputs, side by side: `[rows]`, `[rows, 1]` or `[rows, inputs]`.
    Columns {
        /// Names of the inputs in the order of the graph's columns.
        inputs: Vec<String>,
    },
    /// A vector input: `[rows, width]`.
    Vector {
        /// Name of the input.
        input: String,
    },
    /// Token ids of a text input or what goes with them: `[rows, tokens]`.
    Tokens {
        /// Name of the input.
        input: String,
        /// Which of the tokenizer's outputs.
        part: TokenPart,
    },
    /// Pixels of an image input: `[rows, channels, height, width]`, or channels last.
    Pixels {
        /// Name of the input.
        input: String,
    },
    /// Frames of a video input: `[rows, frames, channels, height, width]`, channels first, or the frames of all rows as
    /// pictures.
    Frames {
        /// Name of the input.
        input: String,
    },
    /// Pieces of a picture that an earlier stage found: `[pieces, channels, height, width]`.
    Crops,
    /// Features of a sound input: `[rows, samples]`, or the two dimensions that its spectrogram has.
    Sound {
        /// Name of the input.
        input: String,
    },
    /// 1 for samples, 0 for padding: `[rows, samples]`.
    SoundMask {
        /// Name of the input.
        input: String,
    },
    /// A window of measurements: `[rows, steps, channels]`, `[rows, channels, steps]` or `[rows, steps]`.
    Series {
        /// Name of the input.
        input: String,
    },
    /// 1 for steps of a window, 0 for padding: `[rows, steps]`.
    SeriesMask {
        /// Name of the input.
        input: String,
    },
    /// 1 for measurements that were made, 0 for gaps and padding, in the shape of the window.
    SeriesObserved {
        /// Name of the input.
        input: String,
    },
    /// 1 where an optional input is present, else 0: `[rows]` or `[rows, 1]`.
    Present {
        /// Name of the input.
        input: String,
    },
    /// A vector that an earlier stage returned: `[rows, width]`.
    Output(OutputRef),
    /// An output of an earlier stage as it is, whatever its shape.
    States {
        /// Name of the stage.
        stage: String,
        /// Name of the graph output.
        output: String,
    },
    /// 1 for what an earlier stage returned of a row, 0 for what fills it up behind: `[rows, steps]`.
    StatesMask,
    /// 1 for the step that the last marker up to a token stands for, else 0: `[rows, tokens, steps]`.
    MarkedStates {
        /// Token that stands for one step.
        marker: u32,
        /// Token behind which nothing is looked at until the next marker.
        end: Option<u32>,
    },
    /// What the stage makes of these tokens that gives their vectors, those of media in their places: `[rows, tokens, ..]`.
    Embedded {
        /// Name of the graph output.
        output: String,
    },
    /// What a step of a diffusion model works on: noisy pictures, the step, what prompts say, pictures for their encoder or decoder.
    Loop,
    /// Tokens of the text that an encoder reads, or what goes with them: `[rows, tokens]`.
    Asked {
        /// Which of the tokenizer's outputs.
        part: TokenPart,
    },
    /// Tokens that a decoder wrote: all so far, or with a cache those that it has not seen: `[rows, tokens]`.
    Written,
    /// The places of these tokens: `[tokens]`.
    WrittenPositions,
    /// The same for each row: `[rows, tokens]`.
    WrittenPlaces,
    /// 1 for the tokens of a row so far, 0 for what fills it up at its front: `[rows, tokens]`.
    WrittenMask,
    /// What the step before returned as `output`: a decoder's cache, `[rows, heads, tokens, width]`.
    Carried {
        /// Name of the graph output.
        output: String,
    },
    /// Whether there was a step before: `[1]`.
    UsesCache,
    /// Features of the rows whose labels an in-context model knows: `[known rows, features]`.
    ContextFeatures,
    /// Their labels, classes by number: `[known rows]` or `[known rows, 1]`.
    ContextLabels,
    /// What the stage made of them that encodes them once.
    ContextState {
        /// Name of the graph output.
        output: String,
    },
    /// All number inputs of the model, side by side: `[rows, inputs]`.
    Queries,
    /// One number everywhere, whatever the rows: for the other side of a joint graph, which must have something.
    Constant {
        /// The number.
        value: f64,
        /// Shape of the tensor.
        shape: Vec<usize>,
    },
}

impl Source {
    /// Whether it is the same for all rows because it is made of those with known labels.
    pub(crate) fn is_context(&self) -> bool {
        matches!(self, Self::ContextFeatures | Self::ContextLabels | Self::ContextState { .. })
    }

    /// The input of the model that it is made from, but for columns side by side.
    pub(crate) fn input(&self) -> Option<&str> {
        match self {
            Self::Vector { input } | Self::Tokens { input, .. } | Self::Pixels { input } | Self::Frames { input } => Some(input),
            Self::Sound { input } | Self::SoundMask { input } | Self::Present { input } => Some(input),
            Self::Series { input } | Self::SeriesMask { input } | Self::SeriesObserved { input } => Some(input),
            _ => None,
        }
    }

    /// The stage that it is made by.
    pub(crate) fn earlier_stage(&self) -> Option<&str> {
        match self {
            Self::Output(reference) => Some(&reference.stage),
            Self::States { stage, .. } => Some(stage),
            _ => None,
        }
    }

    /// Whether the first dimension of its tensor is that of the rows.
    fn is_by_row(&self) -> bool {
        let is_same = matches!(
            self,
            Self::Constant { .. } | Self::Loop | Self::Carried { .. } | Self::UsesCache | Self::WrittenPositions | Self::Crops
        );
        !is_same && !self.is_context()
    }
}

/// The tensors that a tokenizer gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenPart {
    /// Token ids.
    InputIds,
    /// 1 for tokens, 0 for padding.
    AttentionMask,
    /// Segment ids.
    TokenTypeIds,
    /// 0, 1, 2, ...
    PositionIds,
}

/// One output of one stage, with what is done to it before it is used.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OutputRef {
    /// Name of the stage.
    pub stage: String,
    /// Name of the graph output.
    pub output: String,
    /// How `[rows, tokens, width]` becomes `[rows, width]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// Whether each row is divided by its Euclidean length.
    #[serde(default)]
    pub normalize: bool,
    /// So many values of each row are used, where the graph gives more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<usize>,
}

/// Ways to make one vector of a row's token vectors, named as in sentence-transformers' pooling configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Mean over the tokens that are not padding.
    Mean,
    /// The first token.
    Cls,
    /// Largest value over the tokens that are not padding.
    Max,
    /// The last token that is not padding.
    LastToken,
}
