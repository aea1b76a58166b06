//! Folders with the graphs of PP-OCR: a detector, a recogniser, and a classifier of turned lines where there is one, told
//! by `det`, `rec` and `cls` in their names.

use std::path::Path;

use super::import::ImportOptions;
use super::manifest::{Feed, Input, Manifest, Modality, Prediction, Source, Stage};
use super::ocr::{ANGLE, ANGLE_SIZE, DETECTOR, LINE_SIZE, Ocr, RECOGNISER};
use super::port::{Port, Signature};
use super::source::{Files, read_text};
use crate::error::{Error, Kind, Result};

/// Name of the input.
const PICTURE: &str = "picture";
/// Key of the recogniser's metadata that holds its characters, one a line.
const CHARACTERS: &str = "character";
/// Files that hold them where the graph does not.
const DICTIONARIES: [&str; 2] = ["ppocr_keys_v1.txt", "dict.txt"];
/// The character that stands behind those of the list (PaddleOCR's `use_space_char`).
const SPACE: &str = " ";

/// The graphs of a folder by their role.
pub(super) struct Graphs {
    detector: String,
    recogniser: String,
    angle: Option<String>,
}

/// The graphs of the folder, if it has a detector and a recogniser.
pub(super) fn graphs(folder: &Path) -> Option<Graphs> {
    let names: Vec<String> =
        folder.read_dir().ok()?.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect();
    let all = |role: &str| {
        let is_role = |name: &&String| {
            let mut parts = name.trim_end_matches(".onnx").split(['_', '-', '.']);
            name.ends_with(".onnx") && parts.any(|part| part.eq_ignore_ascii_case(role))
        };
        names.iter().filter(is_role).cloned().collect::<Vec<String>>()
    };
    let only = |role: &str| <[String; 1]>::try_from(all(role)).ok().map(|[name]| name);
    let angle = match all("cls").as_slice() {
        [] => None,
        [name] => Some(name.clone()),
        // Which of several is meant nobody says.
        _ => return None,
    };
    Some(Graphs { detector: only("det")?, recogniser: only("rec")?, angle })
}

/// Reads the folder's graphs.
pub(super) fn read(files: &mut Files, graphs: &Graphs, options: &ImportOptions) -> Result<Manifest> {
    if options.task.is_some() {
        return Err(
            Error::new(Kind::Setting, "option task has no effect: a detector and a recogniser read text").with_hint("leave the option out")
        );
    }
    let any = [None, Some(3), None, None];
    let detector = stage(files, DETECTOR, &graphs.detector, Source::Pixels { input: PICTURE.into() }, any, 4)?;
    let [height, _] = LINE_SIZE.map(|size| Some(size as usize));
    let recogniser = stage(files, RECOGNISER, &graphs.recogniser, Source::Crops, [None, Some(3), height, None], 3)?;
    let turned = [None, Some(3), Some(ANGLE_SIZE[0] as usize), Some(ANGLE_SIZE[1] as usize)];
    let angle = graphs.angle.as_ref().map(|graph| stage(files, ANGLE, graph, Source::Crops, turned, 2)).transpose()?;
    let ocr = Ocr::of_characters(characters(files, &graphs.recogniser, &recogniser)?);
    let input = Input::new(PICTURE, Modality::Document);
    let stages = [detector, recogniser].into_iter().chain(angle).collect();
    Ok(Manifest::new(vec![input], stages, Prediction::Lines { ocr: Box::new(ocr) }, None))
}

/// A graph of one input `[rows, 3, height, width]`, which takes what is given to it of these sizes, and one output of so many
/// dimensions.
fn stage(files: &mut Files, name: &str, graph: &str, source: Source, sizes: [Option<usize>; 4], dimensions: usize) -> Result<Stage> {
    let (path, _) = files.use_graph(graph)?;
    let Signature { inputs, outputs } = Signature::read(&path)?;
    let fits = |port: &Port, dimensions: usize| port.element.is_float() && port.shape.len() == dimensions;
    // A dimension that varies must be open in the graph, one that does not may be fixed to it.
    let takes = |port: &Port| port.shape.iter().zip(sizes).all(|(own, given)| own.is_none() || *own == given);
    match (inputs.as_slice(), outputs.as_slice()) {
        ([input], [output]) if fits(input, 4) && takes(input) && fits(output, dimensions) => {
            let feeds = vec![Feed { port: input.clone(), source }];
            Ok(Stage { name: name.into(), graph: graph.to_string(), feeds, outputs })
        }
        _ => {
            let names = |ports: &[Port]| ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            Err(Error::new(Kind::Package, format!("graph {graph} is no {name} of PP-OCR: from {} to {}", names(&inputs), names(&outputs))))
        }
    }
}

/// The recogniser's characters: in its metadata, or in a file beside it. Their number must be that of its classes.
fn characters(files: &mut Files, graph: &str, stage: &Stage) -> Result<Vec<String>> {
    let (_, facts) = files.use_graph(graph)?;
    let mut found = facts.metadata.get(CHARACTERS).cloned();
    for file in DICTIONARIES {
        if found.is_none() && files.root.join(file).is_file() {
            files.use_file(file)?;
            found = read_text(&files.root.join(file))?;
        }
    }
    let text = found.ok_or_else(|| {
        Error::new(Kind::Package, format!("nothing says which characters {graph} knows"))
            .with_hint(format!("put the list of its training, one character a line, beside it as {}", DICTIONARIES[0]))
    })?;
    let characters: Vec<String> = text.lines().chain([SPACE]).map(str::to_string).collect();
    match stage.outputs.first().and_then(|port| port.shape.last().copied().flatten()) {
        // The blank comes before the characters.
        Some(classes) if classes != characters.len() + 1 => {
            Err(Error::new(Kind::Package, format!("{} characters for the {classes} classes of {graph}", characters.len())))
        }
        _ => Ok(characters),
    }
}
