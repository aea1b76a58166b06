//! How a diffusion model's noise becomes a picture, as `scheduler_config.json` of diffusers says it.
//!
//! Names, defaults and meanings are those of `schedulers/scheduling_*.py`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Kind, Result};

/// A scheduler with its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scheduler {
    /// Which.
    pub kind: SchedulerKind,
    /// Steps of the training.
    pub train_steps: usize,
    /// How much noise each of them added.
    pub betas: Betas,
    /// Whether the last of them left nothing but noise.
    pub zero_snr: bool,
    /// What the graph says of a noisy picture.
    pub prediction_type: PredictionType,
    /// Which of the training's steps are taken.
    pub spacing: Spacing,
    /// Added to each of them, where they lead.
    pub offset: usize,
    /// Whether nothing is left of the noise behind the last step of DDIM and PNDM; else as much as behind the training's first.
    pub set_alpha_to_one: bool,
    /// Whether noise levels are spaced as Karras et al. do it.
    pub karras: bool,
    /// Whether the last noise level is that of the training's first step; else none.
    pub final_sigma_min: bool,
    /// Of DPM-Solver++: how many answers of the graph a step looks at.
    pub order: usize,
    /// Of DPM-Solver++: Heun's second order instead of the midpoint's.
    pub heun: bool,
    /// Of DPM-Solver++: whether the last of few steps looks at one answer.
    pub lower_order_final: bool,
    /// Of DPM-Solver++: the same of any number.
    pub euler_at_final: bool,
}

/// Schedulers that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchedulerKind {
    /// Denoising diffusion implicit models (<https://arxiv.org/abs/2010.02502>).
    Ddim,
    /// Pseudo numerical methods, linear multistep (<https://arxiv.org/abs/2202.09778>).
    Pndm,
    /// Euler's method over noise levels (<https://arxiv.org/abs/2206.00364>).
    Euler,
    /// The same with noise that is added anew.
    EulerAncestral,
    /// DPM-Solver++ of several steps (<https://arxiv.org/abs/2211.01095>).
    Dpm,
}

/// Noise by training step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Betas {
    /// Evenly from the first to the last.
    Linear(f64, f64),
    /// Their roots evenly.
    ScaledLinear(f64, f64),
    /// By a squared cosine.
    Cosine,
    /// One by one.
    Given(Vec<f64>),
}

/// What a graph says of a noisy picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictionType {
    /// The noise.
    Epsilon,
    /// The velocity between picture and noise.
    Velocity,
    /// The picture.
    Sample,
}

/// Which training steps are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spacing {
    /// From the first to the last.
    Linspace,
    /// Each the first of its part.
    Leading,
    /// Each the last of its part.
    Trailing,
}

fn unknown(what: &str) -> Error {
    Error::new(Kind::Package, format!("scheduler_config.json has something that is not carried out here: {what}"))
        .with_hint("known are DDIM, PNDM, Euler, EulerAncestral and DPMSolverMultistep with dpmsolver++")
}

