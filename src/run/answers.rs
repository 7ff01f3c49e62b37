//! `answers.jsonl`: every answer that was paid for, one row each, written the moment it arrives.
//!
//! A row is found by the hash of what was asked, so that a run that was killed, or another run with
//! the same question, asks nothing twice. Rows hold the raw answer: reading it in another way needs
//! no new request. The index of the rows is kept in memory, their texts stay in the file. What a
//! killed process left unfinished is skipped, and so is a row that was damaged otherwise; its
//! question is simply asked again. Nothing is ever removed from the file.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{RunDir, jsonl};
use crate::error::{Error, Result};
use crate::record::Record;

/// Name of the file in a run folder.
pub const ANSWERS: &str = "answers.jsonl";

/// What an endpoint answered to one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Hash of everything that was asked: model, text and parameters.
    pub key: String,
    /// The model that was asked.
    pub model: String,
    /// What it wrote.
    pub text: String,
    /// Why it stopped, in the server's words (`stop`, `length`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// The tokens it wrote with their alternatives; empty where none were asked for or given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<AnswerToken>,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
}

/// One token of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswerToken {
    /// The token that was written.
    pub token: String,
    /// Its log-probability in nats.
    pub log_prob: f64,
    /// The most likely tokens at this place with their log-probabilities in nats.
    pub top: Vec<(String, f64)>,
}

impl Record for Answer {}

/// Tokens that answers have cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenUsage {
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens written.
    pub completion_tokens: u64,
}

/// The open file of answers.
#[derive(Debug)]
pub struct AnswerLog {
    path: PathBuf,
    file: File,
    /// Place and length of each row, by its key.
    rows: HashMap<String, (u64, usize)>,
    usage: HashMap<String, TokenUsage>,
}

impl RunDir {
    /// Opens `answers.jsonl` to read and append to it.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn answers(&self) -> Result<AnswerLog> {
        AnswerLog::open(self.path(ANSWERS))
    }
}

impl AnswerLog {
    /// Opens a file that may be shared by several runs; creates it where there is none.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        }
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        let file = options.open(&path).map_err(Error::io("write", &path))?;
        let mut log = Self {
            path,
            file,
            rows: HashMap::new(),
            usage: HashMap::new(),
        };
        log.index()?;
        Ok(log)
    }

    /// Where the answers are kept.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of answers.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Tokens that the answers of a model have cost.
    pub fn usage(&self, model: &str) -> TokenUsage {
        self.usage.get(model).copied().unwrap_or_default()
    }

    /// The answer to what `key` stands for.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn get(&mut self, key: &str) -> Result<Option<Answer>> {
        let Some(&(start, len)) = self.rows.get(key) else {
            return Ok(None);
        };
        let failed = || Error::io("read", &self.path);
        let mut bytes = vec![0; len];
        self.file.seek(SeekFrom::Start(start)).map_err(failed())?;
        self.file.read_exact(&mut bytes).map_err(failed())?;
        let row = serde_json::from_slice::<Answer>(&bytes).ok();
        // Somebody who edits the file meanwhile moves its rows.
        Ok(row.filter(|row| row.key == key))
    }

    /// Appends an answer; it is in the file when this returns.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn put(&mut self, answer: &Answer) -> Result<()> {
        let line =
            jsonl::to_line(answer).map_err(|source| Error::file(&self.path, source.to_string()))?;
        let failed = || Error::io("write", &self.path);
        // One write for the line, so that rows of several writers do not mix.
        self.file.write_all(line.as_bytes()).map_err(failed())?;
        let end = self.file.stream_position().map_err(failed())?;
        let start = end.saturating_sub(line.len() as u64);
        let usage = (answer.prompt_tokens, answer.completion_tokens);
        self.count(&answer.key, &answer.model, usage, (start, line.len()));
        Ok(())
    }

    fn count(&mut self, key: &str, model: &str, usage: (u64, u64), place: (u64, usize)) {
        self.rows.insert(key.to_string(), place);
        let total = self.usage.entry(model.to_string()).or_default();
        total.prompt_tokens += usage.0;
        total.completion_tokens += usage.1;
    }

    /// Reads the file once for the places of its rows.
    fn index(&mut self) -> Result<()> {
        /// What the index needs of a row.
        #[derive(Deserialize)]
        struct Head {
            key: String,
            model: String,
            prompt_tokens: u64,
            completion_tokens: u64,
        }
        let file = File::open(&self.path).map_err(Error::io("read", &self.path))?;
        let mut input = BufReader::new(file);
        let (mut line, mut start, mut number) = (Vec::new(), 0, 0);
        loop {
            line.clear();
            let len = input
                .read_until(b'\n', &mut line)
                .map_err(Error::io("read", &self.path))?;
            if len == 0 {
                return Ok(());
            }
            number += 1;
            match serde_json::from_slice::<Head>(&line) {
                Ok(head) => {
                    let usage = (head.prompt_tokens, head.completion_tokens);
                    self.count(&head.key, &head.model, usage, (start, len));
                }
                Err(_) => tracing::warn!(
                    "{}:{number}: skipped, it is no whole answer",
                    self.path.display()
                ),
            }
            start += len as u64;
            if line.last() != Some(&b'\n') {
                // The next row has to begin on a line of its own.
                return self
                    .file
                    .write_all(b"\n")
                    .map_err(Error::io("write", &self.path));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(key: &str, text: &str) -> Answer {
        Answer {
            key: key.into(),
            model: "m".into(),
            text: text.into(),
            finish_reason: Some("stop".into()),
            tokens: vec![AnswerToken {
                token: "1".into(),
                log_prob: -0.25,
                top: vec![("1".into(), -0.25), (" 2".into(), -1.5)],
            }],
            prompt_tokens: 10,
            completion_tokens: 2,
        }
    }

    #[test]
    fn answers_survive_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::create(folder.path()).unwrap();
        let mut log = run.answers().unwrap();
        log.put(&answer("a", "one")).unwrap();
        log.put(&answer("b", "two\nlines")).unwrap();
        assert_eq!(log.get("a").unwrap(), Some(answer("a", "one")));
        let mut again = run.answers().unwrap();
        assert_eq!(again.get("b").unwrap(), Some(answer("b", "two\nlines")));
        assert_eq!(again.get("c").unwrap(), None);
        let usage = again.usage("m");
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (20, 4));
        // Two handles on one file do not overwrite each other.
        again.put(&answer("c", "three")).unwrap();
        log.put(&answer("d", "four")).unwrap();
        assert_eq!(again.get("c").unwrap(), Some(answer("c", "three")));
        assert_eq!(log.get("d").unwrap(), Some(answer("d", "four")));
        assert_eq!(run.answers().unwrap().len(), 4);
    }

    #[test]
    fn a_cut_last_row_is_skipped_and_the_next_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shared/answers.jsonl");
        let mut log = AnswerLog::open(&path).unwrap();
        log.put(&answer("a", "one")).unwrap();
        log.put(&answer("b", "two")).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() - 7]).unwrap();
        let mut log = AnswerLog::open(&path).unwrap();
        assert_eq!(log.len(), 1);
        assert_eq!(log.get("b").unwrap(), None);
        log.put(&answer("b", "two")).unwrap();
        let mut log = AnswerLog::open(&path).unwrap();
        assert_eq!(log.len(), 2);
        assert_eq!(log.get("b").unwrap(), Some(answer("b", "two")));
    }
}
