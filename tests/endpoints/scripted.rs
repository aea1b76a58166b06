//! A server whose answers depend on what it is asked, most of them bad.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use serde_json::{Value, json};

/// What was asked so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// When each prompt was asked.
    pub(super) asked: Vec<(String, Instant)>,
    under_way: usize,
    pub(super) most_at_once: usize,
    pub(super) bodies: Vec<Value>,
}

/// The server; its threads end with the tests.
pub(super) struct Server {
    pub(super) port: u16,
    pub(super) seen: Arc<Mutex<Seen>>,
}

impl Server {
    pub(super) fn start() -> Result<Self, Failed> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let own = Arc::clone(&seen);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let seen = Arc::clone(&own);
                // A client that has had enough leaves in the middle.
                std::thread::spawn(move || drop(serve(&socket, &seen)));
            }
        });
        Ok(Self { port, seen })
    }

    pub(super) fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How often a prompt was asked.
    pub(super) fn times(&self, prompt: &str) -> usize {
        self.seen(|seen| seen.asked.iter().filter(|(asked, _)| asked == prompt).count())
    }
}

fn serve(socket: &TcpStream, seen: &Mutex<Seen>) -> std::io::Result<()> {
    let mut reader = BufReader::new(socket.try_clone()?);
    loop {
        let mut headers = HashMap::new();
        let mut first = String::new();
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.insert(name.to_lowercase(), value.to_string());
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let content = &body["messages"].as_array().and_then(|messages| messages.last()).map_or(Value::Null, |last| last["content"].clone());
        let prompt = content.as_str().map_or_else(|| content.to_string(), str::to_string);
        let earlier = {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let earlier = seen.asked.iter().filter(|(asked, _)| *asked == prompt).count();
            seen.asked.push((prompt.clone(), Instant::now()));
            seen.bodies.push(body);
            seen.under_way += 1;
            seen.most_at_once = seen.most_at_once.max(seen.under_way);
            earlier
        };
        let answered = answer(socket, &prompt, earlier, headers.get("authorization").map_or("", String::as_str));
        seen.lock().unwrap_or_else(PoisonError::into_inner).under_way -= 1;
        answered?;
    }
}

fn send(mut socket: &TcpStream, status: &str, headers: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    write!(socket, "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
}

fn chat(text: &Value, reason: &str) -> String {
    let usage = json!({ "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15 });
    json!({ "choices": [{ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": reason }], "usage": usage })
        .to_string()
}

fn answer(mut socket: &TcpStream, prompt: &str, earlier: usize, authorization: &str) -> std::io::Result<()> {
    let error = |message: &str, kind: &str| json!({ "error": { "message": message, "type": kind, "code": kind } }).to_string();
    match prompt {
        "busy" if earlier == 0 => send(socket, "429 Too Many Requests", "retry-after: 1\r\n", &error("slow down", "rate_limit_exceeded")),
        "broken once" if earlier == 0 => send(socket, "500 Internal Server Error", "", "<html>oh</html>"),
        "broken" => send(socket, "503 Service Unavailable", "retry-after-ms: 1\r\n", &error("down", "server_error")),
        "for ever" => send(socket, "429 Too Many Requests", "retry-after: 86400\r\n", &error("tomorrow", "rate_limit_exceeded")),
        "gone" => Err(std::io::ErrorKind::ConnectionAborted.into()),
        "hang" => {
            sleep(Duration::from_secs(30));
            Ok(())
        }
        "drip" => {
            write!(socket, "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")?;
            (0..300).try_for_each(|_| {
                sleep(Duration::from_millis(100));
                socket.write_all(b" ")
            })
        }
        "cut" => {
            write!(socket, "HTTP/1.1 200 OK\r\ncontent-length: 5000\r\nconnection: close\r\n\r\n{{\"choices\": [")?;
            socket.shutdown(std::net::Shutdown::Both)
        }
        "half" => send(socket, "200 OK", "", "{\"choices\": [{\"message\""),
        "page" => send(socket, "200 OK", "", "<html>sign in</html>"),
        "strange" => send(socket, "200 OK", "", "{\"answer\": 42}"),
        "none" => send(socket, "200 OK", "", &chat(&Value::Null, "stop")),
        "filtered" => send(socket, "200 OK", "", &chat(&"x".into(), "content_filter")),
        "huge" => send(socket, "200 OK", "", &chat(&"x".repeat(3 << 20).into(), "stop")),
        "elsewhere" => send(socket, "307 Temporary Redirect", "location: http://169.254.169.254/v1\r\n", ""),
        "echo" => send(socket, "400 Bad Request", "", &error(&format!("what is {authorization}?"), "invalid_request_error")),
        "array" => send(socket, "400 Bad Request", "", &format!("[{}]", error("as Gemini says it", "INVALID_ARGUMENT"))),
        "quota" => send(socket, "429 Too Many Requests", "", &error("pay", "insufficient_quota")),
        "wrong" => send(socket, "200 OK", "", &chat(&"{\"paid\": \"maybe\"}".into(), "stop")),
        "right" => send(socket, "200 OK", "", &chat(&"{\"paid\":  true, \"kind\": \"a\"}".into(), "stop")),
        "refused" => {
            let refusal = json!({ "message": { "role": "assistant", "content": null, "refusal": format!("no: {authorization}") } });
            send(socket, "200 OK", "", &json!({ "choices": [refusal] }).to_string())
        }
        "error in answer" => send(socket, "200 OK", "", &json!({ "error": { "message": "overloaded" } }).to_string()),
        "thought" => send(
            socket,
            "200 OK",
            "",
            &json!({ "choices": [{ "message": { "role": "assistant" }, "finish_reason": "length" }] }).to_string(),
        ),
        "cut short" => send(socket, "200 OK", "", &chat(&"so far".into(), "length")),
        "parts" => {
            send(socket, "200 OK", "", &chat(&json!([{ "type": "text", "text": "in " }, { "type": "text", "text": "parts" }]), "stop"))
        }
        prompt => {
            sleep(Duration::from_millis(40));
            send(socket, "200 OK", "", &chat(&format!("re: {prompt}").into(), "stop"))
        }
    }
}
