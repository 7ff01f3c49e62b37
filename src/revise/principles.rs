//! A list of principles, and how a critique and a revision by one of them are asked for.

use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, Value, context};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::record::Revised;

/// Names and texts of the lists that come with the crate.
pub const BUILT_IN: [(&str, &str); 1] = [("harmless", include_str!("harmless.toml"))];

/// What one principle asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Principle {
    /// Its name in the rows.
    pub name: String,
    /// Asks what is wrong.
    pub critique: String,
    /// Asks for a text without that.
    pub revision: String,
}

/// The file: texts are minijinja templates.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// What the model reads to answer `{{ prompt }}`.
    answer: String,
    /// To criticise `{{ response }}` by `{{ principle.critique }}`.
    critique: String,
    /// To revise it by `{{ critique }}` and `{{ principle.revision }}`.
    revision: String,
    /// What ends a text, beside the model's own end.
    #[serde(default)]
    stop: Vec<String>,
    principles: Vec<Principle>,
}

/// A list of principles that was checked.
#[derive(Debug)]
pub struct Principles {
    file: File,
    source: PathBuf,
    templates: Environment<'static>,
}

impl Principles {
    /// The built-in list of this name, or the file of this path.
    ///
    /// # Errors
    /// There is none, or it is malformed; the message names the place.
    pub fn load(name: &str) -> Result<Self> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) {
            return Self::parse(text, Path::new(name));
        }
        if !name.ends_with(".toml") {
            let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            let expected = format!("a path that ends in .toml, or {}", names.join(", "));
            return Err(Error::field("principles", name, expected));
        }
        let path = Path::new(name);
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, source: &Path) -> Result<Self> {
        let file: File = toml::from_str(text)
            .map_err(|e| Error::file(source, e.to_string().trim_end().to_string()))?;
        let mut templates = Environment::new();
        let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
        templates.set_syntax(syntax.map_err(|e| Error::Usage(e.to_string()))?);
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        let found = Self {
            file,
            source: source.into(),
            templates,
        };
        if found.file.principles.is_empty() {
            return Err(found.refused("expected at least one of `principles`"));
        }
        if found.file.stop.iter().any(String::is_empty) {
            return Err(found.refused("expected no empty text in `stop`"));
        }
        // A template that names something unknown fails now.
        found.answer("")?;
        for principle in &found.file.principles {
            for critique in [None, Some("")] {
                found.fill(critique, "", "", principle)?;
            }
        }
        Ok(found)
    }

    /// The principles.
    pub fn all(&self) -> &[Principle] {
        &self.file.principles
    }

    /// Texts that end what the model writes.
    pub fn stop(&self) -> &[String] {
        &self.file.stop
    }

    /// What the model reads to answer a prompt.
    ///
    /// # Errors
    /// The template fails.
    pub fn answer(&self, prompt: &str) -> Result<String> {
        self.render(&self.file.answer, &context! { prompt })
    }

    /// What it reads to criticise what there is, or with a critique to revise it.
    ///
    /// # Errors
    /// The template fails.
    pub fn ask(
        &self,
        row: &Revised,
        principle: &Principle,
        critique: Option<&str>,
    ) -> Result<String> {
        let prompt = row.prompt.transcript();
        self.fill(critique, &prompt, &row.completion, principle)
    }

    fn fill(
        &self,
        critique: Option<&str>,
        prompt: &str,
        response: &str,
        principle: &Principle,
    ) -> Result<String> {
        let principle = context! {
            name => principle.name.as_str(),
            critique => principle.critique.as_str(),
            revision => principle.revision.as_str(),
        };
        match critique {
            None => {
                let values = context! { prompt, response, principle };
                self.render(&self.file.critique, &values)
            }
            Some(critique) => {
                let values = context! { prompt, response, principle, critique };
                self.render(&self.file.revision, &values)
            }
        }
    }

    fn render(&self, template: &str, values: &Value) -> Result<String> {
        let rendered = self.templates.render_str(template, values);
        rendered.map_err(|e| self.refused(&e.to_string()))
    }

    fn refused(&self, message: &str) -> Error {
        Error::file(&self.source, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
answer = "Q: {{ prompt }}\nA:"
critique = "{{ prompt }} | {{ response }} | {{ principle.critique }}"
revision = "{{ response }} | {{ critique }} | {{ principle.revision }}"
stop = ["\nQ:"]
principles = [{ name = "kind", critique = "what is unkind?", revision = "be kind." }]
"#;

    #[test]
    fn texts_are_filled_in() {
        let found = Principles::parse(FILE, Path::new("p.toml")).unwrap();
        assert_eq!(found.answer("why?").unwrap(), "Q: why?\nA:");
        let ask = |critique| {
            found
                .fill(critique, "why?", "so.", &found.all()[0])
                .unwrap()
        };
        assert_eq!(ask(None), "why? | so. | what is unkind?");
        assert_eq!(ask(Some("rude")), "so. | rude | be kind.");
    }

    #[test]
    fn a_file_that_would_fail_later_is_refused() {
        let check = |from: &str, to: &str| {
            let error = Principles::parse(&FILE.replace(from, to), Path::new("p.toml"));
            let error = error.unwrap_err().to_string();
            assert!(error.starts_with("p.toml: "), "{error}");
        };
        check("{{ response }} | {{ critique }}", "{{ respond }}");
        check("stop = [\"\\nQ:\"]", "stop = [\"\"]");
        check("answer =", "reply =");
        check(
            "[{ name = \"kind\", critique = \"what is unkind?\", revision = \"be kind.\" }]",
            "[]",
        );
        assert!(Principles::load("none").is_err());
    }

    #[test]
    fn the_built_in_lists_are_sound() {
        for (name, _) in BUILT_IN {
            let found = Principles::load(name).unwrap();
            assert_eq!(found.all().len(), 16, "{name}");
        }
    }
}
