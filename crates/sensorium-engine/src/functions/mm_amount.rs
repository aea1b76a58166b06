//! `mm_amount`: a sum of money as people write it, as a number.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, DocSection, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        DocSection::default(),
        "The number that a sum of money stands for, as Decimal(20, 4): '1.234,50 €', '1,234.50', \"1'234.50\", '(12.00)' for less than nothing. NULL where it cannot be told for certain: text that is no number or has other words than a currency beside it, and '1,234' or '1.234', which mean different numbers in different countries unless the second argument says how decimals are set off. A blank between digits groups them: '2 500.00' is two thousand five hundred. Sums from mm_ocr are to be added up and compared with the total before they are used.",
        "mm_amount(text [, decimal_separator])",
    )
    .with_argument("text", "A sum with or without its currency")
    .with_argument("decimal_separator", "'.' or ','")
    .with_sql_example("SELECT sum(mm_amount(price)) = mm_amount(min(total)) AS adds_up FROM invoice_lines GROUP BY invoice")
    .build()
});

/// Digits in all, and behind the decimal separator.
const PRECISION: u8 = 20;
const SCALE: i8 = 4;
const TYPE: DataType = DataType::Decimal128(PRECISION, SCALE);

pub(super) fn function() -> ScalarUDF {
    ScalarUDF::new_from_impl(Amount { signature: Signature::variadic_any(Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Amount {
    signature: Signature,
}

impl ScalarUDFImpl for Amount {
    fn name(&self) -> &str {
        "mm_amount"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [text] | [text, _] if text.is_string() || text.is_null() || matches!(text, DataType::Dictionary(_, _)) => Ok(TYPE),
            _ => plan_err!("mm_amount takes a text and, if need be, its decimal separator: mm_amount('1.234', ',')"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let texts = cast(&arrays[0], &DataType::Utf8)?;
        let texts = texts.as_string::<i32>();
        let separators = arrays.get(1).map(|array| cast(array, &DataType::Utf8)).transpose()?;
        let mut amounts = Vec::with_capacity(texts.len());
        for row in 0..texts.len() {
            let decimal = match separators.as_ref().map(|array| array.as_string::<i32>()) {
                None => None,
                Some(separators) if separators.is_valid(row) && [".", ","].contains(&separators.value(row)) => {
                    separators.value(row).chars().next()
                }
                Some(_) => return plan_err!("mm_amount: a decimal separator is '.' or ','"),
            };
            amounts.push(if texts.is_null(row) { None } else { amount(texts.value(row), decimal) });
        }
        let amounts: ArrayRef = Arc::new(Decimal128Array::from(amounts).with_precision_and_scale(PRECISION, SCALE)?);
        let is_single = args.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        if is_single {
            return datafusion::common::ScalarValue::try_from_array(&amounts, 0).map(ColumnarValue::Scalar);
        }
        Ok(ColumnarValue::Array(amounts))
    }
}

/// Signs for groups of digits besides the comma and the full stop.
const GROUPING: [char; 6] = ['\'', '\u{2019}', ' ', '\u{a0}', '\u{202f}', '\u{2009}'];

/// The amount in units of the last decimal; `None` where the text does not say for certain which it is.
fn amount(text: &str, decimal: Option<char>) -> Option<i128> {
    let Bare { digits, is_negative, is_whole, has_plus } = bare(text)?;
    let (whole, fraction) = match decimal.or_else(|| decimal_of(digits)) {
        Some(separator) => digits.split_once(separator).unwrap_or((digits, "")),
        None if is_ambiguous(digits) => return None,
        None => (digits, ""),
    };
    let fits = fraction.len() <= usize::try_from(SCALE).ok()? && fraction.chars().all(|letter| letter.is_ascii_digit());
    // Numbers of telephones, of orders and of months begin with a zero or are dialled with a plus and blanks.
    let is_number = (whole.len() > 1 && whole.starts_with('0')) || (has_plus && whole.contains(' '));
    if !fits || !is_grouped(whole) || whole.is_empty() || is_number || (is_whole && !fraction.is_empty()) {
        return None;
    }
    let joined: String = whole.chars().filter(char::is_ascii_digit).chain(format!("{fraction:0<4}").chars()).collect();
    let value: i128 = joined.parse().ok().filter(|_| joined.len() <= usize::from(PRECISION))?;
    Some(if is_negative { -value } else { value })
}

/// Codes of currencies (ISO 4217), and what else stands for them.
const CODES: &str = "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD \
    CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ \
    GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR \
    LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN \
    PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB \
    TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWG";
const WORDS: [&str; 13] = ["Rs", "Fr", "kr", "zł", "Kč", "Ft", "lei", "US", "euro", "euros", "Euro", "Euros", "EURO"];
const SYMBOLS: &str = "$€£¥₹₽₩₺";
const MINUSES: [char; 2] = ['-', '\u{2212}'];
/// Behind a sum: there are no decimals.
const DASHES: [char; 3] = ['-', '\u{2013}', '\u{2014}'];

/// What a text says besides its currency.
struct Bare<'a> {
    /// From the first digit to the last.
    digits: &'a str,
    is_negative: bool,
    /// Whether a dash stands for the decimals.
    is_whole: bool,
    has_plus: bool,
}

/// What stands before or behind the digits.
#[derive(Default)]
struct Side {
    minuses: usize,
    pluses: usize,
    opened: usize,
    closed: usize,
}

fn bare(text: &str) -> Option<Bare<'_>> {
    let text = text.trim();
    let is_digit = |letter: char| letter.is_ascii_digit();
    let (start, end) = (text.find(is_digit)?, text.rfind(is_digit)? + 1);
    let (digits, behind) = (&text[start..end], &text[end..]);
    // '50.-', which is no minus.
    let dashed = behind.strip_prefix(['.', ',']).and_then(|rest| rest.strip_prefix(DASHES));
    let (before, after) = (side(&text[..start])?, side(dashed.unwrap_or(behind))?);
    let is_bracketed = match (before.opened, before.closed, after.opened, after.closed) {
        (0, 0, 0, 0) => false,
        (1, 0, 0, 1) => true,
        _ => return None,
    };
    let (minuses, pluses) = (before.minuses + after.minuses, before.pluses + after.pluses);
    (minuses + pluses + usize::from(is_bracketed) <= 1).then_some(Bare {
        digits,
        is_negative: minuses == 1 || is_bracketed,
        is_whole: dashed.is_some(),
        has_plus: pluses == 1,
    })
}

/// Signs, brackets and currencies; `None` where anything else stands there. A full stop belongs to the word before it only.
fn side(text: &str) -> Option<Side> {
    let (mut side, mut rest) = (Side::default(), text);
    while let Some(letter) = rest.chars().next() {
        let word = rest.split(|letter: char| !letter.is_alphabetic()).next().unwrap_or_default();
        if !word.is_empty() {
            if !(WORDS.contains(&word) || CODES.split_whitespace().any(|code| code == word)) {
                return None;
            }
            rest = rest[word.len()..].strip_prefix('.').unwrap_or(&rest[word.len()..]);
            continue;
        }
        match letter {
            '+' => side.pluses += 1,
            '(' => side.opened += 1,
            ')' => side.closed += 1,
            letter if MINUSES.contains(&letter) => side.minuses += 1,
            letter if letter.is_whitespace() || SYMBOLS.contains(letter) => {}
            _ => return None,
        }
        rest = &rest[letter.len_utf8()..];
    }
    Some(side)
}

/// The decimal separator, where the digits show which it is.
fn decimal_of(digits: &str) -> Option<char> {
    let last = digits.rfind(['.', ','])?;
    let own = digits[last..].chars().next()?;
    let other = if own == '.' { ',' } else { '.' };
    let behind = digits.len() - last - 1;
    match (digits.matches(own).count(), digits.contains(other)) {
        // Both occur: the last is the decimal one.
        (1, true) => Some(own),
        // A group has three digits, and none begins with a single zero.
        (1, false) if behind != 3 || digits[..last] == *"0" => Some(own),
        (1, false) if digits[..last].contains(GROUPING) => Some(own),
        _ => None,
    }
}

/// Whether one separator before three digits may set off decimals or thousands.
fn is_ambiguous(digits: &str) -> bool {
    digits.matches(['.', ',']).count() == 1
}

/// Whether the digits stand in groups: three in the last, two or three before it (as in India), and one kind of sign between.
fn is_grouped(whole: &str) -> bool {
    let mut signs: Vec<char> = whole.chars().filter(|letter| !letter.is_ascii_digit()).collect();
    signs.dedup();
    let is_sign = |sign: &char| ['.', ','].contains(sign) || GROUPING.contains(sign);
    match signs.as_slice() {
        [] => true,
        [sign] if is_sign(sign) => {
            let groups: Vec<usize> = whole.split(*sign).map(str::len).collect();
            let (first, last) = (groups[0], groups[groups.len() - 1]);
            let middle = &groups[1..groups.len() - 1];
            (1..=3).contains(&first)
                && last == 3
                && (middle.iter().all(|length| *length == 3) || (*sign == ',' && first <= 2 && middle.iter().all(|length| *length == 2)))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::amount;

    #[test]
    fn amounts_are_read_as_they_are_meant() {
        for (text, expected) in [
            ("1.234,50 €", Some(12_345_000)),
            ("EUR 1,234.50", Some(12_345_000)),
            ("1'234.50", Some(12_345_000)),
            ("1 234,5", Some(12_345_000)),
            ("(12.00)", Some(-120_000)),
            ("12.00-", Some(-120_000)),
            ("−3,75", Some(-37_500)),
            ("7", Some(70_000)),
            ("0.125", Some(1_250)),
            ("1.234.567", Some(12_345_670_000)),
            ("12,34,567.89", Some(12_345_678_900)),
            ("Rs. 500", Some(5_000_000)),
            ("1.234", None),
            ("1,234", None),
            ("1,23,4.5", None),
            ("12.34.56", None),
            ("1.5 or 2.5", None),
            ("CHF 50.-", Some(500_000)),
            ("1'234.\u{2013}", Some(12_340_000)),
            ("50,-", Some(500_000)),
            ("50.5.-", None),
            ("1OOO", None),
            ("12.SOO", None),
            ("EUR 5 MRD", None),
            ("VAT 19", None),
            ("030 123 456", None),
            ("+49 171 123 456", None),
            ("000123", None),
            ("03.2024", None),
            ("(12.00", None),
            ("12.00)", None),
            ("12.03.", None),
            ("1.23.456", None),
            ("- 5", Some(-50_000)),
            ("-(5)", None),
            ("O.50", None),
            ("Page 3", None),
            ("3.5 kg", None),
            ("2024-03-17", None),
            ("12:30", None),
            ("10%", None),
            ("+49 171 1234567", None),
            ("1e5", None),
            ("US$ 99.95", Some(999_500)),
            ("99,95 kr.", Some(999_500)),
            (".50", None),
            ("no number", None),
            ("", None),
            ("1.23456", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(amount(text, None), expected, "{text}");
        }
        assert_eq!(amount("1.234", Some(',')), Some(12_340_000));
        assert_eq!(amount("1.234", Some('.')), Some(12_340));
        assert_eq!(amount("1,234.5", Some(',')), None);
    }
}
