//! Chat templates: what transformers makes of the same conversations, byte by byte.

use arrow::array::{Array, AsArray};
use serde_json::Value;
use tempfile::TempDir;

use super::read_json;
use crate::Outcome;
use crate::support::{Fresh, ensure, path_in, root};

const PACKAGE: &str = "tests/fixtures/text/llama";

/// A conversation as SQL.
fn literal(messages: &Value) -> String {
    let quoted = |text: &Value| format!("'{}'", text.as_str().unwrap_or_default().replace('\'', "''"));
    let message = |message: &Value| format!("{{role: {}, content: {}}}", quoted(&message["role"]), quoted(&message["content"]));
    format!("[{}]", messages.as_array().into_iter().flatten().map(message).collect::<Vec<_>>().join(", "))
}

pub(super) fn rendered() -> Outcome {
    let mut count = 0;
    for template in read_json("text/chat_templates.json")?.as_array().into_iter().flatten() {
        let name = template["name"].as_str().ok_or("a name")?;
        let folder = TempDir::new_in(root().join("tests"))?;
        for entry in std::fs::read_dir(PACKAGE)? {
            let entry = entry?;
            std::fs::copy(entry.path(), folder.path().join(entry.file_name()))?;
        }
        std::fs::write(folder.path().join("chat_template.jinja"), template["template"].as_str().ok_or("a template")?)?;
        let fresh = Fresh::with_models(&[("chat", &path_in(&folder, ""))])?;
        for answer in template["answers"].as_array().into_iter().flatten() {
            let found = fresh
                .rows(&format!("SELECT t.value, t.error FROM (SELECT mm_try_prompt('chat', {}) AS t)", literal(&answer["messages"])))?;
            let (text, error) = (found.column(0).as_string::<i32>(), found.column(1).as_string::<i32>());
            let what = || format!("{name}: {:?} {:?} for {answer}", text.value(0), error.value(0));
            match answer["text"].as_str() {
                Some(expected) => ensure(text.is_valid(0) && text.value(0) == expected, what)?,
                None => ensure(error.is_valid(0) && error.value(0).ends_with(answer["error"].as_str().ok_or("an error")?), what)?,
            }
            count += 1;
        }
    }
    ensure(count >= 50, || format!("{count} conversations"))
}
