//! The code pages of short names: what bytes from 0x80 on stand for.
//!
//! A volume does not say which one its names are in. Linux takes 437 unless it is told another one, mtools 850. The tables are
//! those of the Unicode Consortium (VENDORS/MICSFT/PC/CP437.TXT and CP850.TXT).
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

/// What bytes from 0x80 on stand for in short names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CodePage {
    /// That of the first machines, and the one that Linux takes.
    #[default]
    Cp437,
    /// That of Western Europe.
    Cp850,
}

const CP437: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
    └┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";
const CP850: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜø£Ø×ƒáíóúñÑªº¿®¬½¼¡«»░▒▓│┤ÁÂÀ©╣║╗╝¢¥┐\
    └┴┬├─┼ãÃ╚╔╩╦╠═╬¤ðÐÊËÈıÍÎÏ┘┌█▄¦Ì▀ÓßÔÒõÕµþÞÚÛÙýÝ¯´\u{ad}±‗¾¶§÷¸°¨·¹³²■\u{a0}";

impl CodePage {
    fn upper_half(self) -> &'static str {
        match self {
            Self::Cp437 => CP437,
            Self::Cp850 => CP850,
        }
    }

    /// What `byte` stands for.
    pub(super) fn char(self, byte: u8) -> char {
        let high = byte.checked_sub(0x80).and_then(|at| self.upper_half().chars().nth(usize::from(at)));
        high.unwrap_or(char::from(byte & 0x7f))
    }

    /// `letter` as a small one, if there is that in the code page.
    pub(super) fn lowered(self, letter: char) -> char {
        let mut small = letter.to_lowercase();
        match (small.next(), small.next()) {
            (Some(small), None) if small.is_ascii() || self.upper_half().contains(small) => small,
            _ => letter,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_whole_and_letters_stay_in_them() {
        for page in [CodePage::Cp437, CodePage::Cp850] {
            assert_eq!(page.upper_half().chars().count(), 128);
            assert_eq!((page.char(b'~'), page.char(0x80), page.char(0xe1)), ('~', 'Ç', 'ß'));
            assert_eq!((page.char(0xff), page.lowered('Ç'), page.lowered('A')), ('\u{a0}', 'ç', 'a'));
        }
        assert_eq!((CodePage::Cp437.char(0xc1), CodePage::Cp850.char(0xb5)), ('┴', 'Á'));
        // There is no small gamma in 437.
        assert_eq!((CodePage::Cp437.lowered('Γ'), CodePage::Cp437.lowered('Σ')), ('Γ', 'σ'));
    }
}
