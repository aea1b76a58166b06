//! A decoder's graph that scores the last token alone.
//!
//! Exporters write `logits` of each token that is read, of which a writer wants those behind the last one only: reading a prompt, most of
//! the work of a small model with many tokens goes into scores that nobody looks at. Here the states before the last product are cut
//! to their last place, as transformers' own `generate` does it (`logits_to_keep=1`). The weights stay where they are: the new
//! graph refers to their bytes in the old file.

use std::collections::HashMap;
use std::ops::Range;

use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field};

use super::proto::{Entry, Node, Tensor, ValueName};

// Fields of ModelProto, GraphProto, NodeProto and TensorProto.
const GRAPH: u32 = 7;
const NODE: u32 = 1;
const INITIALIZER: u32 = 5;
const OUTPUT: u32 = 12;
const NODE_INPUT: u32 = 1;
const RAW_DATA: u32 = 9;
const EXTERNAL: i32 = 1;
const INT64: i32 = 7;
const INTEGER_ATTRIBUTE: i32 = 2;

/// Shorter tensors stay in the graph: shapes are read off them before weights are loaded.
const SHORT: usize = 1 << 10;
/// A graph whose weights were put elsewhere is smaller.
const MAX_BYTES: usize = 256 << 20;
/// Nodes between the last product and the scores: a bias, a cap.
const MAX_STEPS: usize = 8;

const PLACE: &str = "sensorium.last_place";
const CUT: &str = "sensorium.last_token";

/// The graph in `bytes`, those of the file called `name`, whose output `logits` has the last token alone; nothing where it is not
/// certain that this is all that changes. Weights are read from the file.
pub(crate) fn last_token_alone(name: &str, bytes: &[u8], logits: &str) -> Option<Vec<u8>> {
    let model = fields(bytes, 0..bytes.len())?;
    let graph = model.iter().find(|field| field.tag == GRAPH)?;
    let parts = fields(bytes, graph.value.clone())?;
    let of = |tag: u32| parts.iter().filter(move |field| field.tag == tag);
    let nodes: Vec<Node> = of(NODE).map(|field| Node::decode(&bytes[field.value.clone()]).ok()).collect::<Option<_>>()?;
    let tensors: Vec<Tensor> = of(INITIALIZER).map(|field| Tensor::decode(&bytes[field.value.clone()]).ok()).collect::<Option<_>>()?;
    let outputs: Vec<ValueName> = of(OUTPUT).map(|field| ValueName::decode(&bytes[field.value.clone()]).ok()).collect::<Option<_>>()?;
    // What stands in a branch may read values from outside.
    if nodes.iter().flat_map(|node| &node.attributes).any(|attribute| attribute.graph.is_some() || !attribute.graphs.is_empty()) {
        return None;
    }
    let product = last_product(&nodes, &tensors, &outputs, logits)?;
    let mut own = Vec::new();
    let (mut node, mut tensor) = (0, 0);
    for field in &parts {
        match field.tag {
            NODE => {
                if node == product {
                    put(&mut own, NODE, &cut(&nodes[product].inputs[0]).encode_to_vec());
                    put(&mut own, NODE, &reading(bytes, field, CUT)?);
                } else {
                    own.extend_from_slice(&bytes[field.whole.clone()]);
                }
                node += 1;
            }
            INITIALIZER => {
                match outside(name, bytes, field, &tensors[tensor])? {
                    Some(reference) => put(&mut own, INITIALIZER, &reference),
                    None => own.extend_from_slice(&bytes[field.whole.clone()]),
                }
                tensor += 1;
            }
            _ => own.extend_from_slice(&bytes[field.whole.clone()]),
        }
        if own.len() > MAX_BYTES {
            return None;
        }
    }
    let last = Tensor { dimensions: vec![1], element: INT64, name: PLACE.into(), integers: vec![-1], ..Tensor::default() };
    put(&mut own, INITIALIZER, &last.encode_to_vec());
    let mut whole = Vec::with_capacity(own.len() + 1024);
    for field in &model {
        if field.tag == GRAPH { put(&mut whole, GRAPH, &own) } else { whole.extend_from_slice(&bytes[field.whole.clone()]) }
    }
    Some(whole)
}

