//! The way from noise to a picture: which noise levels it takes, and what a step does.
//!
//! Formulas are those of diffusers' `schedulers/scheduling_{ddim,pndm,euler_discrete,euler_ancestral_discrete,dpmsolver_multistep}.py`.

use crate::package::{Betas, PredictionType, Scheduler, SchedulerKind, Spacing};

/// What is left of the signal where the training left none, so that levels stay finite.
const LEAST_SIGNAL: f64 = 5.960_464_477_539_063e-8;
/// Of Karras' spacing.
const RHO: f64 = 7.0;
/// Largest beta of the cosine schedule.
const MOST_NOISE: f64 = 0.999;
/// With fewer steps DPM-Solver++ ends by a lower order.
const FEW_STEPS: usize = 15;
/// Answers of the graph that PNDM mixes.
const MIXED: usize = 4;

/// One way, for the pictures of a batch side by side.
pub(super) struct Sampler<'a> {
    own: &'a Scheduler,
    /// Share of the signal behind each training step.
    signal: Vec<f64>,
    /// What the graph is told of each step.
    pub(super) timesteps: Vec<f64>,
    /// Noise levels, one more than steps; none for DDIM and PNDM.
    sigmas: Vec<f64>,
    /// The step that is taken next.
    next: usize,
    /// The step that was taken first.
    first: usize,
    steps: usize,
    history: Vec<Vec<f32>>,
    kept: Vec<f32>,
}

impl<'a> Sampler<'a> {
    pub(super) fn new(own: &'a Scheduler, steps: usize) -> Self {
        let signal = signal(own);
        let mut timesteps = timesteps(own, steps);
        let mut sigmas = Vec::new();
        if !matches!(own.kind, SchedulerKind::Ddim | SchedulerKind::Pndm) {
            let table: Vec<f64> = signal.iter().map(|share| ((1.0 - share) / share).sqrt()).collect();
            sigmas = timesteps.iter().map(|time| interpolated(&table, *time)).collect();
            if own.karras && own.kind != SchedulerKind::EulerAncestral {
                let ends = match own.kind {
                    SchedulerKind::Dpm => (table[table.len() - 1], table[0]),
                    _ => (sigmas[0], sigmas[sigmas.len() - 1]),
                };
                sigmas = karras(ends, steps);
                let whole = own.kind == SchedulerKind::Dpm && own.betas != Betas::Cosine;
                timesteps = sigmas.iter().map(|sigma| time_of(&table, *sigma)).collect();
                if own.kind == SchedulerKind::Dpm {
                    timesteps.iter_mut().for_each(|time| *time = if whole { time.round_ties_even() } else { time.trunc() });
                }
            }
            sigmas.push(if own.final_sigma_min { table[0] } else { 0.0 });
        } else if own.kind == SchedulerKind::Pndm && timesteps.len() > 1 {
            // The second is taken twice.
            timesteps.insert(1, timesteps[1]);
        }
        Self { own, signal, timesteps, sigmas, next: 0, first: 0, steps, history: Vec::new(), kept: Vec::new() }
    }

    /// Goes the last part of the way only: `strength` of it, from a picture. Returns whether there is a step left.
    pub(super) fn begin_at(&mut self, strength: f64) -> bool {
        let part = ((self.steps as f64 * strength) as usize).min(self.steps);
        self.first = self.steps - part;
        self.next = self.first;
        part > 0
    }

    /// Whether there is a further step.
    pub(super) fn time(&self) -> Option<f64> {
        self.timesteps.get(self.next).copied()
    }

    /// What noise is multiplied by before the first step.
    pub(super) fn start_scale(&self) -> f64 {
        let most = self.sigmas.iter().copied().fold(0.0, f64::max);
        match (self.own.kind, self.own.spacing) {
            (SchedulerKind::Euler | SchedulerKind::EulerAncestral, Spacing::Leading) => most.hypot(1.0),
            (SchedulerKind::Euler | SchedulerKind::EulerAncestral, _) => most,
            _ => 1.0,
        }
    }