impl Scheduler {
    /// Reads `scheduler_config.json`, as the pipelines of Stable Diffusion mend it: an offset of 1, and no clipping.
    ///
    /// # Errors
    /// [`Kind::Package`] for a scheduler or setting that is not known.
    pub(super) fn read(config: &Value) -> Result<Self> {
        let name = config["_class_name"].as_str().unwrap_or("");
        let kind = match name {
            "DDIMScheduler" => SchedulerKind::Ddim,
            "PNDMScheduler" => SchedulerKind::Pndm,
            "EulerDiscreteScheduler" => SchedulerKind::Euler,
            "EulerAncestralDiscreteScheduler" => SchedulerKind::EulerAncestral,
            "DPMSolverMultistepScheduler" => SchedulerKind::Dpm,
            other => return Err(unknown(&format!("_class_name = '{other}'"))),
        };
        let flag = |name: &str, default: bool| config[name].as_bool().unwrap_or(default);
        let number = |name: &str, default: f64| config[name].as_f64().unwrap_or(default);
        let text = |name: &str, default: &'static str| config[name].as_str().map_or(default.to_string(), str::to_string);
        refuse(config, kind)?;
        let (start, end) = (number("beta_start", 1e-4), number("beta_end", 0.02));
        let given: Option<Vec<f64>> = config["trained_betas"].as_array().map(|betas| betas.iter().filter_map(Value::as_f64).collect());
        let schedule = text("beta_schedule", "linear");
        let betas = match (given, schedule.as_str()) {
            (Some(given), _) => Betas::Given(given),
            (None, "linear") => Betas::Linear(start, end),
            (None, "scaled_linear") => Betas::ScaledLinear(start, end),
            (None, "squaredcos_cap_v2") => Betas::Cosine,
            (None, other) => return Err(unknown(&format!("beta_schedule = '{other}'"))),
        };
        let prediction_type = match text("prediction_type", "epsilon").as_str() {
            "epsilon" => PredictionType::Epsilon,
            "v_prediction" => PredictionType::Velocity,
            "sample" => PredictionType::Sample,
            other => return Err(unknown(&format!("prediction_type = '{other}'"))),
        };
        let usual = if matches!(kind, SchedulerKind::Ddim | SchedulerKind::Pndm) { "leading" } else { "linspace" };
        let spacing = match text("timestep_spacing", usual).as_str() {
            "linspace" => Spacing::Linspace,
            "leading" => Spacing::Leading,
            "trailing" => Spacing::Trailing,
            other => return Err(unknown(&format!("timestep_spacing = '{other}'"))),
        };
        let train_steps = config["num_train_timesteps"].as_u64().and_then(|steps| usize::try_from(steps).ok()).unwrap_or(1_000);
        if !(1..=100_000).contains(&train_steps) || matches!(&betas, Betas::Given(given) if given.len() != train_steps) {
            return Err(unknown(&format!("num_train_timesteps = {train_steps}")));
        }
        let order = config["solver_order"].as_u64().unwrap_or(2);
        if kind == SchedulerKind::Dpm && !(1..=2).contains(&order) {
            return Err(unknown(&format!("solver_order = {order}")));
        }
        Ok(Self {
            kind,
            train_steps,
            betas,
            zero_snr: flag("rescale_betas_zero_snr", false),
            prediction_type,
            spacing,
            // `StableDiffusionPipeline.__init__` sets it so.
            offset: 1,
            set_alpha_to_one: flag("set_alpha_to_one", kind == SchedulerKind::Ddim),
            karras: flag("use_karras_sigmas", false),
            final_sigma_min: text("final_sigmas_type", "zero") == "sigma_min",
            order: usize::try_from(order).unwrap_or(2),
            heun: text("solver_type", "midpoint") == "heun",
            lower_order_final: flag("lower_order_final", true),
            euler_at_final: flag("euler_at_final", false),
        })
    }
}

/// Settings that change the picture and are not carried out.
fn refuse(config: &Value, kind: SchedulerKind) -> Result<()> {
    let flags = ["thresholding", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "use_flow_sigmas"];
    if let Some(flag) = flags.iter().find(|flag| config[**flag] == Value::Bool(true)) {
        return Err(unknown(flag));
    }
    let texts = [
        ("algorithm_type", "dpmsolver++", kind == SchedulerKind::Dpm),
        ("interpolation_type", "linear", kind == SchedulerKind::Euler),
        ("timestep_type", "discrete", kind == SchedulerKind::Euler),
    ];
    let wrong = |(name, usual, counts): &(&str, &str, bool)| *counts && config[*name].as_str().is_some_and(|text| text != *usual);
    if let Some((name, ..)) = texts.iter().find(|text| wrong(text)) {
        return Err(unknown(&format!("{name} = {}", config[*name])));
    }
    if kind == SchedulerKind::Dpm && !matches!(config["solver_type"].as_str(), None | Some("midpoint" | "heun")) {
        return Err(unknown(&format!("solver_type = {}", config["solver_type"])));
    }
    if kind == SchedulerKind::Pndm && config["skip_prk_steps"] != Value::Bool(true) {
        return Err(unknown("skip_prk_steps = false").with_hint("write `\"skip_prk_steps\": true`, as Stable Diffusion has it"));
    }
    let idle = ["sigma_min", "sigma_max", "variance_type"];
    match idle.iter().find(|name| !config[**name].is_null()) {
        Some(name) => Err(unknown(name)),
        None => Ok(()),
    }
}
