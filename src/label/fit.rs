//! What of a text is kept when a question is too long for the model.

use crate::error::Result;

/// Byte at which the longest end of `text` begins for which `length` is at most `limit`: 0 where
/// all of it fits, the text's end where nothing does.
///
/// # Errors
/// `length` fails.
pub(super) fn start(
    text: &str,
    limit: usize,
    mut length: impl FnMut(&str) -> Result<usize>,
) -> Result<usize> {
    if length(text)? <= limit {
        return Ok(0);
    }
    let mut starts: Vec<usize> = text.char_indices().map(|(at, _)| at).skip(1).collect();
    starts.push(text.len());
    // The first start that fits, in a list of which the later ones fit.
    let (mut low, mut high) = (0, starts.len() - 1);
    while low < high {
        let middle = (low + high) / 2;
        if length(&text[starts[middle]..])? <= limit {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(starts[high])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_end_that_fits_is_kept() {
        let check = |text: &str, limit: usize, kept: &str| {
            // Ten for the rest of the question, one for each character.
            let length = |end: &str| Ok(10 + end.chars().count());
            let start = start(text, limit, length).unwrap();
            assert_eq!(&text[start..], kept, "{text:?} within {limit}");
        };
        check("abcdef", 16, "abcdef");
        check("abcdef", 15, "bcdef");
        check("abcdef", 12, "ef");
        check("aéßé", 12, "ßé");
        check("abcdef", 10, "");
        check("abcdef", 3, "");
        check("", 3, "");
    }
}