    /// What the graph's picture is multiplied by.
    pub(super) fn input_scale(&self) -> f64 {
        match self.own.kind {
            SchedulerKind::Euler | SchedulerKind::EulerAncestral => 1.0 / self.sigmas[self.next].hypot(1.0),
            _ => 1.0,
        }
    }

    /// A picture with the noise of the next step.
    pub(super) fn add_noise(&self, picture: &[f32], noise: &[f32]) -> Vec<f32> {
        let (signal, level) = match self.own.kind {
            SchedulerKind::Euler | SchedulerKind::EulerAncestral => (1.0, self.sigmas[self.next]),
            SchedulerKind::Dpm => scales(self.sigmas[self.next]),
            _ => {
                let share = self.signal[self.timesteps[self.next] as usize];
                (share.sqrt(), (1.0 - share).sqrt())
            }
        };
        picture.iter().zip(noise).map(|(own, noise)| (signal * f64::from(*own) + level * f64::from(*noise)) as f32).collect()
    }

    /// Whether a step wants noise of its own.
    pub(super) fn wants_noise(&self) -> bool {
        self.own.kind == SchedulerKind::EulerAncestral
    }

    /// Takes a step: `said` is what the graph says of `pictures`; `noise` is used where it is wanted.
    pub(super) fn step(&mut self, said: Vec<f32>, pictures: &mut [f32], noise: &[f32]) {
        match self.own.kind {
            SchedulerKind::Ddim => self.ddim(&said, pictures),
            SchedulerKind::Pndm => self.pndm(said, pictures),
            SchedulerKind::Euler | SchedulerKind::EulerAncestral => self.euler(&said, pictures, noise),
            SchedulerKind::Dpm => self.dpm(&said, pictures),
        }
        self.next += 1;
    }

    /// Share of the signal at a training step, or behind the last.
    fn share(&self, time: i64) -> f64 {
        match usize::try_from(time) {
            Ok(time) => self.signal[time.min(self.signal.len() - 1)],
            Err(_) if self.own.set_alpha_to_one => 1.0,
            Err(_) => self.signal[0],
        }
    }

    fn stride(&self) -> i64 {
        (self.own.train_steps / self.steps) as i64
    }

    fn ddim(&self, said: &[f32], pictures: &mut [f32]) {
        let time = self.timesteps[self.next] as i64;
        let (own, before) = (self.share(time), self.share(time - self.stride()));
        let (signal, level) = (own.sqrt(), (1.0 - own).sqrt());
        for (picture, said) in pictures.iter_mut().zip(said) {
            let (x, o) = (f64::from(*picture), f64::from(*said));
            let (clean, noise) = match self.own.prediction_type {
                PredictionType::Epsilon => ((x - level * o) / signal, o),
                PredictionType::Velocity => (signal * x - level * o, signal * o + level * x),
                PredictionType::Sample => (o, (x - signal * o) / level),
            };
            *picture = (before.sqrt() * clean + (1.0 - before).sqrt() * noise) as f32;
        }
    }

    fn pndm(&mut self, mut said: Vec<f32>, pictures: &mut [f32]) {
        let counter = self.next - self.first;
        let mut time = self.timesteps[self.next] as i64;
        let mut before = time - self.stride();
        if counter == 1 {
            before = time;
            time += self.stride();
        } else {
            if self.history.len() == MIXED {
                self.history.remove(0);
            }
            self.history.push(said.clone());
        }
        let past = |back: usize| &self.history[self.history.len() - back];
        let mix = |weights: &[f64], said: &mut [f32]| {
            for (place, said) in said.iter_mut().enumerate() {
                *said = weights.iter().enumerate().map(|(back, weight)| weight * f64::from(past(back + 1)[place])).sum::<f64>() as f32;
            }
        };
        match (self.history.len(), counter) {
            (1, 0) => self.kept = pictures.to_vec(),
            (1, 1) => {
                said.iter_mut().zip(past(1)).for_each(|(said, past)| *said = f32::midpoint(*said, *past));
                pictures.copy_from_slice(&self.kept);
            }
            (2, _) => mix(&[1.5, -0.5], &mut said),
            (3, _) => mix(&[23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0], &mut said),
            _ => mix(&[55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0], &mut said),
        }
        let (own, next) = (self.share(time), self.share(before));
        let scale = (next / own).sqrt();
        let divisor = own * (1.0 - next).sqrt() + (own * (1.0 - own) * next).sqrt();
        for (picture, said) in pictures.iter_mut().zip(said) {
            let (x, mut o) = (f64::from(*picture), f64::from(said));
            if self.own.prediction_type == PredictionType::Velocity {
                o = own.sqrt() * o + (1.0 - own).sqrt() * x;
            }
            *picture = (scale * x - (next - own) * o / divisor) as f32;
        }
    }

