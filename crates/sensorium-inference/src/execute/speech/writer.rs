//! One window of several clips: encode, then write until each has ended.

use std::sync::Arc;

use super::super::decoder::{Decoder, Looked, State};
use super::super::encode::Work;
use super::super::feeds::floats;
use super::clip::{Clip, Sound};
use super::incomplete;
use super::rules::{likeliest, next_token};
use super::segments::{Segment, parts};
use crate::error::{Error, Kind, Result};
use crate::package::{ENCODER, Source, Speech, Stage};

/// Rows that have ended are taken out of the batch when they are at least this part of it: copying a cache has its price.
const ENDED_PART: usize = 4;

/// The graphs of a speech model for one call.
pub(super) struct Writer<'a> {
    work: &'a Work<'a>,
    sound: Sound<'a>,
    speech: &'a Speech,
    encoder: (usize, &'a Stage),
    decoder: Decoder<'a>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(work: &'a Work<'a>, speech: &'a Speech) -> Result<Self> {
        let mut stages = work.model.manifest.stages.iter().enumerate();
        let encoder = stages.find(|(_, stage)| stage.name == ENCODER).ok_or_else(|| incomplete("an encoder"))?;
        Ok(Self { work, sound: Sound::of(&work.model.manifest)?, speech, encoder, decoder: Decoder::of(work)? })
    }

    /// Writes the next window of each clip.
    pub(super) fn write(&self, clips: &mut [Clip]) -> Result<()> {
        let encoded = self.encoded(clips)?;
        self.find_languages(&encoded, clips)?;
        let prompts: Vec<Vec<u32>> = clips.iter().map(|clip| self.speech.prompt(clip.language.as_deref())).collect();
        let texts = self.tokens(encoded, prompts)?;
        self.work.request.stats.batches.add(1);
        // All or none: clips of a batch that failed are written again in smaller ones.
        let windows = clips.iter().zip(texts).map(|(clip, tokens)| self.window(clip, &tokens)).collect::<Result<Vec<_>>>()?;
        for (clip, (segments, frames)) in clips.iter_mut().zip(windows) {
            clip.segments.extend(segments);
            clip.seek += frames;
        }
        Ok(())
    }

    fn encoded(&self, clips: &[Clip]) -> Result<State> {
        let states = self.encode(clips)?;
        let steps = states.shape().get(1).and_then(|steps| usize::try_from(*steps).ok()).unwrap_or(0);
        let steps = vec![steps; clips.len()];
        Ok(State::new(Some(Looked { states: Arc::new(states), steps }), clips.len()))
    }

    fn encode(&self, clips: &[Clip]) -> Result<ort::value::DynValue> {
        let (index, stage) = self.encoder;
        let [feed] = stage.feeds.as_slice() else { return Err(incomplete("an encoder of one input")) };
        let (mels, frames) = (self.sound.mels, self.sound.window_frames());
        let mut values = vec![0.0; clips.len() * mels * frames];
        clips.iter().zip(values.chunks_exact_mut(mels * frames)).for_each(|(clip, values)| clip.window(values, mels));
        let value = floats(&feed.port, vec![clips.len(), mels, frames], values)?;
        let feeds = vec![(feed.port.name.clone(), Arc::new(value))];
        let (cancel, stats) = (self.work.request.cancel, self.work.request.stats);
        let outputs = cancel.guard(|options| self.work.model.sessions().run(index, feeds, options, stats))?;
        let wanted = self.work.model.manifest.stages.iter().flat_map(|stage| &stage.feeds).find_map(|feed| match &feed.source {
            Source::States { output, .. } => Some(output.as_str()),
            _ => None,
        });
        let states = outputs.into_iter().find(|(name, _)| Some(name.as_str()) == wanted).map(|(_, value)| value);
        states.ok_or_else(|| Error::new(Kind::Model, "the encoder gave no states"))
    }

    /// The language of each clip that is not known to be in one: the likeliest of their tokens behind the first.
    fn find_languages(&self, encoded: &State, clips: &mut [Clip]) -> Result<()> {
        let languages = &self.speech.languages;
        if languages.is_empty() {
            return Ok(());
        }
        if let Some(language) = &self.speech.language {
            clips.iter_mut().for_each(|clip| clip.language = Some(language.clone()));
        }
        if clips.iter().all(|clip| clip.language.is_some()) {
            return Ok(());
        }
        let start = vec![vec![self.speech.start]; clips.len()];
        let mut scores = self.decoder.step(&mut encoded.fresh(), &start)?;
        let tokens: Vec<(&String, u32)> = languages.iter().map(|(name, token)| (name, *token)).collect();
        for (clip, scores) in clips.iter_mut().zip(scores.rows()?).filter(|(clip, _)| clip.language.is_none()) {
            let own: Vec<f32> = tokens.iter().map(|(_, token)| scores.get(*token as usize).copied().unwrap_or(f32::NEG_INFINITY)).collect();
            clip.language = tokens.get(likeliest(&own) as usize).map(|(name, _)| (*name).clone());
        }
        Ok(())
    }

    /// What is written behind each prompt; all prompts are equally long.
    fn tokens(&self, mut state: State, prompts: Vec<Vec<u32>>) -> Result<Vec<Vec<u32>>> {
        let behind = prompts.first().map_or(0, Vec::len);
        let mut texts = vec![Vec::new(); prompts.len()];
        // Places of the rows that are still in the batch, and whether each has ended.
        let mut places: Vec<usize> = (0..prompts.len()).collect();
        let mut new = prompts.clone();
        let mut written = prompts;
        let mut has_ended = vec![false; places.len()];
        while written.first().is_some_and(|tokens| tokens.len() < self.speech.max_tokens) {
            let mut scores = self.decoder.step(&mut state, &new)?;
            for (row, scores) in scores.rows()?.enumerate() {
                let own = if has_ended[row] { self.speech.end } else { next_token(scores, &written[row][behind..], self.speech) };
                has_ended[row] |= own == self.speech.end;
                written[row].push(own);
            }
            let ended = has_ended.iter().filter(|ended| **ended).count();
            self.work.request.stats.generated_tokens.add(has_ended.len() - ended);
            if ended == has_ended.len() {
                break;
            }
            if ended * ENDED_PART >= has_ended.len() {
                let kept: Vec<usize> = (0..places.len()).filter(|row| !has_ended[*row]).collect();
                for row in (0..places.len()).filter(|row| has_ended[*row]) {
                    texts[places[row]] = std::mem::take(&mut written[row]);
                }
                state = state.select(&kept)?;
                places = kept.iter().map(|row| places[*row]).collect();
                written = kept.iter().map(|row| std::mem::take(&mut written[*row])).collect();
                has_ended = vec![false; kept.len()];
            }
            new = written.iter().map(|tokens| tokens.last().copied().into_iter().collect()).collect();
        }
        for (place, tokens) in places.into_iter().zip(written) {
            texts[place] = tokens;
        }
        let own = |tokens: Vec<u32>| tokens.into_iter().skip(behind).take_while(|token| *token != self.speech.end).collect();
        Ok(texts.into_iter().map(own).collect())
    }

    /// What was written for the next window of a clip, and how many frames lie before the one behind it.
    fn window(&self, clip: &Clip, tokens: &[u32]) -> Result<(Vec<Segment>, usize)> {
        let frames = (clip.frames - clip.seek).min(self.sound.window_frames());
        let (parts, next) = parts(tokens, self.speech, frames);
        let step = self.sound.step_seconds();
        let offset = clip.seek as f64 / super::clip::FRAMES_A_STEP as f64 * step;
        let mut segments = Vec::new();
        for part in parts {
            let words: Vec<u32> = part.tokens.iter().copied().filter(|token| *token < self.speech.first_timestamp()).collect();
            let text = self.work.model.text_codec().ok_or_else(|| incomplete("a tokenizer"))?.decode(&words)?;
            if !text.trim().is_empty() {
                segments.push(Segment { start: offset + part.start as f64 * step, end: offset + part.end as f64 * step, text });
            }
        }
        Ok((segments, next))
    }
}
