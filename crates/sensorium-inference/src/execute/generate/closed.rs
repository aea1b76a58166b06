//! Closed answers: how likely each of some labels is as the answer to a prompt.
//!
//! A label's score is the sum of the log-probabilities of its tokens behind the prompt, as the model gives them, before any rule of
//! generation (`loglikelihood` of EleutherAI's lm-evaluation-harness). Where one label begins another, what ends an answer counts as a
//! token of each, or the shorter could not lose. Probabilities are the softmax of the scores.

use super::likelihood::log_sum_exp;
use super::prompt::Prompts;
use super::writer::checked;
use crate::error::{Error, Kind, Result};
use crate::execute::Limits;
use crate::execute::answer::softmax;
use crate::modality::TextCodec;
use crate::package::{Generation, Reader};

/// Labels as what is written for them.
pub(super) struct Labels {
    tokens: Vec<Vec<u32>>,
    /// Tokens that end an answer, where that counts.
    ends: Option<Vec<u32>>,
}

/// A row's labels: those read so far.
pub(super) struct Closed<'a> {
    labels: &'a Labels,
    scores: Vec<f64>,
    /// Tokens of each label that have a score.
    steps: usize,
}

/// What stands for a prompt where one is needed.
const PROMPT: &str = "A:";

impl Labels {
    /// The labels of the rules; nothing where a text is wanted.
    ///
    /// # Errors
    /// [`Kind::Argument`] for labels that are the same in the tokenizer's eyes, or nothing.
    pub(super) fn of(generation: &Generation, codec: &TextCodec, limits: &Limits) -> Result<Option<Self>> {
        let names = &generation.rules.labels;
        if names.is_empty() {
            return Ok(None);
        }
        let tokens = names.iter().map(|name| tokens(name, generation, codec, limits)).collect::<Result<Vec<_>>>()?;
        for (place, own) in tokens.iter().enumerate() {
            if own.is_empty() || tokens[..place].contains(own) {
                return Err(Error::new(Kind::Argument, format!("label '{}' is nothing of its own to the model's tokenizer", names[place])));
            }
        }
        let begins = |one: &Vec<u32>, other: &Vec<u32>| one.len() < other.len() && other.starts_with(one);
        let has_starts = tokens.iter().any(|one| tokens.iter().any(|other| begins(one, other)));
        Ok(Some(Self { tokens, ends: has_starts.then(|| generation.ends.clone()) }))
    }

    /// The number of labels.
    pub(super) fn count(&self) -> usize {
        self.tokens.len()
    }

    /// Steps that the longest label takes.
    pub(super) fn longest(&self) -> usize {
        self.tokens.iter().map(Vec::len).max().unwrap_or(0) + usize::from(self.ends.is_some())
    }

    pub(super) fn begin(&self) -> Closed<'_> {
        Closed { labels: self, scores: vec![0.0; self.tokens.len()], steps: 0 }
    }
}

impl Closed<'_> {
    /// Texts that are read side by side: the prompt alone at first.
    pub(super) fn running(&self) -> usize {
        if self.steps == 0 { 1 } else { self.labels.count() }
    }

    /// What is read next of each: the token that has a score, where another is behind it.
    pub(super) fn next(&self) -> impl Iterator<Item = Vec<u32>> {
        let places = |tokens: &Vec<u32>| tokens.len() + usize::from(self.labels.ends.is_some());
        let last = move |tokens: &Vec<u32>| tokens.get(self.steps.checked_sub(1)?).copied().filter(|_| self.steps < places(tokens));
        self.labels.tokens.iter().map(move |tokens| last(tokens).into_iter().collect()).take(self.running())
    }

    /// Adds what the model says of the next token of each label.
    pub(super) fn add(&mut self, scores: &[&mut [f32]]) -> Result<()> {
        let mut normals: Vec<Option<f32>> = vec![None; scores.len()];
        for (label, tokens) in self.labels.tokens.iter().enumerate() {
            let place = if self.steps == 0 { 0 } else { label };
            let of = |token: &u32| scores[place].get(*token as usize).copied().unwrap_or(f32::NEG_INFINITY);
            let score = match (tokens.get(self.steps), &self.labels.ends) {
                (Some(token), _) => of(token),
                (None, Some(ends)) if self.steps == tokens.len() => log_sum_exp(&ends.iter().map(of).collect::<Vec<_>>()),
                (None, _) => continue,
            };
            let normal = match normals[place] {
                Some(normal) => normal,
                None => *normals[place].insert(checked(log_sum_exp(scores[place]))?),
            };
            self.scores[label] += f64::from(score - normal);
        }
        self.steps += 1;
        Ok(())
    }

    pub(super) fn is_done(&self) -> bool {
        self.steps >= self.labels.longest()
    }

    /// The probabilities of the labels, which sum to one.
    pub(super) fn probabilities(&self) -> Vec<f32> {
        let best = self.scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut values: Vec<f32> = self.scores.iter().map(|score| (score - best) as f32).collect();
        softmax(&mut values);
        values
    }
}

/// What the model writes for a label: as the answer of a conversation behind what its template puts between the two; as the continuation
/// of a text behind a space; as the text of a decoder that begins with it.
fn tokens(label: &str, generation: &Generation, codec: &TextCodec, limits: &Limits) -> Result<Vec<u32>> {
    if generation.reader == Reader::Encoder || !generation.first.is_empty() {
        let own = codec.encode(label, false, limits)?;
        // What is always written first belongs to all of them.
        return Ok(generation.rules.forced_first.into_iter().chain(own).collect());
    }
    let (before, separator) = match &generation.chat {
        Some(_) => in_conversation(label, &Prompts::new(generation, codec)?),
        None => (PROMPT.to_string(), " "),
    };
    let known = codec.encode(&before, false, limits)?;
    for separator in [separator, " ", ""] {
        let mut whole = codec.encode(&format!("{before}{separator}{label}"), false, limits)?;
        if whole.starts_with(&known) {
            return Ok(whole.split_off(known.len()));
        }
    }
    codec.encode(label, false, limits)
}

/// What stands before an answer, and what between that and the answer: as the template writes a conversation that has it. Where it
/// writes none such, a space behind a word, and nothing behind a line or a token that steers.
fn in_conversation(label: &str, prompts: &Prompts<'_>) -> (String, &'static str) {
    let Ok(before) = prompts.example(PROMPT) else { return (PROMPT.to_string(), "") };
    let whole = prompts.answered(PROMPT, label).unwrap_or_default();
    let between = whole.strip_prefix(&before).and_then(|rest| rest.find(label).map(|place| &rest[..place]));
    let separator = match between {
        Some("") => "",
        Some(" ") => " ",
        _ if before.ends_with(|last: char| last.is_whitespace() || last == '>') => "",
        _ => " ",
    };
    (before, separator)
}