    fn euler(&self, said: &[f32], pictures: &mut [f32], noise: &[f32]) {
        let (sigma, next) = (self.sigmas[self.next], self.sigmas[self.next + 1]);
        let (down, up) = match self.own.kind {
            SchedulerKind::EulerAncestral => {
                let up = (next.powi(2) * (sigma.powi(2) - next.powi(2)) / sigma.powi(2)).sqrt();
                ((next.powi(2) - up.powi(2)).sqrt(), up)
            }
            _ => (next, 0.0),
        };
        for (place, (picture, said)) in pictures.iter_mut().zip(said).enumerate() {
            let (x, o) = (f64::from(*picture), f64::from(*said));
            let clean = match self.own.prediction_type {
                PredictionType::Epsilon => x - sigma * o,
                PredictionType::Velocity => -sigma / sigma.hypot(1.0) * o + x / (sigma.powi(2) + 1.0),
                PredictionType::Sample => o,
            };
            let noise = if up > 0.0 { up * f64::from(noise[place]) } else { 0.0 };
            *picture = (x + (x - clean) / sigma * (down - sigma) + noise) as f32;
        }
    }

    fn dpm(&mut self, said: &[f32], pictures: &mut [f32]) {
        let (sigma, next) = (self.sigmas[self.next], self.sigmas[self.next + 1]);
        let (alpha, level) = scales(sigma);
        let clean = said.iter().zip(pictures.iter()).map(|(said, picture)| {
            let (x, o) = (f64::from(*picture), f64::from(*said));
            let clean = match self.own.prediction_type {
                PredictionType::Epsilon => (x - level * o) / alpha,
                PredictionType::Velocity => alpha * x - level * o,
                PredictionType::Sample => o,
            };
            clean as f32
        });
        let clean: Vec<f32> = clean.collect();
        let is_last = self.next + 1 == self.timesteps.len();
        let ends_low = self.own.euler_at_final || (self.own.lower_order_final && self.steps < FEW_STEPS) || !self.own.final_sigma_min;
        let is_first_order = self.own.order == 1 || self.history.is_empty() || (is_last && ends_low);
        let (alpha_next, level_next) = scales(next);
        // Half the logarithm of signal over noise.
        let lambda = |sigma: f64| -sigma.ln();
        let step = lambda(next) - lambda(sigma);
        let decay = alpha_next * (-step).exp_m1();
        let before = if is_first_order { None } else { self.history.last() };
        let ratio = if is_first_order { 1.0 } else { (lambda(sigma) - lambda(self.sigmas[self.next - 1])) / step };
        for (place, picture) in pictures.iter_mut().enumerate() {
            let (x, own) = (f64::from(*picture), f64::from(clean[place]));
            let mut found = level_next / level * x - decay * own;
            if let Some(before) = before {
                let change = (own - f64::from(before[place])) / ratio;
                found += if self.own.heun { alpha_next * ((-step).exp_m1() / step + 1.0) * change } else { -0.5 * decay * change };
            }
            *picture = found as f32;
        }
        self.history = vec![clean];
    }
}

/// Signal and noise of a picture whose noise is `sigma` times its signal.
fn scales(sigma: f64) -> (f64, f64) {
    let alpha = 1.0 / sigma.hypot(1.0);
    (alpha, sigma * alpha)
}

