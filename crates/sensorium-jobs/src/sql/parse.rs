//! The grammar of statements about jobs.

use crate::job_file::is_plain;
use datafusion::error::Result;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;
use sensorium_engine::grammar::{Options, Parsed, name, need, options, parser, rest, sql_error, words};

/// A statement about jobs.
#[derive(Debug)]
pub(super) enum Statement {
    Create(Creation),
    Drop { name: String, if_exists: bool },
    Run { name: String, date: Option<String>, force: bool },
    Show,
}

/// `CREATE JOB`, as it was written.
#[derive(Debug)]
pub(super) struct Creation {
    pub(super) name: String,
    pub(super) replace: bool,
    pub(super) if_not_exists: bool,
    pub(super) schedule: Option<String>,
    pub(super) time_zone: Option<String>,
    pub(super) options: Options,
    pub(super) sink: String,
    pub(super) query: String,
}

const CREATE: &str = "CREATE [OR REPLACE] JOB [IF NOT EXISTS] name [SCHEDULE '0 2 * * *' [TIME ZONE 'Europe/Berlin']] OPTIONS (key = 'id', ..) AS INSERT INTO 'folder or URL' query";
const RUN: &str = "RUN JOB name [FOR '2026-11-28'] [FORCE]";

/// The statement, or `None` if it is about something else.
pub(super) fn parse(sql: &str) -> Result<Option<Statement>> {
    let Some(mut parser) = parser(sql) else { return Ok(None) };
    let Some(statement) = statement(&mut parser, sql).map_err(sql_error)? else { return Ok(None) };
    if !matches!(statement, Statement::Create(_)) {
        let _ = parser.consume_token(&Token::SemiColon);
        if parser.peek_token().token != Token::EOF {
            let message = format!("unexpected `{}` behind the statement", parser.peek_token());
            return Err(sql_error(ParserError::ParserError(message)));
        }
    }
    Ok(Some(statement))
}

fn statement(parser: &mut Parser<'_>, sql: &str) -> Parsed<Option<Statement>> {
    if words(parser, &["CREATE", "OR", "REPLACE", "JOB"]) {
        return create(parser, sql, true).map(Some);
    }
    if words(parser, &["CREATE", "JOB"]) {
        return create(parser, sql, false).map(Some);
    }
    if words(parser, &["DROP", "JOB"]) {
        let if_exists = words(parser, &["IF", "EXISTS"]);
        return Ok(Some(Statement::Drop { name: job_name(parser)?, if_exists }));
    }
    if words(parser, &["SHOW", "JOBS"]) {
        return Ok(Some(Statement::Show));
    }
    if words(parser, &["RUN", "JOB"]) {
        let name = job_name(parser)?;
        let date = if words(parser, &["FOR"]) { Some(literal(parser, RUN)?) } else { None };
        let force = words(parser, &["FORCE"]);
        return Ok(Some(Statement::Run { name, date, force }));
    }
    Ok(None)
}

fn create(parser: &mut Parser<'_>, sql: &str, replace: bool) -> Parsed<Statement> {
    let if_not_exists = !replace && words(parser, &["IF", "NOT", "EXISTS"]);
    let name = job_name(parser)?;
    let schedule = if words(parser, &["SCHEDULE"]) { Some(literal(parser, CREATE)?) } else { None };
    let time_zone = if words(parser, &["TIME", "ZONE"]) { Some(literal(parser, CREATE)?) } else { None };
    need(parser, &["OPTIONS"], CREATE)?;
    let options = options(parser)?;
    need(parser, &["AS", "INSERT", "INTO"], CREATE)?;
    let sink = literal(parser, CREATE)?;
    if parser.peek_token().token == Token::EOF {
        return Err(ParserError::ParserError(format!("expected a query behind the sink\n\nhint: {CREATE}")));
    }
    let query = rest(parser, sql).to_string();
    Ok(Statement::Create(Creation { name, replace, if_not_exists, schedule, time_zone, options, sink, query }))
}

/// A name of a job, which names its files.
fn job_name(parser: &mut Parser<'_>) -> Parsed<String> {
    let name = name(parser)?;
    if is_plain(&name) {
        Ok(name)
    } else {
        Err(ParserError::ParserError(format!("'{name}' is no name of a job\n\nhint: letters, digits, - and _")))
    }
}

/// A text in quotes.
fn literal(parser: &mut Parser<'_>, usage: &str) -> Parsed<String> {
    match parser.next_token().token {
        Token::SingleQuotedString(text) => Ok(text),
        other => Err(ParserError::ParserError(format!("expected a text in quotes, found `{other}`\n\nhint: {usage}"))),
    }
}
