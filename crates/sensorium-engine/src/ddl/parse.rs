//! The grammar of model statements, on sqlparser's tokens.

use datafusion::error::Result;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, Word};
use sensorium_inference::CreateMode;

use super::statement::{Evaluation, Statement, Training};
use crate::grammar::{Parsed, name, need, options, parser, rest, sql_error, words};

/// The statement, or `None` if the text is not about models and DataFusion should read it.
///
/// # Errors
/// When it is about models but is not complete or not well formed.
pub(crate) fn parse(sql: &str) -> Result<Option<Statement>> {
    let Some(mut parser) = parser(sql) else { return Ok(None) };
    let Some(mut statement) = statement(&mut parser).map_err(sql_error)? else { return Ok(None) };
    if matches!(statement, Statement::Create { .. } | Statement::Train(_) | Statement::Evaluate(_)) && words(&mut parser, &["AS"]) {
        if matches!(parser.peek_token().token, Token::EOF | Token::SemiColon) {
            let usage = if matches!(statement, Statement::Evaluate(_)) { EVALUATE } else { CREATE };
            return Err(sql_error(ParserError::ParserError(format!("expected a query behind AS\n\nhint: {usage}"))));
        }
        let text = rest(&mut parser, sql).to_string();
        match &mut statement {
            Statement::Create { query, .. } => *query = Some(text),
            Statement::Train(training) => training.query = text,
            Statement::Evaluate(evaluation) => evaluation.query = text,
            _ => {}
        }
        return Ok(Some(statement));
    }
    if let Statement::Train(_) = statement {
        return Err(sql_error(ParserError::ParserError(format!(
            "expected FROM and a package, or AS and a query\n\nhint: {CREATE}\nhint: {TRAIN}"
        ))));
    }
    if let Statement::Evaluate(_) = statement {
        return Err(sql_error(ParserError::ParserError(format!("expected AS and a query\n\nhint: {EVALUATE}"))));
    }
    let _ = parser.consume_token(&Token::SemiColon);
    match parser.peek_token().token {
        Token::EOF => Ok(Some(statement)),
        other => Err(sql_error(ParserError::ParserError(format!("unexpected `{other}` behind the statement")))),
    }
}

const CREATE: &str = "CREATE [OR REPLACE] MODEL [IF NOT EXISTS] name FROM 'path' [OPTIONS (task = '..', labels = [..], activation = '..', max_tokens = .., variant = '..', label = '..')] [AS query]";
const TRAIN: &str = "CREATE [OR REPLACE] MODEL [IF NOT EXISTS] name OPTIONS (label = '..', text = 'encoder', image = 'encoder', fusion = '..', head = '..', ..) AS query";
const EVALUATE: &str = "EVALUATE MODEL name [TO 'folder'] [OPTIONS (label = '..', class = '..', weight = '..', sample = 1000)] AS query";
const EXPORT: &str = "EXPORT MODEL name TO 'folder'";
const ALTER: &str = "ALTER MODEL name SET ALIAS alias = version";

fn statement(parser: &mut Parser<'_>) -> Parsed<Option<Statement>> {
    if words(parser, &["CREATE", "OR", "REPLACE", "MODEL"]) {
        return create(parser, CreateMode::Replace).map(Some);
    }
    if words(parser, &["CREATE", "MODEL", "IF", "NOT", "EXISTS"]) {
        return create(parser, CreateMode::IfNotExists).map(Some);
    }
    if words(parser, &["CREATE", "MODEL"]) {
        return create(parser, CreateMode::New).map(Some);
    }
    if words(parser, &["DROP", "MODEL"]) {
        let if_exists = words(parser, &["IF", "EXISTS"]);
        return Ok(Some(Statement::Drop { name: name(parser)?, if_exists }));
    }
    if words(parser, &["SHOW", "MODELS"]) {
        return Ok(Some(Statement::Show));
    }
    if words(parser, &["DESCRIBE", "MODEL"]) || words(parser, &["DESC", "MODEL"]) {
        return Ok(Some(Statement::Describe { reference: reference(parser)? }));
    }
    if words(parser, &["EVALUATE", "MODEL"]) {
        let reference = reference(parser)?;
        let folder = if words(parser, &["TO"]) { Some(parser.parse_literal_string()?) } else { None };
        let options = if words(parser, &["OPTIONS"]) { options(parser)? } else { Vec::new() };
        return Ok(Some(Statement::Evaluate(Evaluation { reference, folder, options, query: String::new() })));
    }
    if words(parser, &["EXPORT", "MODEL"]) {
        let reference = reference(parser)?;
        need(parser, &["TO"], EXPORT)?;
        return Ok(Some(Statement::Export { reference, folder: parser.parse_literal_string()? }));
    }
    if words(parser, &["ALTER", "MODEL"]) {
        let name = name(parser)?;
        need(parser, &["SET", "ALIAS"], ALTER)?;
        let alias = self::name(parser)?;
        parser.expect_token(&Token::Eq)?;
        let version = parser.parse_literal_uint()?;
        return Ok(Some(Statement::SetAlias { name, alias, version }));
    }
    Ok(None)
}

/// `name`, `name@3`, `name@alias`, or any of these as a string; up to `TO`, `OPTIONS`, `AS` or the end.
fn reference(parser: &mut Parser<'_>) -> Parsed<String> {
    let mut reference = name(parser)?;
    let is_word = |word: &Word| matches!(word.keyword, Keyword::TO | Keyword::OPTIONS | Keyword::AS);
    let is_end = |token: &Token| matches!(token, Token::EOF | Token::SemiColon) || matches!(token, Token::Word(word) if is_word(word));
    while !is_end(&parser.peek_token().token) {
        reference.push_str(&parser.next_token().to_string());
    }
    Ok(reference)
}

fn create(parser: &mut Parser<'_>, mode: CreateMode) -> Parsed<Statement> {
    let name = name(parser)?;
    if words(parser, &["OPTIONS"]) {
        let options = options(parser)?;
        return Ok(Statement::Train(Training { name, mode, options, query: String::new() }));
    }
    need(parser, &["FROM"], CREATE)?;
    let source = parser.parse_literal_string()?;
    let options = if words(parser, &["OPTIONS"]) { options(parser)? } else { Vec::new() };
    Ok(Statement::Create { name, mode, source, options, query: None, rows: None })
}
