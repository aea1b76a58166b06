//! Pictures that a model draws: noise becomes a picture step by step, some rows side by side.
//!
//! As diffusers' `pipeline_stable_diffusion.py` and `pipeline_stable_diffusion_img2img.py`, each row with a generator of its own.

mod noise;
mod picture;
mod sampler;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arrow::array::BinaryArray;
use ort::value::DynValue;

use super::answer::NOT_FINITE;
use super::encode::{Outcome, Work, medium, page, tokens, uri};
use super::feeds::{floats, numbers};
use super::fetch::{Fetched, Fetches};
use super::results::Results;
use super::run::{Answer, Failure, Step, batch_rows};
use super::{tensor, workers};
use crate::error::{Error, Kind, Result};
use crate::modality::{Document, rgb_to_tensor};
use crate::package::{
    Diffusion, Filter, INIT_IMAGE, ImageSpec, Input, Layout, PROMPT_ENCODER, Port, Resize, Size, Stage, UNET, VAE_DECODER, VAE_ENCODER,
};
use noise::Generator;
pub use picture::{Picture, drawn_pictures};
use sampler::Sampler;

/// The picture of each of `rows`, as PNG.
pub(super) fn run(work: &Work<'_>, diffusion: &Diffusion, rows: &[usize], failures: Vec<Failure>) -> Result<Answer> {
    let pictures: Mutex<Vec<Option<Vec<u8>>>> = Mutex::new(vec![None; work.request.rows]);
    let keep = |row: usize, picture: Picture| {
        let png = picture.png()?;
        pictures.lock().unwrap_or_else(PoisonError::into_inner)[row] = Some(png);
        Ok(())
    };
    let failures = draw_all(work, diffusion, rows, failures, &keep)?;
    let pictures = pictures.into_inner().unwrap_or_else(PoisonError::into_inner);
    let column: BinaryArray = pictures.iter().map(Option::as_deref).collect();
    Ok(Answer::new(Arc::new(column), failures))
}

/// Draws each of `rows`, gives it to `keep` and returns all rows that failed, in their order.
fn draw_all(work: &Work<'_>, diffusion: &Diffusion, rows: &[usize], failures: Vec<Failure>, keep: &Keep<'_>) -> Result<Vec<Failure>> {
    let results = Results::new(work.request, Vec::new(), failures);
    let pipeline = Pipeline::new(work, diffusion)?;
    let size = batch_rows(work.model, work.request.limits).min(rows.len().div_ceil(workers::count()?)).max(1);
    let mut fetches = Fetches::start(work, rows)?;
    while let Some((rows, fetched)) = fetches.next(work)? {
        workers::for_each(rows.chunks(size), |rows| {
            pipeline.draw_rows(rows, &fetched, &results, keep);
        })?;
        work.request.cancel.check()?;
    }
    let (_, mut failures) = results.take()?;
    failures.sort_by_key(|failure| failure.row);
    Ok(failures)
}

/// Where the picture of a row goes.
type Keep<'a> = dyn Fn(usize, Picture) -> Result<()> + Sync + 'a;

/// A row that is ready to be drawn.
struct Sketch {
    row: usize,
    ids: Vec<u32>,
    /// The picture that it begins with, `[3, height, width]` from -1 to 1.
    start: Option<Vec<f32>>,
    size: Size,
}

/// What all rows share.
struct Pipeline<'a> {
    work: &'a Work<'a>,
    diffusion: &'a Diffusion,
    /// What the picture should not be like, as the graph reads it: `[tokens, width]`.
    negative: Option<Vec<f32>>,
}

fn failed(what: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Model, format!("the picture cannot be drawn: {what}"))
}

/// Bytes would hide what is no number: decoders of half precision are known to draw black pictures that way.
fn check_finite(picture: &Picture) -> Result<()> {
    let mut all = [("latents", &picture.latents), ("pixels", &picture.pixels)].into_iter();
    match all.find(|(_, values)| values.iter().any(|value| !value.is_finite())) {
        None => Ok(()),
        Some((what, _)) => {
            let error = failed(&format!("one of the {what} {NOT_FINITE}"));
            Err(error.with_hint("half precision overflows in some pipelines; fp32 does not"))
        }
    }
}

impl<'a> Pipeline<'a> {
    fn new(work: &'a Work<'a>, diffusion: &'a Diffusion) -> Result<Self> {
        let mut own = Self { work, diffusion, negative: None };
        if diffusion.rules.guidance > 1.0 {
            let encoder = work.model.text_encoder("prompt").ok_or_else(|| failed(&"no tokenizer"))?;
            let ids = encoder.encode(&diffusion.rules.negative_prompt, work.request.limits)?.ids;
            own.negative = Some(own.read(&[&ids])?);
        }
        Ok(own)
    }

