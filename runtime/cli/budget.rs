//! What a person writes to raise a budget: `+1.50`, `+50000tokens`, `+10calls`, `+2h`. It raises nothing.

use abide_llm::nano_of_usd;

use crate::Raise;

/// Reads it.
pub(crate) fn raise(text: &str) -> Result<Raise, String> {
    let wrong =
        || format!("`{text}` is no amount: write +1.50 for dollars, or +50000tokens, +10calls, +90s, +30m, +2h");
    let amount = text.trim();
    let amount = amount.strip_prefix('+').unwrap_or(amount).trim_start_matches('$');
    let digits = amount.len() - amount.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let (number, unit) = amount.split_at(digits);
    let number: f64 = number.parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0).ok_or_else(wrong)?;
    let whole = (number.fract() == 0.0).then_some(number as u64);
    let seconds = |each: f64| Raise { ms: (number * each * 1_000.0) as u64, ..Raise::default() };
    Ok(match unit.trim().to_lowercase().as_str() {
        "" | "usd" | "$" => Raise { nano_usd: nano_of_usd(number), ..Raise::default() },
        "token" | "tokens" => Raise { tokens: whole.ok_or_else(wrong)?, ..Raise::default() },
        "call" | "calls" | "turns" => Raise { calls: whole.ok_or_else(wrong)?, ..Raise::default() },
        "s" => seconds(1.0),
        "m" | "min" => seconds(60.0),
        "h" => seconds(3_600.0),
        _ => return Err(wrong()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn amounts_are_read_with_their_units() {
        let none = Raise::default();
        for (text, expected) in [
            ("+1.50", Raise { nano_usd: 1_500_000_000, ..none }),
            ("0.25usd", Raise { nano_usd: 250_000_000, ..none }),
            ("+$2", Raise { nano_usd: 2_000_000_000, ..none }),
            ("+50000tokens", Raise { tokens: 50_000, ..none }),
            ("+10 calls", Raise { calls: 10, ..none }),
            ("+90s", Raise { ms: 90_000, ..none }),
            ("+1.5h", Raise { ms: 5_400_000, ..none }),
        ] {
            assert_eq!(raise(text).unwrap(), expected, "{text}");
        }
        for text in ["", "+", "much", "+0", "-1", "+1.5tokens", "+1e9999", "+5 apples"] {
            assert!(raise(text).unwrap_err().contains("is no amount"), "{text}");
        }
    }
}
