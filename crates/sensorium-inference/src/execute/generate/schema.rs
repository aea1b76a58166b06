//! Answers that are JSON of a given schema: which tokens may come next, and how an answer ends before it has no room left.

use llguidance::Matcher;
use llguidance::toktrie::{SimpleVob, TokTrie};
use serde_json::Value;

use crate::error::{Error, Kind, Result};
use crate::execute::Cancel;
use crate::json_schema::matcher;
use crate::modality::TextCodec;

/// Tokens in which an answer must be at its end once it is made to end.
const LONGEST_END: usize = 4_096;
/// How often the way to the end is measured while there is much room.
const LOOK: usize = 16;
/// Room beyond twice the way to the end at which each token is looked at.
const SPARE: usize = 32;

/// A schema for the answers of one model.
pub(super) struct Schema {
    start: Matcher,
    /// Tokens of the shortest answer that is easily found.
    needed: usize,
    trie: TokTrie,
    /// Tokens that end a text, whatever they mean within one.
    ends: Vec<u32>,
    /// Tokens that are tried first on the way to the end.
    closing: Closing,
}

/// Tokens of single signs.
struct Closing {
    quote: Option<u32>,
    /// A letter, which strings alone may have.
    letter: Option<u32>,
    /// In the order in which they are preferred outside strings.
    others: Vec<u32>,
}

impl Schema {
    pub(super) fn new(codec: &TextCodec, ends: &[u32], schema: &Value, cancel: &Cancel) -> Result<Self> {
        let tokens = codec.constrained(ends)?;
        let trie = tokens.tok_trie().clone();
        let of = |sign: &str| trie.token_id_at_bytes(sign.as_bytes());
        let closing = Closing {
            quote: of("\""),
            letter: of("q"),
            others: ["}", "]", "\"", ",", ":", "0", "1", "n", "t", "f", "{", "[", "-"].into_iter().filter_map(of).collect(),
        };
        let mut own = Self { start: matcher(&tokens, schema)?, needed: 0, trie, ends: ends.to_vec(), closing };
        own.needed = own.way_to_end(&own.start, cancel)?.ok_or_else(|| {
            Error::new(Kind::Argument, format!("no answer of at most {LONGEST_END} tokens fits json_schema"))
                .with_hint("ask for less in it")
        })?;
        Ok(own)
    }

    /// An answer that has not begun.
    pub(super) fn begin(&self) -> Answer<'_> {
        Answer { schema: self, matcher: self.start.deep_clone(), needed: self.needed }
    }

    /// Tokens to the nearest end of an answer, if there is one.
    fn way_to_end(&self, matcher: &Matcher, cancel: &Cancel) -> Result<Option<usize>> {
        let mut matcher = matcher.clone();
        let step = |matcher: &mut Matcher| {
            if matcher.is_stopped() || matcher.is_accepting().ok()? {
                return Some(true);
            }
            let mask = matcher.compute_mask().ok()?;
            matcher.consume_token(self.nearest_end(&mask)?).ok()?;
            Some(false)
        };
        for count in 0..=LONGEST_END {
            cancel.check()?;
            match step(&mut matcher) {
                // The end is a token as well.
                Some(true) => return Ok((!matcher.is_error()).then_some(count + 1)),
                Some(false) => {}
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Of the tokens in `mask` one that leads to the end by few others.
    fn nearest_end(&self, mask: &SimpleVob) -> Option<u32> {
        let has = |token: &u32| mask.is_allowed(*token) && !self.ends.contains(token);
        let is_in_string = self.closing.letter.as_ref().is_some_and(has);
        if is_in_string && let Some(quote) = self.closing.quote.filter(has) {
            return Some(quote);
        }
        let preferred = || self.closing.others.iter().copied().find(has).filter(|_| !is_in_string);
        preferred().or_else(|| {
            // Whatever is short: the schema wants something of its own here.
            mask.iter().filter(has).min_by_key(|token| self.trie.token_len(*token))
        })
    }
}

/// An answer that is being written.
pub(super) struct Answer<'a> {
    schema: &'a Schema,
    matcher: Matcher,
    /// Tokens to its nearest end, as of the last look.
    needed: usize,
}

fn broken(error: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Model, format!("the answer cannot be held to json_schema: {error}"))
}

impl Answer<'_> {
    /// Forbids what the schema does not allow next; where the rules have forbidden all that it does, the schema has its way: `raw` are
    /// the scores before them.
    pub(super) fn apply(&mut self, scores: &mut [f32], raw: &[f32]) -> Result<()> {
        let mask = self.matcher.compute_mask_or_eos().map_err(|error| broken(&error))?;
        let is_whole = self.is_whole();
        let ends = |token: u32| self.schema.ends.contains(&token);
        let is_allowed = |token: usize| token < mask.len() && mask.is_allowed(token as u32) && (is_whole || !ends(token as u32));
        let is_left = scores.iter().enumerate().any(|(token, score)| *score > f32::NEG_INFINITY && is_allowed(token));
        for (token, score) in scores.iter_mut().enumerate() {
            *score = if !is_allowed(token) {
                f32::NEG_INFINITY
            } else if is_left {
                *score
            } else {
                raw[token]
            };
        }
        Ok(())
    }

    /// Takes the token that was chosen as number `written` of at most `limit`, or one that leads to the end where there would be no room for
    /// it else.
    pub(super) fn take(&mut self, chosen: u32, written: usize, limit: usize, cancel: &Cancel) -> Result<u32> {
        let room = limit.saturating_sub(written + 1);
        let is_near = room <= 2 * self.needed + SPARE;
        if !is_near && !written.is_multiple_of(LOOK) {
            return self.advance(chosen);
        }
        let before = is_near.then(|| self.matcher.clone());
        self.advance(chosen)?;
        if self.matcher.is_stopped() {
            return Ok(chosen);
        }
        match self.schema.way_to_end(&self.matcher, cancel)? {
            Some(needed) if needed <= room || !is_near => {
                self.needed = needed;
                Ok(chosen)
            }
            _ => {
                let Some(before) = before else { return Ok(chosen) };
                self.matcher = before;
                let mask = self.matcher.compute_mask_or_eos().map_err(|error| broken(&error))?;
                let is_end = self.matcher.is_accepting().unwrap_or(false);
                let end = is_end.then(|| self.schema.trie.eos_token()).filter(|end| mask.is_allowed(*end));
                let token = end.or_else(|| self.schema.nearest_end(&mask)).ok_or_else(|| broken(&"nothing may come next"))?;
                self.needed = self.needed.saturating_sub(1);
                self.advance(token)
            }
        }
    }

    fn advance(&mut self, token: u32) -> Result<u32> {
        self.matcher.consume_token(token).map_err(|error| broken(&error))?;
        Ok(token)
    }

    /// Whether nothing can follow.
    pub(super) fn is_over(&self) -> bool {
        self.matcher.is_stopped()
    }

    /// Whether what is written is an answer.
    pub(super) fn is_whole(&mut self) -> bool {
        self.matcher.is_stopped() || self.matcher.is_accepting().unwrap_or(false)
    }
}
