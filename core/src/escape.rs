//! Text from a remote, made harmless for a terminal and a log.

use std::fmt;

/// Text from a remote, shown so that it can do nothing to a terminal or a log.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(self.0, f)
    }
}

/// Writes text with everything escaped that is not a plain visible character or a space: control characters (ANSI
/// sequences begin with one), line and paragraph separators, bidirectional overrides, invisible and private ones.
pub fn escape(text: &str, out: &mut impl fmt::Write) -> fmt::Result {
    for c in text.chars() {
        match c {
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            '\\' => out.write_str("\\\\")?,
            c if is_plain(c) => out.write_char(c)?,
            c => write!(out, "\\u{{{:x}}}", u32::from(c))?,
        }
    }
    Ok(())
}

fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e000}'..='\u{f8ff}'
            | '\u{e0000}'..='\u{e0fff}' | '\u{f0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_text_cannot_reach_the_terminal() {
        for (text, shown) in [
            ("héllo 世界 🎉", "héllo 世界 🎉"),
            ("x\n2026 INFO admin\x1b[2J", "x\\n2026 INFO admin\\u{1b}[2J"),
            ("\u{202e}gpj.exe", "\\u{202e}gpj.exe"),
            ("a\u{2028}b\u{0}\u{9b}31m", "a\\u{2028}b\\u{0}\\u{9b}31m"),
            ("back\\slash", "back\\\\slash"),
        ] {
            assert_eq!(Escaped(text).to_string(), shown);
        }
    }
}
