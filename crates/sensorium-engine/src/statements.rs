//! Scripts to statements.

use datafusion::error::{DataFusionError, Result};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

/// Cuts a script at its semicolons, which may stand in strings and comments without ending a statement.
///
/// # Errors
/// When the script cannot be read as SQL words, such as a string without an end.
pub fn split_statements(script: &str) -> Result<Vec<String>> {
    let tokens = Tokenizer::new(&GenericDialect {}, script)
        .with_unescape(false)
        .tokenize()
        .map_err(|error| DataFusionError::SQL(Box::new(error.into()), None))?;
    let is_blank = |tokens: &[Token]| tokens.iter().all(|token| matches!(token, Token::Whitespace(_)));
    let text = |tokens: &[Token]| tokens.iter().map(ToString::to_string).collect::<String>().trim().to_string();
    let parts = tokens.split(|token| *token == Token::SemiColon);
    Ok(parts.filter(|part| !is_blank(part)).map(text).collect())
}

#[cfg(test)]
mod tests {
    use super::split_statements;

    #[test]
    fn semicolons_in_strings_and_comments_do_not_cut() {
        let script = "SELECT 'a;''b' ; -- c;d\n SELECT 2;;\n";
        assert_eq!(split_statements(script).expect("valid"), ["SELECT 'a;''b'", "-- c;d\n SELECT 2"]);
    }
}
