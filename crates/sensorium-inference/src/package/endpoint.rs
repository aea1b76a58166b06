//! Models that run elsewhere and are asked over HTTP, by OpenAI's protocol for chats and embeddings, which Gemini, vLLM, TGI, Ollama,
//! llama.cpp and others speak (<https://platform.openai.com/docs/api-reference>).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::{Host, Url};

use super::audio_spec::{AudioFeatures, AudioSpec};
use super::generation::{Generation, Reader, Rules};
use super::image_spec::{Filter, ImageSpec, Layout};
use super::import::Draft;
use super::manifest::{Input, Manifest, Modality, OutputRef, Prediction, Stage};
use super::port::{Element, Port};
use super::video_spec::{VIDEO, VideoSpec};
use crate::error::{Error, Kind, Result};

/// Where such a model is and how it is asked. Keys are no part of it: they are read from the environment when a request is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// `https://host/v1`, without a slash at its end.
    pub url: String,
    /// The model's name there.
    pub model: String,
    /// What it gives.
    pub task: EndpointTask,
    /// Environment variable that holds the key.
    pub key_env: Option<String>,
    /// Requests under way at once.
    pub max_concurrency: usize,
    /// Requests of a minute at most.
    pub requests_per_minute: Option<u32>,
    /// What the protocol calls the number of tokens that may be written: some models take `max_completion_tokens` alone.
    pub max_tokens_field: String,
    /// Whether media at an HTTP address are given by it; else all are sent along.
    pub media_by_url: bool,
    /// Whether log-probabilities are asked for.
    pub logprobs: bool,
    /// Dollars for a million tokens that are read, and that are written.
    pub dollars_per_million_tokens: Option<[f64; 2]>,
    /// What a call says about how texts are written.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub options: Map<String, Value>,
}

/// What an endpoint is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointTask {
    /// Answers in a conversation.
    Generation,
    /// Vectors of texts.
    Embedding,
}

/// What such sources begin with.
const PREFIX: &str = "openai+";
/// Most requests at once that make sense.
const MAX_CONCURRENCY: usize = 4_096;
/// Name of the stage and output that stand for vectors.
const VECTORS: &str = "embedding";
/// Samples a second of sound that has to be written anew before it is sent.
const RATE: u32 = 16_000;

fn wrong(name: &str, value: &Value, wanted: &str) -> Error {
    Error::new(Kind::Setting, format!("option {name}: not a usable value: {value}")).with_hint(wanted.to_string())
}

