//! What tools keep of a file's text.

use std::fmt::Write;
use std::hash::Hasher;

use sha2::{Digest, Sha256, Sha384};
use siphasher::sip::SipHasher13;
use squawk_lexer::BOM;

/// What a tool's history keeps of a file's text, by its own rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// What is recorded for a file that is applied now: decimal or lower-case hexadecimal digits.
    pub recorded: String,
    /// What else counts as the same text: other line ends, another width of the version.
    pub also: Vec<String>,
}

impl Checksum {
    /// One form only.
    #[must_use]
    pub fn only(recorded: impl Into<String>) -> Self {
        Self { recorded: recorded.into(), also: Vec::new() }
    }

    /// Whether what a history has recorded stands for this text.
    #[must_use]
    pub fn matches(&self, recorded: &str) -> bool {
        self.recorded == recorded || self.also.iter().any(|also| also == recorded)
    }
}

/// SHA-384 in lower-case hexadecimal digits, as sqlx records it (there, the bytes).
pub(crate) fn sha384(bytes: &[u8]) -> String {
    hexadecimal(&Sha384::digest(bytes))
}

/// SHA-256 in lower-case hexadecimal digits, as Prisma and Drizzle record it.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string never fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// CRC-32 as in IEEE 802.3; several tools make the key of their advisory lock from it.
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// Flyway's checksum: of the lines without what ends them, and without a mark before the first. Signed, as it is recorded.
pub(crate) fn crc32_lines(text: &str) -> i32 {
    let mut hasher = crc32fast::Hasher::new();
    for line in text.strip_prefix(BOM).unwrap_or(text).split(['\n', '\r']) {
        hasher.update(line.as_bytes());
    }
    hasher.finalize().cast_signed()
}

/// refinery's checksum in decimal digits, with a version of four bytes and with one of eight: which one a history holds
/// depends on how refinery was built. A version that does not fit into four bytes has only the second.
pub(crate) fn refinery(name: &str, version: i64, text: &str) -> (String, String) {
    let sum = |version: &[u8]| sip(name, version, text).to_string();
    let wide = sum(&version.to_le_bytes());
    (i32::try_from(version).map_or_else(|_| wide.clone(), |version| sum(&version.to_le_bytes())), wide)
}

/// This program's own checksum of a version: refinery's, with a version of eight bytes.
#[must_use]
pub fn checksum_of(name: &str, version: i64, text: &str) -> u64 {
    sip(name, &version.to_le_bytes(), text)
}

fn sip(name: &str, version: &[u8], text: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    for part in [name.as_bytes(), &[0xff], version, text.as_bytes(), &[0xff]] {
        hasher.write(part);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "SELECT 1;\n";

    #[test]
    fn checksums_are_those_of_the_tools() {
        assert!(sha384(A.as_bytes()).starts_with("24454095d8d7876c") && sha384(b"").len() == 96);
        assert!(sha256(A.as_bytes()).starts_with("b4e0497804e46e0a") && sha256(b"").len() == 64);
        assert_eq!(refinery("a", 1, A), ("15641188318147896532".into(), "8989450061852536159".into()));
        assert_eq!(crc32_lines(A), 78_787_420);
        assert_eq!(0x3d32_ad9e * i64::from(crc32(b"app")), 3_469_795_979_745_788_610);
    }

    #[test]
    fn the_ends_of_lines_and_a_mark_do_not_count_for_flyway() {
        let sums =
            ["\u{feff}SELECT 1;\r\nSELECT 2;\r\n", "SELECT 1;\nSELECT 2;", "SELECT 1;\rSELECT 2;\n\n"].map(crc32_lines);
        assert_eq!(sums, [-1_665_099_012; 3]);
        // Only the first one is no text.
        assert_ne!(crc32_lines("SELECT 1;\n\u{feff}SELECT 2;"), sums[0]);
    }

    #[test]
    fn a_version_too_wide_for_four_bytes_has_one_checksum() {
        let (narrow, wide) = refinery("a", 20_260_101_000_000, A);
        assert_eq!(narrow, wide);
    }

    #[test]
    fn a_checksum_matches_each_of_its_forms() {
        let checksum = Checksum { recorded: "1".into(), also: vec!["2".into()] };
        assert!(checksum.matches("1") && checksum.matches("2") && !checksum.matches("3"));
    }
}