    fn stage(&self, name: &str) -> Result<(usize, &'a Stage)> {
        let found = self.work.model.manifest.stages.iter().enumerate().find(|(_, stage)| stage.name == name);
        found.ok_or_else(|| failed(&format!("no {name}")))
    }

    /// Runs a graph; `feed` makes the value of each of its inputs. Returns the output called one of `names`, or else its first.
    fn graph(&self, name: &str, names: &[&str], feed: impl Fn(&Port) -> Result<DynValue>) -> Result<(String, Vec<usize>, Vec<f32>)> {
        let (index, stage) = self.stage(name)?;
        let feeds = stage.feeds.iter().map(|own| Ok((own.port.name.clone(), Arc::new(feed(&own.port)?))));
        let feeds = feeds.collect::<Result<Vec<_>>>()?;
        let (cancel, stats) = (self.work.request.cancel, self.work.request.stats);
        let outputs = cancel.guard(|options| self.work.model.sessions().run(index, feeds, options, stats))?;
        let port = names.iter().find_map(|name| stage.outputs.iter().find(|port| port.name == *name)).or(stage.outputs.first());
        let port = port.ok_or_else(|| failed(&format!("{name} gives nothing")))?;
        let (_, value) = outputs.iter().find(|(name, _)| *name == port.name).ok_or_else(|| failed(&format!("{name} gives nothing")))?;
        let (shape, values) = tensor::floats(port, value)?;
        Ok((port.name.clone(), shape, values.into_owned()))
    }

    /// What the prompts say, `[prompts, tokens, width]`.
    fn read(&self, prompts: &[&Vec<u32>]) -> Result<Vec<f32>> {
        let Some(crate::package::Modality::Text(spec)) = self.work.model.manifest.input("prompt").map(|input| &input.modality) else {
            return Err(failed(&"no prompt"));
        };
        let length = spec.fixed_tokens.unwrap_or(spec.max_tokens);
        let padded = |ids: &&Vec<u32>| {
            let mut ids: Vec<f64> = ids.iter().map(|id| f64::from(*id)).collect();
            ids.resize(length, f64::from(spec.pad_token));
            ids
        };
        let ids: Vec<f64> = prompts.iter().flat_map(padded).collect();
        let feed = |port: &Port| numbers(port, vec![prompts.len(), length], ids.iter().copied());
        self.graph(PROMPT_ENCODER, &["last_hidden_state"], feed).map(|(_, _, values)| values)
    }

    /// Draws rows whose pictures have one size at once; each alone where the graphs fail on them together.
    fn draw_rows(&self, rows: &[usize], fetched: &Fetched, results: &Results<'_>, keep: &Keep<'_>) {
        let mut by_size: HashMap<(u32, u32), Vec<Sketch>> = HashMap::new();
        for row in rows {
            match self.sketch(*row, fetched) {
                Ok(sketch) => by_size.entry((sketch.size.width, sketch.size.height)).or_default().push(sketch),
                Err(failure) => results.fail(vec![*failure]),
            }
        }
        for sketches in by_size.into_values() {
            self.draw_or_split(&sketches, results, keep);
        }
    }

    fn draw_or_split(&self, sketches: &[Sketch], results: &Results<'_>, keep: &Keep<'_>) {
        if results.is_over() {
            return;
        }
        match self.draw(sketches) {
            Ok(pictures) => {
                let stats = self.work.request.stats;
                stats.batches.add(1);
                stats.model_rows.add(sketches.len());
                self.work.model.rows.fetch_add(sketches.len() as u64, std::sync::atomic::Ordering::Relaxed);
                for (sketch, picture) in sketches.iter().zip(pictures) {
                    let start = Instant::now();
                    let kept = check_finite(&picture).and_then(|()| keep(sketch.row, picture));
                    stats.scatter_time.since(start);
                    if let Err(error) = kept {
                        results.add((vec![sketch.row], Err(error)));
                    }
                }
            }
            Err(error) if error.kind() == Kind::Model && error.is_retryable() && sketches.len() > 1 => {
                let (one, other) = sketches.split_at(sketches.len() / 2);
                self.draw_or_split(one, results, keep);
                self.draw_or_split(other, results, keep);
            }
            Err(error) => results.add((sketches.iter().map(|sketch| sketch.row).collect(), Err(error))),
        }
    }