impl Endpoint {
    /// Names of the options of `CREATE MODEL`.
    pub const OPTIONS: [&'static str; 10] = [
        "model",
        "task",
        "key_env",
        "max_concurrency",
        "requests_per_minute",
        "max_tokens_field",
        "media_by_url",
        "logprobs",
        "input_dollars",
        "output_dollars",
    ];
    /// Names of the options of a call: those that all endpoints know.
    pub const CALL_OPTIONS: [&'static str; 8] = ["max_tokens", "temperature", "top_p", "seed", "stop", "system", "json_schema", "frames"];

    /// Whether a model's source is an endpoint.
    pub fn is_source(source: &str) -> bool {
        source.starts_with(PREFIX)
    }

    /// Reads `openai+https://host/v1` and the options of `CREATE MODEL`.
    ///
    /// # Errors
    /// [`Kind::Setting`] for an address or option that makes no sense, or that would give a key away.
    pub fn new(source: &str, options: &Map<String, Value>) -> Result<Self> {
        let mut own = Self {
            url: checked(source)?,
            model: String::new(),
            task: EndpointTask::Generation,
            key_env: None,
            max_concurrency: 16,
            requests_per_minute: None,
            max_tokens_field: "max_tokens".into(),
            media_by_url: false,
            logprobs: false,
            dollars_per_million_tokens: None,
            options: Map::new(),
        };
        let mut dollars = [None, None];
        for (name, value) in options {
            let text = || value.as_str().filter(|text| !text.is_empty()).map(str::to_string);
            let number = |most: u64| value.as_u64().filter(|number| (1..=most).contains(number));
            let price = || value.as_f64().filter(|price| price.is_finite() && *price >= 0.0);
            match name.as_str() {
                "model" => own.model = text().ok_or_else(|| wrong(name, value, "the model's name at the endpoint"))?,
                "task" => {
                    own.task = match value.as_str() {
                        Some("generation") => EndpointTask::Generation,
                        Some("embedding") => EndpointTask::Embedding,
                        _ => return Err(wrong(name, value, "'generation' or 'embedding'")),
                    }
                }
                "key_env" => {
                    own.key_env = Some(text().filter(|name| is_variable(name)).ok_or_else(|| {
                        // A key that was written here by mistake is not repeated.
                        Error::new(Kind::Setting, "option key_env is not the name of an environment variable")
                            .with_hint("in capitals: key_env = 'OPENAI_API_KEY'")
                    })?)
                }
                "max_concurrency" => {
                    let count = number(MAX_CONCURRENCY as u64).ok_or_else(|| wrong(name, value, "a whole number from 1 to 4096"))?;
                    own.max_concurrency = usize::try_from(count).unwrap_or(MAX_CONCURRENCY);
                }
                "requests_per_minute" => {
                    let count = number(u64::from(u32::MAX)).ok_or_else(|| wrong(name, value, "a whole number from 1"))?;
                    own.requests_per_minute = u32::try_from(count).ok();
                }
                "max_tokens_field" => match value.as_str() {
                    Some(field @ ("max_tokens" | "max_completion_tokens")) => own.max_tokens_field = field.into(),
                    _ => return Err(wrong(name, value, "'max_tokens' or 'max_completion_tokens'")),
                },
                "media_by_url" => own.media_by_url = value.as_bool().ok_or_else(|| wrong(name, value, "true or false"))?,
                "logprobs" => own.logprobs = value.as_bool().ok_or_else(|| wrong(name, value, "true or false"))?,
                "input_dollars" => dollars[0] = Some(price().ok_or_else(|| wrong(name, value, "dollars for a million tokens"))?),
                "output_dollars" => dollars[1] = Some(price().ok_or_else(|| wrong(name, value, "dollars for a million tokens"))?),
                other => {
                    return Err(Error::new(Kind::Setting, format!("no such option of an endpoint: {other}")).with_nearest(
                        other,
                        Self::OPTIONS,
                        "options",
                    ));
                }
            }
        }
        if own.model.is_empty() {
            return Err(Error::new(Kind::Setting, "nothing says which model of the endpoint is meant").with_hint("OPTIONS (model = '...')"));
        }
        own.dollars_per_million_tokens = dollars.iter().any(Option::is_some).then(|| dollars.map(|price| price.unwrap_or(0.0)));
        if own.key_env.is_some() && own.url.starts_with("http:") && !is_loopback(&own.url) {
            return Err(Error::new(Kind::Setting, "a key would be sent in the clear").with_hint("openai+https://.."));
        }
        Ok(own)
    }

    /// Host and port, as `mm.allowed_hosts` names them.
    pub fn host(&self) -> (String, Option<u16>) {
        let url = Url::parse(&self.url).ok();
        let host = url.as_ref().and_then(Url::host_str).unwrap_or_default().to_string();
        (host, url.and_then(|url| url.port_or_known_default()))
    }

    /// Whether a session that allows `hosts` may ask it.
    ///
    /// # Errors
    /// [`Kind::Forbidden`] if not.
    pub fn check_host(&self, hosts: &[String]) -> Result<()> {
        let (host, port) = self.host();
        let is_own = |allowed: &String| {
            let allowed = allowed.to_lowercase();
            allowed == host || port.is_some_and(|port| allowed == format!("{host}:{port}"))
        };
        if hosts.iter().any(is_own) {
            return Ok(());
        }
        Err(Error::new(Kind::Forbidden, format!("the session does not allow requests to {host}"))
            .with_hint(format!("SET mm.allowed_hosts = '{host}'")))
    }

    /// Whether a medium at `uri` is given by its address: sounds and videos are read here, documents are drawn.
    pub(crate) fn gives_address(&self, input: &Input, uri: &str) -> bool {
        let path = uri.split(['?', '#']).next().unwrap_or(uri).to_lowercase();
        let is_document = uri.contains('#') || [".pdf", ".tif", ".tiff"].iter().any(|end| path.ends_with(end));
        let is_picture = matches!(input.modality, Modality::Document);
        is_picture && self.media_by_url && (uri.starts_with("https://") || uri.starts_with("http://")) && !is_document
    }

    /// What decides answers; how often and at what price they are asked for does not.
    pub(super) fn asked(&self) -> Self {
        Self {
            key_env: None,
            max_concurrency: 1,
            requests_per_minute: None,
            media_by_url: false,
            dollars_per_million_tokens: None,
            ..self.clone()
        }
    }

    /// One line for listings.
    pub fn describe(&self) -> String {
        let rate = self.requests_per_minute.map_or(String::new(), |rate| format!(", {rate} a minute"));
        let key = self.key_env.as_ref().map_or(String::new(), |name| format!(", key in {name}"));
        format!("{} at {}, {} requests at once{rate}{key}", self.model, self.url, self.max_concurrency)
    }

    /// The options of a call, checked.
    ///
    /// # Errors
    /// [`Kind::Argument`] for one that endpoints do not know, or a value that makes no sense.
    pub(crate) fn with_options(&self, options: &Map<String, Value>) -> Result<Self> {
        let given = || options.iter().filter(|(_, value)| !value.is_null());
        if let Some((unknown, _)) = given().find(|(name, _)| !Self::CALL_OPTIONS.contains(&name.as_str())) {
            return Err(Error::new(Kind::Argument, format!("option of no model at an endpoint: {unknown}")).with_nearest(
                unknown,
                Self::CALL_OPTIONS,
                "its options",
            ));
        }
        // What is drawn is the endpoint's affair; a seed or top_p may stand alone, or beside a temperature of 0.
        let (temperature, mut others): (Map<String, Value>, Map<String, Value>) =
            given().map(|(name, value)| (name.clone(), value.clone())).partition(|(name, _)| name == "temperature");
        Rules::default().with_options(&temperature)?;
        others.insert("temperature".into(), 1.0.into());
        Rules::default().with_options(&others)?;
        Ok(Self { options: given().map(|(name, value)| (name.clone(), value.clone())).collect(), ..self.clone() })
    }

    /// The model. `width` is that of the vectors which it gives.
    pub fn draft(self, width: Option<usize>) -> Draft {
        let manifest = match width {
            Some(width) => vectors(width),
            None => answers(),
        };
        Draft::without_files(Manifest { endpoint: Some(Box::new(self)), ..manifest })
    }
}

fn vectors(width: usize) -> Manifest {
    let reference = OutputRef { stage: VECTORS.into(), output: VECTORS.into(), pooling: None, normalize: false, first: None };
    let port = Port { name: VECTORS.into(), element: Element::Float32, shape: vec![None, Some(width)] };
    let stage = Stage { name: VECTORS.into(), graph: String::new(), feeds: Vec::new(), outputs: vec![port] };
    let prediction = Prediction::Outputs { fields: vec![(VECTORS.into(), reference.clone())] };
    Manifest::new(vec![Input::new("text", Modality::Prompt)], vec![stage], prediction, Some(reference))
}

fn answers() -> Manifest {
    let sound = AudioSpec { sampling_rate: RATE, features: AudioFeatures::Waveform { normalize: false, masked: false } };
    let several = |name: &str, modality| Input { list: true, ..Input::optional(name, modality) };
    // Frames are sent as they are.
    let frame = ImageSpec {
        resize: None,
        filter: Filter::Bilinear,
        crop: None,
        scale: 1.0,
        mean: vec![0.0; 3],
        std: vec![1.0; 3],
        layout: Layout::Nchw,
    };
    let inputs = vec![
        Input::new("prompt", Modality::Prompt),
        several("image", Modality::Document),
        several("audio", Modality::Audio(sound)),
        several(VIDEO, Modality::Video(VideoSpec::in_prompt(frame, usize::MAX))),
    ];
    let generation = Generation {
        tokenizer: String::new(),
        chat: None,
        start: None,
        ends: Vec::new(),
        max_positions: 0,
        is_padded: true,
        media: Vec::new(),
        first: Vec::new(),
        cleans_up: false,
        reader: Reader::Decoder,
        rules: Rules::default(),
    };
    Manifest::new(inputs, Vec::new(), Prediction::Text { generation: Box::new(generation) }, None)
}

fn checked(source: &str) -> Result<String> {
    let unusable = |why: &str| Error::new(Kind::Setting, format!("not an endpoint: {why}")).with_hint("openai+https://host/v1");
    let address = source.strip_prefix(PREFIX).ok_or_else(|| unusable("it does not begin with openai+"))?;
    let url = Url::parse(address).map_err(|error| unusable(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(unusable("neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(unusable("names, passwords and keys do not belong into an address").with_hint("OPTIONS (key_env = 'OPENAI_API_KEY')"));
    }
    Ok(url.as_str().trim_end_matches('/').to_string())
}

/// In capitals, as such names usually are: a key that stands here by mistake must not be taken for one.
fn is_variable(name: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_uppercase() || letter == '_';
    name.starts_with(is_letter) && name.chars().all(|letter| is_letter(letter) || letter.is_ascii_digit())
}

fn is_loopback(url: &str) -> bool {
    let url = Url::parse(url).ok();
    match url.as_ref().and_then(Url::host) {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_alone_are_given_by_their_address() {
        let options = serde_json::json!({ "model": "m", "media_by_url": true });
        let endpoint = Endpoint::new("openai+https://host/v1", options.as_object().expect("an object")).expect("an endpoint");
        let inputs = answers().inputs;
        let given = |uri: &str| {
            inputs.iter().filter(|input| endpoint.gives_address(input, uri)).map(|input| input.name.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(given("https://host/a.png"), ["image"]);
        assert_eq!(given("https://host/a.pdf"), Vec::<&str>::new());
        assert_eq!(given("s3://bucket/a.png"), Vec::<&str>::new());
    }
}
