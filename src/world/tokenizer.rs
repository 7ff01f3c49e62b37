//! The world's tokenizer: one token for each word, in the Hugging Face `tokenizer.json` form.

use tokenizers::decoders::wordpiece::WordPiece;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::pre_tokenizers::whitespace::Whitespace;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{
    AddedToken, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, Tokenizer,
};

use super::World;
use crate::error::{Error, Result};

/// Ids 0 to 3: padding, start and end of text, and any word not in the vocabulary.
const SPECIAL: [&str; 4] = ["<pad>", "<s>", "</s>", "<unk>"];

/// Builds a tokenizer that knows the world's lexicon, the words of `extra_texts` (prompts, for
/// instance) and the numbers 1 to 10.
///
/// Ids follow the alphabet after the special tokens, so the same words give the same ids. Encoding
/// puts `<s>` first; decoding gives back the text, punctuation attached to the word before it.
///
/// # Errors
/// [`Error::File`] if the `tokenizers` crate refuses a part.
pub fn build_tokenizer(world: World, extra_texts: &[&str]) -> Result<Tokenizer> {
    let mut words = world.lexicon();
    words.extend((1..=10).map(|number| number.to_string()));
    for text in extra_texts {
        words.extend(split(text)?);
    }
    words.retain(|word| !SPECIAL.contains(&word.as_str()));
    let special = SPECIAL.into_iter().map(str::to_owned);
    let vocab = special.chain(words).zip(0..).collect();
    let model = WordLevel::builder()
        .vocab(vocab)
        .unk_token("<unk>".into())
        .build();
    let template = TemplateProcessing::builder()
        .try_single("<s> $A")
        .and_then(|builder| builder.try_pair("<s> $A $B"))
        .map_err(refused)?
        .special_tokens(vec![("<s>", 1)])
        .build()
        .map_err(refused)?;
    let mut tokenizer = Tokenizer::new(model.map_err(refused)?);
    tokenizer.with_pre_tokenizer(Some(Whitespace {}));
    tokenizer.with_post_processor(Some(template));
    tokenizer.with_decoder(Some(WordPiece::new("##".into(), true)));
    let special = SPECIAL.map(|token| AddedToken::from(token, true));
    tokenizer.add_special_tokens(special).map_err(refused)?;
    Ok(tokenizer)
}

/// Splits a text the way that the tokenizer will.
fn split(text: &str) -> Result<Vec<String>> {
    let mut pieces = PreTokenizedString::from(text);
    Whitespace {}.pre_tokenize(&mut pieces).map_err(refused)?;
    let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
    Ok(splits
        .into_iter()
        .map(|(word, _, _)| word.to_owned())
        .collect())
}

/// Wraps an error of the `tokenizers` crate.
fn refused(source: impl std::fmt::Display) -> Error {
    Error::file("tokenizer.json", source.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::Split;
    use super::*;

    #[test]
    fn texts_survive_a_round_trip() {
        for world in World::ALL {
            let tokenizer = build_tokenizer(world, &[]).unwrap();
            for index in 0..1_000 {
                let prompt = world.case(Split::Pretrain, index).text().to_owned();
                for text in [prompt, world.demonstration(Split::Pretrain, index)] {
                    let encoding = tokenizer.encode(text.as_str(), true).unwrap();
                    assert_eq!(encoding.get_ids()[0], 1);
                    assert!(!encoding.get_ids().contains(&3), "unknown word in `{text}`");
                    assert_eq!(encoding.len(), 1 + super::super::tokens(&text).len());
                    assert_eq!(tokenizer.decode(encoding.get_ids(), true).unwrap(), text);
                }
            }
        }
    }

    #[test]
    fn ids_are_fixed() {
        let a = build_tokenizer(
            World::tiny_tldr(),
            &["Which summary is better? TL;DR: {summary}"],
        )
        .unwrap();
        let b = build_tokenizer(
            World::tiny_tldr(),
            &["TL;DR: {summary} Which summary is better?"],
        )
        .unwrap();
        assert_eq!(a.to_string(true).unwrap(), b.to_string(true).unwrap());
        for (id, token) in (0..).zip(SPECIAL) {
            assert_eq!(a.token_to_id(token), Some(id));
        }
        for word in ["Which", "TL", ";", "DR", ":", "{", "1", "10", "anna", "?"] {
            assert!(a.token_to_id(word).is_some_and(|id| id > 3), "{word}");
        }
        println!(
            "vocabulary: {}",
            build_tokenizer(World::tiny_tldr(), &[])
                .unwrap()
                .get_vocab_size(true)
        );
    }

    #[test]
    fn a_saved_tokenizer_is_the_same() {
        let tokenizer = build_tokenizer(World::tiny_tldr(), &[]).unwrap();
        let json = tokenizer.to_string(true).unwrap();
        let loaded: Tokenizer = json.parse().unwrap();
        assert_eq!(loaded.to_string(true).unwrap(), json);
        let text = "should i move out?";
        let ids = |t: &Tokenizer| t.encode(text, true).unwrap().get_ids().to_vec();
        assert_eq!(ids(&loaded), ids(&tokenizer));
    }
}
