//! Pieces of the grammar of statements that are not DataFusion's, on sqlparser's tokens.

use datafusion::error::{DataFusionError, Result};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

/// What reading gives.
pub type Parsed<T> = Result<T, ParserError>;

/// That a statement is not well formed.
pub fn sql_error(error: ParserError) -> DataFusionError {
    DataFusionError::SQL(Box::new(error), None)
}

/// A parser of `sql`; none where it is not even words, and DataFusion says what is wrong.
pub fn parser(sql: &str) -> Option<Parser<'static>> {
    static DIALECT: GenericDialect = GenericDialect {};
    Parser::new(&DIALECT).try_with_sql(sql).ok()
}

/// The text from the next token on, as it was written: DataFusion reads queries better than they can be put together again.
pub fn rest<'a>(parser: &mut Parser<'_>, sql: &'a str) -> &'a str {
    let start = parser.peek_token().span.start;
    let line = usize::try_from(start.line).unwrap_or(0).saturating_sub(1);
    let before: usize = sql.split_inclusive('\n').take(line).map(str::len).sum();
    let column = usize::try_from(start.column).unwrap_or(0).saturating_sub(1);
    let offset = sql[before..].char_indices().nth(column).map_or(sql.len(), |(offset, _)| before + offset);
    sql[offset..].trim_end().trim_end_matches(';')
}

/// Takes the words if they come next, in any case.
pub fn words(parser: &mut Parser<'_>, expected: &[&str]) -> bool {
    let is_next = |(index, word): (usize, &&str)| matches!(&parser.peek_nth_token(index).token, Token::Word(found) if found.value.eq_ignore_ascii_case(word));
    let found = expected.iter().enumerate().all(is_next);
    if found {
        expected.iter().for_each(|_| drop(parser.next_token()));
    }
    found
}

/// The same, or an error that shows `usage`.
///
/// # Errors
/// Where they do not come next.
pub fn need(parser: &mut Parser<'_>, expected: &[&str], usage: &str) -> Parsed<()> {
    if words(parser, expected) {
        return Ok(());
    }
    let found = parser.peek_token();
    Err(ParserError::ParserError(format!("expected {}, found `{found}`\n\nhint: {usage}", expected.join(" "))))
}

/// A name, in lower case unless quoted, as SQL has it.
///
/// # Errors
/// Where none comes next.
pub fn name(parser: &mut Parser<'_>) -> Parsed<String> {
    if let Token::SingleQuotedString(text) = parser.peek_token().token {
        parser.next_token();
        return Ok(text);
    }
    let ident = parser.parse_identifier()?;
    Ok(if ident.quote_style.is_some() { ident.value } else { ident.value.to_lowercase() })
}

/// `(key = value, ..)`
pub type Options = Vec<(String, OptionValue)>;

/// A value of an option, as it was written.
#[derive(Debug, Clone, PartialEq)]
pub enum OptionValue {
    /// `'text'`
    Text(String),
    /// `-1.5`
    Number(String),
    /// `true`
    Truth(bool),
    /// `['a', 'b']`
    List(Vec<String>),
    /// `{a: 'b'}`
    Map(Vec<(String, String)>),
}

/// The options between parentheses.
///
/// # Errors
/// Where they are not well formed.
pub fn options(parser: &mut Parser<'_>) -> Parsed<Options> {
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