/// The number of the node that multiplies the states of all tokens with the weights of the scores: everything behind it is of one token.
fn last_product(nodes: &[Node], tensors: &[Tensor], outputs: &[ValueName], logits: &str) -> Option<usize> {
    let makers: HashMap<&str, usize> =
        nodes.iter().enumerate().flat_map(|(number, node)| node.outputs.iter().map(move |output| (output.as_str(), number))).collect();
    let dimensions = |name: &str| tensors.iter().find(|tensor| tensor.name == name).map(|tensor| tensor.dimensions.as_slice());
    let readers = |name: &str| nodes.iter().flat_map(|node| &node.inputs).filter(|input| *input == name).count();
    let is_output = |name: &str| outputs.iter().any(|output| output.name == name);
    let mut value = logits;
    for _ in 0..MAX_STEPS {
        let number = *makers.get(value)?;
        let node = &nodes[number];
        let wanted = usize::from(value != logits);
        if readers(value) != wanted || (value != logits && is_output(value)) {
            return None;
        }
        // A vector or a number beside all tokens is the same for each.
        let is_small = |name: &String| dimensions(name).is_some_and(|sizes| sizes.len() <= 1);
        match (node.operator.as_str(), node.inputs.as_slice()) {
            ("MatMul", [_, weights]) if is_matrix(weights, nodes, &makers, &dimensions) => return Some(number),
            ("MatMulNBits", [_, rest @ ..]) if rest.iter().all(|name| name.is_empty() || dimensions(name).is_some()) => {
                return Some(number);
            }
            ("Cast" | "Identity" | "Tanh", [only]) => value = only,
            ("Mul" | "Div" | "Add", [one, other]) if is_small(other) => value = one,
            ("Mul" | "Add", [one, other]) if is_small(one) => value = other,
            _ => return None,
        }
    }
    None
}

/// Whether it is of two dimensions, and the same whatever is read: what it is multiplied with has rows, tokens and width then.
fn is_matrix<'a>(name: &'a str, nodes: &'a [Node], makers: &HashMap<&str, usize>, dimensions: &impl Fn(&str) -> Option<&'a [i64]>) -> bool {
    match (dimensions(name), makers.get(name).map(|number| &nodes[*number])) {
        (Some(sizes), _) => sizes.len() == 2,
        (None, Some(node)) => match node.operator.as_str() {
            "Transpose" | "Cast" | "DequantizeLinear" | "Identity" => {
                node.inputs.first().is_some_and(|first| dimensions(first).is_some_and(|sizes| sizes.len() == 2))
            }
            _ => false,
        },
        (None, None) => false,
    }
}

/// `Gather(states, [-1], axis = 1)`.
fn cut(states: &str) -> Node {
    let axis = super::proto::Attribute { name: "axis".into(), integer: 1, kind: INTEGER_ATTRIBUTE, ..Default::default() };
    Node {
        inputs: vec![states.into(), PLACE.into()],
        outputs: vec![CUT.into()],
        name: CUT.into(),
        operator: "Gather".into(),
        attributes: vec![axis],
    }
}

/// A node with another first input.
fn reading(bytes: &[u8], node: &Field, first: &str) -> Option<Vec<u8>> {
    let mut own = Vec::new();
    let mut is_first = true;
    for field in fields(bytes, node.value.clone())? {
        if field.tag == NODE_INPUT && is_first {
            put(&mut own, NODE_INPUT, first.as_bytes());
            is_first = false;
        } else {
            own.extend_from_slice(&bytes[field.whole]);
        }
    }
    Some(own)
}