/// Share of the signal behind each training step.
fn signal(own: &Scheduler) -> Vec<f64> {
    let count = own.train_steps;
    let between = |start: f64, end: f64| {
        move |place: usize| if count == 1 { start } else { start + (end - start) * place as f64 / (count - 1) as f64 }
    };
    let cosine = |time: f64| ((time + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2).cos().powi(2);
    // In single precision, as PyTorch has them.
    let beta = |place: usize| -> f64 {
        match &own.betas {
            Betas::Linear(start, end) => between(*start, *end)(place),
            Betas::ScaledLinear(start, end) => between(start.sqrt(), end.sqrt())(place).powi(2),
            Betas::Cosine => (1.0 - cosine((place + 1) as f64 / count as f64) / cosine(place as f64 / count as f64)).min(MOST_NOISE),
            Betas::Given(betas) => betas[place],
        }
    };
    let mut share = 1.0;
    let mut signal: Vec<f64> = (0..count)
        .map(|place| {
            share *= 1.0 - f64::from(beta(place) as f32);
            share
        })
        .collect();
    if own.zero_snr {
        let roots: Vec<f64> = signal.iter().map(|share| share.sqrt()).collect();
        let (first, last) = (roots[0], roots[count - 1]);
        signal = roots.iter().map(|root| ((root - last) * first / (first - last)).powi(2)).collect();
        if own.kind != SchedulerKind::Ddim {
            signal[count - 1] = LEAST_SIGNAL;
        }
    }
    signal
}

/// The training steps that are taken, the noisiest first.
fn timesteps(own: &Scheduler, steps: usize) -> Vec<f64> {
    let (count, is_dpm) = (own.train_steps, own.kind == SchedulerKind::Dpm);
    let even = |points: usize| move |place: usize| if points == 1 { 0.0 } else { place as f64 * (count - 1) as f64 / (points - 1) as f64 };
    match own.spacing {
        Spacing::Linspace if is_dpm => (1..=steps).rev().map(|place| even(steps + 1)(place).round_ties_even()).collect(),
        Spacing::Linspace => {
            let is_rounded = matches!(own.kind, SchedulerKind::Ddim | SchedulerKind::Pndm);
            let time = |place: usize| even(steps)(place);
            (0..steps).rev().map(|place| if is_rounded { time(place).round_ties_even() } else { f64::from(time(place) as f32) }).collect()
        }
        Spacing::Leading if is_dpm => {
            let stride = count / (steps + 1);
            (1..=steps).rev().map(|place| (place * stride + own.offset) as f64).collect()
        }
        Spacing::Leading => (0..steps).rev().map(|place| (place * (count / steps) + own.offset) as f64).collect(),
        Spacing::Trailing => {
            let time = |place: usize| (count as f64 - place as f64 * count as f64 / steps as f64).round_ties_even() - 1.0;
            (0..steps).map(time).collect()
        }
    }
}

fn interpolated(table: &[f64], time: f64) -> f64 {
    let last = table.len() - 1;
    let time = time.clamp(0.0, last as f64);
    let low = (time as usize).min(last.saturating_sub(1));
    let high = (low + 1).min(last);
    table[low] + (table[high] - table[low]) * (time - low as f64)
}

/// Levels from the first to the last, their `rho`-th roots evenly.
fn karras((first, last): (f64, f64), steps: usize) -> Vec<f64> {
    let (most, least) = (first.powf(1.0 / RHO), last.powf(1.0 / RHO));
    let share = |place: usize| if steps == 1 { 0.0 } else { place as f64 / (steps - 1) as f64 };
    (0..steps).map(|place| (most + share(place) * (least - most)).powf(RHO)).collect()
}

/// The training step, or what lies between two, that has a level.
fn time_of(table: &[f64], sigma: f64) -> f64 {
    let level = sigma.max(1e-10).ln();
    let low = table.iter().rposition(|own| own.ln() <= level).unwrap_or(0).min(table.len().saturating_sub(2));
    let (under, over) = (table[low].ln(), table[low + 1].ln());
    let share = ((under - level) / (under - over)).clamp(0.0, 1.0);
    low as f64 + share
}