    fn sketch(&self, row: usize, fetched: &Fetched) -> Result<Sketch, Box<Failure>> {
        let work = self.work;
        let fail = |uri: Option<String>| move |(step, error): (Step, Error)| Box::new(Failure { row, uri, step, error });
        let prompts = work.columns.get("prompt").ok_or_else(|| fail(None)((Step::Input, failed(&"no prompt"))))?;
        let ids = tokens(work, "prompt", prompts, row).map_err(fail(None))?.ids;
        let rules = &self.diffusion.rules;
        let (width, height) = (rules.width as u32, rules.height as u32);
        let sketch = Sketch { row, ids, start: None, size: Size { height, width } };
        let given = work.model.manifest.input(INIT_IMAGE).zip(work.columns.get(INIT_IMAGE)).filter(|(_, column)| column.is_present(row));
        let Some((input, column)) = given else { return Ok(sketch) };
        let start = self.picture(input, row, fetched).map_err(fail(uri(input, column, row)))?;
        match start {
            Some((size, start)) => Ok(Sketch { start: Some(start), size, ..sketch }),
            None => Ok(sketch),
        }
    }

    /// The picture that a row begins with, its sides cut down to what the graphs take.
    fn picture(&self, input: &Input, row: usize, fetched: &Fetched) -> Outcome<Option<(Size, Vec<f32>)>> {
        let work = self.work;
        let Some(column) = work.columns.get(&input.name) else { return Ok(None) };
        let Some(bytes) = medium(work, input, column, row, fetched)? else { return Ok(None) };
        let start = Instant::now();
        let decode = || {
            let check = || work.request.cancel.check();
            let picture = Document::open(&bytes, work.request.limits)?.picture(page(column, row), work.request.limits, &check)?;
            let (multiple, factor) = (self.diffusion.multiple as u32, self.diffusion.factor as u32);
            let size = Size { height: picture.height() / factor * factor, width: picture.width() / factor * factor };
            if size.height == 0 || size.width == 0 || !size.height.is_multiple_of(multiple) || !size.width.is_multiple_of(multiple) {
                let message = format!("a picture of {}x{} pixels: sides are multiples of {multiple}", picture.width(), picture.height());
                return Err(Error::new(Kind::Media, message).with_hint("resize it before"));
            }
            let spec = ImageSpec {
                resize: Some(Resize::Exact(size)),
                filter: Filter::Lanczos,
                crop: None,
                scale: 1.0 / 255.0,
                mean: vec![0.5; 3],
                std: vec![0.5; 3],
                layout: Layout::Nchw,
            };
            Ok((size, rgb_to_tensor(picture, &spec)?))
        };
        let decoded = decode().map_err(|error| (Step::Decode, error));
        work.request.stats.decode_time.since(start);
        decoded.map(Some)
    }

    /// The pictures of rows of one size.
    fn draw(&self, sketches: &[Sketch]) -> Result<Vec<Picture>> {
        let latents = self.denoise(sketches)?;
        let (size, count) = (sketches[0].size, sketches.len());
        let shape = self.shape(count, size);
        let scaled: Vec<f32> = latents.iter().map(|value| (f64::from(*value) / self.diffusion.scaling) as f32).collect();
        let (_, found, pixels) = self.graph(VAE_DECODER, &["sample"], |port| floats(port, shape.clone(), scaled.clone()))?;
        let (height, width) = (size.height as usize, size.width as usize);
        if found != [count, 3, height, width] {
            return Err(failed(&format!("pixels of shape {found:?}")));
        }
        let each = latents.chunks_exact(latents.len() / count).zip(pixels.chunks_exact(3 * height * width));
        Ok(each.map(|(latents, pixels)| Picture { latents: latents.to_vec(), pixels: pixels.to_vec(), size }).collect())
    }

    fn shape(&self, count: usize, size: Size) -> Vec<usize> {
        let factor = self.diffusion.factor;
        vec![count, self.diffusion.channels, size.height as usize / factor, size.width as usize / factor]
    }