/// A tensor whose values lie in the file, by where they are; nothing for a short one, or one that lies elsewhere already.
fn outside(name: &str, bytes: &[u8], tensor: &Field, known: &Tensor) -> Option<Option<Vec<u8>>> {
    let own = fields(bytes, tensor.value.clone())?;
    let Some(raw) = own.iter().find(|field| field.tag == RAW_DATA).filter(|raw| raw.value.len() >= SHORT) else { return Some(None) };
    let entry = |key: &str, value: String| Entry { key: key.into(), value };
    let reference = Tensor {
        external_data: vec![
            entry("location", name.into()),
            entry("offset", raw.value.start.to_string()),
            entry("length", raw.value.len().to_string()),
        ],
        data_location: EXTERNAL,
        ..known.clone()
    };
    Some(Some(reference.encode_to_vec()))
}

/// A field of a message.
#[derive(Debug, Clone)]
struct Field {
    tag: u32,
    /// Its bytes, key included.
    whole: Range<usize>,
    /// Those of its value.
    value: Range<usize>,
}

/// The fields of the message at `range`.
fn fields(bytes: &[u8], range: Range<usize>) -> Option<Vec<Field>> {
    let (end, mut rest) = (range.end, bytes.get(range)?);
    let mut found = Vec::new();
    while !rest.is_empty() {
        let start = end - rest.len();
        let (tag, wire) = decode_key(&mut rest).ok()?;
        let value = if wire == WireType::LengthDelimited {
            let length = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
            let from = end - rest.len();
            rest = rest.get(length..)?;
            from..from + length
        } else {
            let from = end - rest.len();
            skip_field(wire, tag, &mut rest, DecodeContext::default()).ok()?;
            from..end - rest.len()
        };
        found.push(Field { tag, whole: start..value.end, value });
    }
    Some(found)
}

fn put(bytes: &mut Vec<u8>, tag: u32, value: &[u8]) {
    encode_key(tag, WireType::LengthDelimited, bytes);
    encode_varint(value.len() as u64, bytes);
    bytes.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::super::proto::{Graph, Model};
    use super::*;

    fn fixture(name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/../../tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).expect("a fixture")
    }

    fn graph(bytes: &[u8]) -> Graph {
        Model::decode(bytes).expect("a model").graph.expect("a graph")
    }

    /// What the cut graph gives is compared in `tests/parity/text.rs`, for these and others.
    #[test]
    fn graphs_of_optimum_are_cut_before_their_last_product() {
        for name in ["text/llama/model.onnx", "text/gpt2/model.onnx"] {
            let bytes = fixture(name);
            let (before, after) = (graph(&bytes), graph(&last_token_alone("model.onnx", &bytes, "logits").expect("a cut graph")));
            assert_eq!(after.nodes.len(), before.nodes.len() + 1);
            assert_eq!(after.initializers.len(), before.initializers.len() + 1);
            let cut = after.nodes.iter().position(|node| node.name == CUT).expect("a cut");
            assert_eq!((after.nodes[cut].operator.as_str(), after.nodes[cut + 1].operator.as_str()), ("Gather", "MatMul"));
            assert_eq!(after.nodes[cut + 1].inputs[0], CUT);
            let outside: Vec<&Tensor> = after.initializers.iter().filter(|tensor| tensor.data_location == EXTERNAL).collect();
            assert!(!outside.is_empty() && outside.iter().all(|tensor| tensor.external_data[0].value == "model.onnx"));
        }
    }

    #[test]
    fn what_may_mix_tokens_is_left_alone() {
        let bytes = fixture("text/llama/model.onnx");
        // A cache holds all tokens.
        assert!(last_token_alone("model.onnx", &bytes, "present.0.key").is_none());
        assert!(last_token_alone("model.onnx", &bytes, "nothing").is_none());
        // A decoder with branches for its cache.
        assert!(last_token_alone("decoder_model_merged.onnx", &fixture("captioners/t5/decoder_model_merged.onnx"), "logits").is_none());
        // Whatever is not a graph.
        for end in [0, 1, 100, bytes.len() / 2, bytes.len() - 1] {
            assert!(last_token_alone("model.onnx", &bytes[..end], "logits").is_none());
        }
    }
}
