//! Beam search: several texts of a row side by side, of which the best is kept.
//!
//! As transformers' `_beam_search` (`generation/utils.py`) without drawing.

use crate::package::{EarlyStopping, Generation, Rules};

/// A text that is being written.
#[derive(Debug, Clone)]
pub(super) struct Beam {
    pub(super) written: Vec<u32>,
    /// Sum of the tokens' log-probabilities as the rules leave them.
    score: f32,
    /// The same as the model gives them.
    pub(super) logprob: f64,
}

/// A text that has ended.
#[derive(Debug, Clone)]
struct Finished {
    beam: Beam,
    /// Its score by its length.
    score: f32,
}

/// All texts of a row.
#[derive(Debug)]
pub(super) struct Beams {
    pub(super) running: Vec<Beam>,
    finished: Vec<Finished>,
    is_improvable: bool,
    /// Whether every text that could go on has ended.
    has_ended: bool,
    limit: usize,
}

/// A token behind a beam.
#[derive(Debug, Clone, Copy)]
struct Next {
    beam: usize,
    token: u32,
    score: f32,
    logprob: f32,
}

/// Scores behind one beam: log-probabilities as the rules leave them, and as the model gives them.
pub(super) struct Continuations {
    pub(super) scores: Vec<f32>,
    pub(super) logprobs: Vec<f32>,
}

/// Of what takes no part any more.
const GONE: f32 = -1e9;

impl Beams {
    pub(super) fn new(limit: usize) -> Self {
        let beam = Beam { written: Vec::new(), score: 0.0, logprob: 0.0 };
        Self { running: vec![beam], finished: Vec::new(), is_improvable: true, has_ended: false, limit }
    }

    /// Goes on by a token. Returns for each beam from then on which one it goes on from.
    pub(super) fn advance(
        &mut self,
        continuations: &[Continuations],
        generation: &Generation,
        ends_text: impl Fn(&[u32]) -> bool,
    ) -> Vec<usize> {
        let rules = &generation.rules;
        let kept = (1 + generation.ends.len()).max(2) * rules.beams;
        let candidates = best(&self.running, continuations, kept);
        let length = self.running.first().map_or(0, |beam| beam.written.len()) + 1;
        let texts: Vec<(Next, Vec<u32>)> =
            candidates.into_iter().map(|next| (next, [&self.running[next.beam].written[..], &[next.token]].concat())).collect();
        let hits: Vec<bool> =
            texts.iter().map(|(next, text)| length >= self.limit || generation.ends.contains(&next.token) || ends_text(text)).collect();
        self.has_ended = hits.iter().all(|hit| *hit);
        self.finish(&texts, &hits, rules, length);
        // The best of those that go on; ended ones only fill up.
        let mut order: Vec<usize> = (0..texts.len()).collect();
        let score = |place: usize| texts[place].0.score + if hits[place] { GONE } else { 0.0 };
        order.sort_by(|one, other| score(*other).total_cmp(&score(*one)));
        order.truncate(rules.beams);
        let parents = order.iter().map(|place| texts[*place].0.beam).collect();
        self.running = order.iter().map(|place| self.beam(&texts[*place], score(*place))).collect();
        self.is_improvable = self.is_improvable && self.may_improve(rules, length);
        parents
    }

    fn beam(&self, (next, text): &(Next, Vec<u32>), score: f32) -> Beam {
        Beam { written: text.clone(), score, logprob: self.running[next.beam].logprob + f64::from(next.logprob) }
    }

    /// Keeps the best of those that have ended now and before; of now, only the best few count.
    fn finish(&mut self, texts: &[(Next, Vec<u32>)], hits: &[bool], rules: &Rules, length: usize) {
        let is_full = self.finished.len() >= rules.beams && rules.early_stopping == EarlyStopping::Yes;
        if is_full || !self.is_improvable {
            return;
        }
        let by_length = (length as f32).powf(rules.length_penalty as f32);
        for (text, _) in texts.iter().zip(hits).take(rules.beams).filter(|(_, hit)| **hit) {
            let beam = self.beam(text, text.0.score);
            self.finished.push(Finished { score: beam.score / by_length, beam });
        }
        self.finished.sort_by(|one, other| other.score.total_cmp(&one.score));
        self.finished.truncate(rules.beams);
    }

    /// Whether the best that goes on could still be better than the worst that has ended.
    fn may_improve(&self, rules: &Rules, length: usize) -> bool {
        let is_long = rules.early_stopping == EarlyStopping::Never && rules.length_penalty > 0.0;
        let by_length = (if is_long { self.limit } else { length } as f32).powf(rules.length_penalty as f32);
        let best = self.running.first().map_or(GONE, |beam| beam.score / by_length);
        let worst = if self.finished.len() < rules.beams { GONE } else { self.finished.last().map_or(GONE, |ended| ended.score) };
        best > worst
    }

    pub(super) fn is_done(&self, rules: &Rules) -> bool {
        let is_full = self.finished.len() >= rules.beams && rules.early_stopping == EarlyStopping::Yes;
        self.has_ended || is_full || !self.is_improvable
    }

    /// The best text.
    pub(super) fn best(mut self) -> Beam {
        if self.finished.is_empty() { self.running.swap_remove(0) } else { self.finished.swap_remove(0).beam }
    }
}

/// The best tokens behind all beams, the best first.
fn best(running: &[Beam], continuations: &[Continuations], count: usize) -> Vec<Next> {
    let mut all: Vec<Next> = Vec::new();
    for (beam, own) in continuations.iter().enumerate() {
        let from = running[beam].score;
        // What one beam can have among the best.
        let mut scores: Vec<f32> = own.scores.clone();
        let most = count.min(scores.len());
        let (_, least, _) = scores.select_nth_unstable_by(most - 1, |one, other| other.total_cmp(one));
        let least = *least;
        let next = |(token, score): (usize, &f32)| Next { beam, token: token as u32, score: from + score, logprob: own.logprobs[token] };
        all.extend(own.scores.iter().enumerate().filter(|(_, score)| **score >= least).map(next));
    }
    all.sort_by(|one, other| other.score.total_cmp(&one.score));
    all.truncate(count);
    all
}