    /// What the decoder makes pictures of, `[rows, channels, height, width]`.
    fn denoise(&self, sketches: &[Sketch]) -> Result<Vec<f32>> {
        let (rules, count) = (&self.diffusion.rules, sketches.len());
        let mut sampler = Sampler::new(&self.diffusion.scheduler, rules.steps);
        let shape = self.shape(count, sketches[0].size);
        let each: usize = shape[1..].iter().product();
        let mut generators: Vec<Generator> = sketches.iter().map(|_| Generator::new(rules.seed)).collect();
        let said = self.read(&sketches.iter().map(|sketch| &sketch.ids).collect::<Vec<_>>())?;
        let mut latents = match &sketches[0].start {
            None => {
                let scale = sampler.start_scale();
                let noise = generators.iter_mut().flat_map(|generator| generator.normal(each));
                noise.map(|value| (f64::from(value) * scale) as f32).collect()
            }
            Some(_) => {
                if !sampler.begin_at(rules.strength) {
                    return Err(failed(&"steps and strength leave nothing to do").with_hint("raise steps or strength"));
                }
                let encoded = self.encode(sketches, &shape, &mut generators)?;
                let noise: Vec<f32> = generators.iter_mut().flat_map(|generator| generator.normal(each)).collect();
                sampler.add_noise(&encoded, &noise)
            }
        };
        while let Some(time) = sampler.time() {
            self.work.request.cancel.check()?;
            let scale = sampler.input_scale();
            let input: Vec<f32> = latents.iter().map(|value| (f64::from(*value) * scale) as f32).collect();
            let found = self.predict(time, &input, &shape, &said)?;
            let noise: Vec<f32> = match sampler.wants_noise() {
                true => generators.iter_mut().flat_map(|generator| generator.normal(each)).collect(),
                false => Vec::new(),
            };
            sampler.step(found, &mut latents, &noise);
        }
        Ok(latents)
    }

    /// What the graph says of noisy pictures, with as much of the prompt as guidance wants.
    fn predict(&self, time: f64, input: &[f32], shape: &[usize], said: &[f32]) -> Result<Vec<f32>> {
        let count = shape[0];
        let width = said.len() / count;
        let (sample, prompts, rows) = match &self.negative {
            Some(negative) => ([input, input].concat(), [negative.repeat(count), said.to_vec()].concat(), 2 * count),
            None => (input.to_vec(), said.to_vec(), count),
        };
        let feed = |port: &Port| match port.name.as_str() {
            "sample" => floats(port, [&[rows], &shape[1..]].concat(), sample.clone()),
            "timestep" => numbers(port, vec![1; port.shape.len()], std::iter::once(time)),
            _ => {
                let last = port.shape.last().copied().flatten().ok_or_else(|| failed(&format!("the width of {port} is not known")))?;
                floats(port, vec![rows, width / last.max(1), last], prompts.clone())
            }
        };
        let (_, _, found) = self.graph(UNET, &["out_sample"], feed)?;
        if found.len() != sample.len() {
            return Err(failed(&"the graph gives another shape than it takes"));
        }
        let guidance = self.diffusion.rules.guidance;
        Ok(match &self.negative {
            None => found,
            Some(_) => {
                let (without, with) = found.split_at(input.len());
                let guided = |(without, with): (&f32, &f32)| {
                    let (without, with) = (f64::from(*without), f64::from(*with));
                    (without + guidance * (with - without)) as f32
                };
                without.iter().zip(with).map(guided).collect()
            }
        })
    }

    /// Pictures that rows begin with as the graphs work on them.
    fn encode(&self, sketches: &[Sketch], shape: &[usize], generators: &mut [Generator]) -> Result<Vec<f32>> {
        let size = sketches[0].size;
        let pixels: Vec<f32> = sketches.iter().filter_map(|sketch| sketch.start.as_ref()).flatten().copied().collect();
        let pixel_shape = vec![sketches.len(), 3, size.height as usize, size.width as usize];
        let feed = |port: &Port| floats(port, pixel_shape.clone(), pixels.clone());
        let (name, _, found) = self.graph(VAE_ENCODER, &["latent_parameters", "latent_sample"], feed)?;
        let each: usize = shape[1..].iter().product();
        let scaling = self.diffusion.scaling;
        if name == "latent_sample" && found.len() == each * sketches.len() {
            return Ok(found.iter().map(|value| (f64::from(*value) * scaling) as f32).collect());
        }
        if found.len() != 2 * each * sketches.len() {
            return Err(failed(&"vae_encoder gives another shape than the loop works on"));
        }
        let drawn = |(found, generator): (&[f32], &mut Generator)| {
            let (mean, spread) = found.split_at(each);
            let noise = generator.normal(each);
            let one = move |place: usize| {
                let deviation = (0.5 * f64::from(spread[place]).clamp(-30.0, 20.0)).exp();
                (scaling * (f64::from(mean[place]) + deviation * f64::from(noise[place]))) as f32
            };
            (0..each).map(one).collect::<Vec<f32>>()
        };
        Ok(found.chunks_exact(2 * each).zip(generators).flat_map(drawn).collect())
    }
}
