//! Porter's stemmer as NLTK has it, which `rouge-score` uses: Porter 1980, "An algorithm for suffix
//! stripping", with NLTK's extensions (`nltk.stem.PorterStemmer`, its default mode). No crate has
//! these; Snowball's English stemmer is another one, Porter's second.
//!
//! Words are ASCII letters and digits in lower case. A digit counts as a consonant.

/// A suffix, what it becomes, and the condition on what stands before it.
type Rule = (&'static str, &'static str, fn(&str) -> bool);

/// Forms that no rule gets right.
const IRREGULAR: [(&str, &str); 14] = [
    ("sky", "sky"),
    ("skies", "sky"),
    ("dying", "die"),
    ("lying", "lie"),
    ("tying", "tie"),
    ("news", "news"),
    ("innings", "inning"),
    ("inning", "inning"),
    ("outings", "outing"),
    ("outing", "outing"),
    ("cannings", "canning"),
    ("canning", "canning"),
    ("howe", "howe"),
    ("proceed", "proceed"),
];
const STAYS: [&str; 2] = ["exceed", "succeed"];

const STEP_2: [Rule; 22] = [
    ("ational", "ate", positive),
    ("tional", "tion", positive),
    ("enci", "ence", positive),
    ("anci", "ance", positive),
    ("izer", "ize", positive),
    ("bli", "ble", positive),
    ("alli", "al", positive),
    ("entli", "ent", positive),
    ("eli", "e", positive),
    ("ousli", "ous", positive),
    ("ization", "ize", positive),
    ("ation", "ate", positive),
    ("ator", "ate", positive),
    ("alism", "al", positive),
    ("iveness", "ive", positive),
    ("fulness", "ful", positive),
    ("ousness", "ous", positive),
    ("aliti", "al", positive),
    ("iviti", "ive", positive),
    ("biliti", "ble", positive),
    ("fulli", "ful", positive),
    // The "l" counts as part of the stem, so that "geo" is one.
    ("logi", "log", positive_with_l),
];

const STEP_3: [Rule; 7] = [
    ("icate", "ic", positive),
    ("ative", "", positive),
    ("alize", "al", positive),
    ("iciti", "ic", positive),
    ("ical", "ic", positive),
    ("ful", "", positive),
    ("ness", "", positive),
];

const STEP_4: [Rule; 19] = [
    ("al", "", above_one),
    ("ance", "", above_one),
    ("ence", "", above_one),
    ("er", "", above_one),
    ("ic", "", above_one),
    ("able", "", above_one),
    ("ible", "", above_one),
    ("ant", "", above_one),
    ("ement", "", above_one),
    ("ment", "", above_one),
    ("ent", "", above_one),
    ("ion", "", above_one_after_s_or_t),
    ("ou", "", above_one),
    ("ism", "", above_one),
    ("ate", "", above_one),
    ("iti", "", above_one),
    ("ous", "", above_one),
    ("ive", "", above_one),
    ("ize", "", above_one),
];

/// The stem of a word.
pub fn stem(word: &str) -> String {
    if let Some((_, stem)) = IRREGULAR.iter().find(|(form, _)| *form == word) {
        return (*stem).into();
    }
    if word.len() <= 2 || STAYS.contains(&word) {
        return word.into();
    }
    let word = step_1c(step_1b(step_1a(word.into())));
    let word = applied(applied(step_2(word), &STEP_3), &STEP_4);
    step_5(word)
}

fn step_1a(word: String) -> String {
    if word.ends_with("ies") && word.len() == 4 {
        return cut(&word, 1);
    }
    let always: fn(&str) -> bool = |_| true;
    let rules = [
        ("sses", "ss", always),
        ("ies", "i", always),
        ("ss", "ss", always),
        ("s", "", always),
    ];
    applied(word, &rules)
}

fn step_1b(word: String) -> String {
    if word.ends_with("ied") {
        return cut(&word, if word.len() == 4 { 1 } else { 2 });
    }
    if let Some(stem) = word.strip_suffix("eed") {
        return match positive(stem) {
            true => format!("{stem}ee"),
            false => word,
        };
    }
    let suffixes = ["ed", "ing"].iter();
    let stems = suffixes.filter_map(|suffix| word.strip_suffix(suffix));
    match stems.into_iter().find(|stem| has_vowel(stem)) {
        Some(stem) => restored(stem),
        None => word,
    }
}

/// What is left of a word without "ed" or "ing", with the "e" that it had.
fn restored(stem: &str) -> String {
    if ["at", "bl", "iz"].iter().any(|end| stem.ends_with(end)) {
        return format!("{stem}e");
    }
    if ends_double(stem) {
        return match stem.ends_with(['l', 's', 'z']) {
            true => stem.into(),
            false => cut(stem, 1),
        };
    }
    match measure(stem) == 1 && ends_cvc(stem) {
        true => format!("{stem}e"),
        false => stem.into(),
    }
}

