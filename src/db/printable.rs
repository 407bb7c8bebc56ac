//! Which characters a reader sees.

/// Whether a character is visible and has no other effect. The standard library escapes controls, formats, separators and
/// unassigned characters. It also escapes quotes and accents, which are visible, and misses the invisible characters among
/// Unicode's letters and marks.
#[must_use]
pub fn is_printable(c: char) -> bool {
    match c {
        ' '..='~' => true,
        '\u{34f}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{2800}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{ffa0}'
        | '\u{e0000}'..='\u{e0fff}' => false,
        // An accent after another character is not escaped.
        _ => {
            let mut text = [0; 5];
            text[0] = b'a';
            let length = 1 + c.encode_utf8(&mut text[1..]).len();
            let text = std::str::from_utf8(&text[..length]).unwrap_or_default();
            text.escape_debug().eq(text.chars())
        }
    }
}
