//! The grammar of model statements, on sqlparser's tokens.

use datafusion::error::{DataFusionError, Result};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, Word};
use sensorium_inference::CreateMode;

use super::create::{OptionValue, Options};
use super::statement::{Evaluation, Statement, Training};

type Parsed<T> = Result<T, ParserError>;

/// The statement, or `None` if the text is not about models and DataFusion should read it.
///
/// # Errors
/// When it is about models but is not complete or not well formed.
pub(crate) fn parse(sql: &str) -> Result<Option<Statement>> {
    let sql_error = |error: ParserError| DataFusionError::SQL(Box::new(error), None);
    let dialect = GenericDialect {};
    let Ok(mut parser) = Parser::new(&dialect).try_with_sql(sql) else { return Ok(None) };
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

/// The text from the next token on, as it was written: DataFusion reads queries better than they can be put together again.
fn rest<'a>(parser: &mut Parser<'_>, sql: &'a str) -> &'a str {
    let start = parser.peek_token().span.start;
    let line = usize::try_from(start.line).unwrap_or(0).saturating_sub(1);
    let before: usize = sql.split_inclusive('\n').take(line).map(str::len).sum();
    let column = usize::try_from(start.column).unwrap_or(0).saturating_sub(1);
    let offset = sql[before..].char_indices().nth(column).map_or(sql.len(), |(offset, _)| before + offset);
    sql[offset..].trim_end().trim_end_matches(';')
}

/// Takes the words if they come next, in any case.
fn words(parser: &mut Parser<'_>, expected: &[&str]) -> bool {
    let is_next = |(index, word): (usize, &&str)| matches!(&parser.peek_nth_token(index).token, Token::Word(found) if found.value.eq_ignore_ascii_case(word));
    let found = expected.iter().enumerate().all(is_next);
    if found {
        expected.iter().for_each(|_| drop(parser.next_token()));
    }
    found
}

fn need(parser: &mut Parser<'_>, expected: &[&str], usage: &str) -> Parsed<()> {
    if words(parser, expected) {
        return Ok(());
    }
    let found = parser.peek_token();
    Err(ParserError::ParserError(format!("expected {}, found `{found}`\n\nhint: {usage}", expected.join(" "))))
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

/// A name, in lower case unless quoted, as SQL has it.
fn name(parser: &mut Parser<'_>) -> Parsed<String> {
    if let Token::SingleQuotedString(text) = parser.peek_token().token {
        parser.next_token();
        return Ok(text);
    }
    let ident = parser.parse_identifier()?;
    Ok(if ident.quote_style.is_some() { ident.value } else { ident.value.to_lowercase() })
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

fn options(parser: &mut Parser<'_>) -> Parsed<Options> {
    parser.expect_token(&Token::LParen)?;
    let options = parser.parse_comma_separated(|parser| {
        let key = name(parser)?;
        parser.expect_token(&Token::Eq)?;
        Ok((key, value(parser)?))
    })?;
    parser.expect_token(&Token::RParen)?;
    Ok(options)
}

fn value(parser: &mut Parser<'_>) -> Parsed<OptionValue> {
    match parser.next_token().token {
        Token::SingleQuotedString(text) => Ok(OptionValue::Text(text)),
        Token::Number(number, _) => Ok(OptionValue::Number(number)),
        Token::Word(word) if word.keyword == Keyword::TRUE => Ok(OptionValue::Truth(true)),
        Token::Word(word) if word.keyword == Keyword::FALSE => Ok(OptionValue::Truth(false)),
        Token::Minus => match parser.next_token().token {
            Token::Number(number, _) => Ok(OptionValue::Number(format!("-{number}"))),
            other => Err(ParserError::ParserError(format!("expected a number behind `-`, found `{other}`"))),
        },
        Token::LBracket => {
            let list = parser.parse_comma_separated(Parser::parse_literal_string)?;
            parser.expect_token(&Token::RBracket)?;
            Ok(OptionValue::List(list))
        }
        Token::LBrace => {
            let pairs = parser.parse_comma_separated(|parser| {
                let name = parser.parse_identifier()?.value;
                parser.expect_token(&Token::Colon)?;
                Ok((name, parser.parse_literal_string()?))
            })?;
            parser.expect_token(&Token::RBrace)?;
            Ok(OptionValue::Map(pairs))
        }
        other => Err(ParserError::ParserError(format!(
            "expected a string, a number, true, false, a list of strings or {{name: 'string'}}, found `{other}`"
        ))),
    }
}
