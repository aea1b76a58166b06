//! Models that say when somebody speaks, frame by frame: Silero VAD.

use serde::{Deserialize, Serialize};

use super::audio_spec::{AudioFeatures, AudioSpec};
use super::import::ImportOptions;
use super::manifest::{Feed, Input, Manifest, Modality, Prediction, Source, Stage};
use super::onnx_file::ONLY_STAGE;
use super::port::{Port, Signature};
use crate::error::{Error, Kind, Result};

/// The graph's inputs and outputs.
pub(crate) const STATE: &str = "state";
pub(crate) const NEXT_STATE: &str = "stateN";
pub(crate) const PROBABILITY: &str = "output";
const SOUND: &str = "input";
const RATE: &str = "sr";

/// Frames and thresholds of Silero VAD, as its own `get_speech_timestamps` has them by default (silero-vad 6.2,
/// `utils_vad.py`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VoiceActivity {
    /// Samples of a frame.
    pub frame: usize,
    /// Samples of the frame before that are given with it.
    pub context: usize,
    /// From it on a frame is speech.
    pub threshold: f32,
    /// Below it a frame is silence.
    pub silence_threshold: f32,
    /// Shorter speech is none, in samples.
    pub min_speech: usize,
    /// Shorter silence does not end speech, in samples.
    pub min_silence: usize,
    /// What is added to both ends, in samples.
    pub padding: usize,
}

/// Silero's rate; it has a second one of 8,000, which hears less.
const SAMPLING_RATE: u32 = 16_000;

/// The model, if the graph has Silero's inputs and outputs.
pub(super) fn read(graph: &str, signature: &Signature, options: &ImportOptions) -> Result<Option<Manifest>> {
    let names = |ports: &[Port]| ports.iter().map(|port| port.name.clone()).collect::<Vec<_>>();
    let (mut inputs, mut outputs) = (names(&signature.inputs), names(&signature.outputs));
    inputs.sort();
    outputs.sort();
    if inputs != [SOUND, RATE, STATE] || outputs != [PROBABILITY, NEXT_STATE] {
        return Ok(None);
    }
    if options.task.is_some() {
        return Err(
            Error::new(Kind::Setting, "option task has no effect: the graph is that of Silero VAD").with_hint("leave the option out")
        );
    }
    let input = || SOUND.to_string();
    let feed = |port: &Port| {
        let source = match port.name.as_str() {
            SOUND => Source::Sound { input: input() },
            STATE => Source::Carried { output: NEXT_STATE.into() },
            _ => Source::Constant { value: f64::from(SAMPLING_RATE), shape: Vec::new() },
        };
        Feed { port: port.clone(), source }
    };
    let feeds = signature.inputs.iter().map(feed).collect();
    let spec = AudioSpec { sampling_rate: SAMPLING_RATE, features: AudioFeatures::Waveform { normalize: false, masked: false } };
    let activity = VoiceActivity {
        frame: 512,
        context: 64,
        threshold: 0.5,
        silence_threshold: 0.35,
        min_speech: 4_000,
        min_silence: 1_600,
        padding: 480,
    };
    let stage = Stage { name: ONLY_STAGE.into(), graph: graph.to_string(), feeds, outputs: signature.outputs.clone() };
    let inputs = vec![Input::new("audio", Modality::Audio(spec))];
    Ok(Some(Manifest::new(inputs, vec![stage], Prediction::VoiceActivity { activity }, None)))
}