fn step_1c(word: String) -> String {
    let after_consonant = |stem: &&str| stem.len() > 1 && consonants(stem).last() == Some(&true);
    match word.strip_suffix('y').filter(after_consonant) {
        Some(stem) => format!("{stem}i"),
        None => word,
    }
}

fn step_2(word: String) -> String {
    match word.strip_suffix("alli").filter(|stem| positive(stem)) {
        Some(stem) => step_2(format!("{stem}al")),
        None => applied(word, &STEP_2),
    }
}

fn step_5(mut word: String) -> String {
    if let Some(stem) = word.strip_suffix('e') {
        let m = measure(stem);
        if m > 1 || (m == 1 && !ends_cvc(stem)) {
            word = stem.into();
        }
    }
    match word.ends_with("ll") && measure(&word[..word.len() - 1]) > 1 {
        true => cut(&word, 1),
        false => word,
    }
}

/// The first rule whose suffix the word has; where its condition does not hold, no other is tried.
fn applied(word: String, rules: &[Rule]) -> String {
    let found = rules
        .iter()
        .find_map(|rule| Some((word.strip_suffix(rule.0)?, rule)));
    match found {
        Some((stem, (_, replacement, condition))) if condition(stem) => {
            format!("{stem}{replacement}")
        }
        _ => word,
    }
}

fn cut(word: &str, n: usize) -> String {
    word[..word.len() - n].into()
}

fn positive(stem: &str) -> bool {
    measure(stem) > 0
}

fn positive_with_l(stem: &str) -> bool {
    measure(&format!("{stem}l")) > 0
}

fn above_one(stem: &str) -> bool {
    measure(stem) > 1
}

fn above_one_after_s_or_t(stem: &str) -> bool {
    measure(stem) > 1 && stem.ends_with(['s', 't'])
}

/// Whether each letter is a consonant: none of "aeiou", nor a "y" behind a consonant.
fn consonants(word: &str) -> Vec<bool> {
    let mut flags: Vec<bool> = Vec::with_capacity(word.len());
    for letter in word.bytes() {
        let consonant = match letter {
            b'a' | b'e' | b'i' | b'o' | b'u' => false,
            b'y' => !flags.last().copied().unwrap_or(false),
            _ => true,
        };
        flags.push(consonant);
    }
    flags
}

/// How often a consonant follows a vowel: `m` in `[C](VC){m}[V]`.
fn measure(stem: &str) -> usize {
    let flags = consonants(stem);
    flags.windows(2).filter(|pair| !pair[0] && pair[1]).count()
}

fn has_vowel(stem: &str) -> bool {
    consonants(stem).contains(&false)
}

fn ends_double(word: &str) -> bool {
    let bytes = word.as_bytes();
    bytes.len() >= 2
        && bytes[bytes.len() - 1] == bytes[bytes.len() - 2]
        && consonants(word).last() == Some(&true)
}

/// Consonant, vowel, consonant that is not "w", "x" or "y"; or a word of vowel and consonant.
fn ends_cvc(word: &str) -> bool {
    match consonants(word).as_slice() {
        [false, true] => true,
        [.., true, false, true] => !word.ends_with(['w', 'x', 'y']),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // nltk 3.10.4, PorterStemmer().stem.
    #[test]
    fn stems_are_nltks() {
        for (word, expected) in [
            ("caresses", "caress"),
            ("ponies", "poni"),
            ("dies", "die"),
            ("flies", "fli"),
            ("agreed", "agre"),
            ("feed", "feed"),
            ("died", "die"),
            ("spied", "spi"),
            ("plastered", "plaster"),
            ("motoring", "motor"),
            ("sing", "sing"),
            ("conflated", "conflat"),
            ("hopping", "hop"),
            ("falling", "fall"),
            ("filing", "file"),
            ("happy", "happi"),
            ("enjoy", "enjoy"),
            ("relational", "relat"),
            ("radically", "radic"),
            ("archaeology", "archaeolog"),
            ("geology", "geolog"),
            ("hopefully", "hope"),
            ("triplicate", "triplic"),
            ("adoption", "adopt"),
            ("controlling", "control"),
            ("rate", "rate"),
            ("cease", "ceas"),
            ("skies", "sky"),
            ("succeed", "succeed"),
            ("yyyy", "yyyi"),
            ("2nd", "2nd"),
            ("aed", "a"),
        ] {
            assert_eq!(stem(word), expected, "{word}");
        }
    }
}
