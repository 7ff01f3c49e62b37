//! The Jinja dialect of chat templates: what `transformers` gives a template beside plain Jinja.
//!
//! Blocks are trimmed, strings and dicts have Python's methods, `tojson` writes as Python's
//! `json.dumps` does, and there are `raise_exception`, `strftime_now`, `{% break %}`,
//! `{% continue %}` and `{% generation %}`. A template is code from whoever made the model: it sees
//! no files, and what it may compute and allocate is bounded.

use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter};

/// Instructions, and units of 64 bytes of data, that one rendering may take; the longest contexts
/// of today's models need a hundredth of it.
const FUEL: u64 = 20_000_000;
/// Marks where a `{% generation %}` block begins and ends; Unicode keeps both for internal use.
pub(super) const OPEN: char = '\u{fdd0}';
/// See [`OPEN`].
pub(super) const CLOSE: char = '\u{fdd1}';
/// Variable that says whether generation blocks are to be marked.
pub(super) const MARK: &str = "_rlaif_mark_generation";
const GENERATION: &str = "_rlaif_generation";

/// An environment for one template.
pub(super) fn environment() -> Result<Environment<'static>, Error> {
    let mut env = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    env.set_syntax(syntax.trim_blocks(true).lstrip_blocks(true).build()?);
    env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    env.set_fuel(Some(FUEL));
    env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    env.set_formatter(|out, state, value| match float(value) {
        Some(value) => out.write_str(&python_float(value)).map_err(Error::from),
        None => minijinja::escape_formatter(out, state, value),
    });
    env.add_filter("string", |value: &Value| match float(value) {
        Some(value) => python_float(value),
        None => value.to_string(),
    });
    env.add_filter("tojson", tojson);
    env.add_function("raise_exception", raise_exception);
    env.add_function("strftime_now", strftime_now);
    env.add_function(GENERATION, generation);
    // In Python a text and a dict are sequences and iterable too.
    let iterable = |value: &Value| {
        let kinds = [
            ValueKind::String,
            ValueKind::Seq,
            ValueKind::Map,
            ValueKind::Iterable,
        ];
        kinds.contains(&value.kind())
    };
    env.add_test("sequence", iterable);
    env.add_test("iterable", iterable);
    Ok(env)
}

/// The template with `{% generation %}` blocks as calls of a function, which this engine knows, and
/// line ends as Jinja reads them.
pub(super) fn translate(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let end = tag.find("%}").map_or(tag.len(), |end| end + 2);
        let (tag, after) = tag.split_at(end);
        let name = tag.trim_start_matches("{%").trim_end_matches("%}");
        match name.trim_matches(['-', '+', ' ', '\t', '\n', '\r']) {
            "generation" => {
                out.push_str(&tag.replace("generation", &format!("call {GENERATION}()")))
            }
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endcall")),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out + rest
}

/// Whether a template says what the model writes itself.
pub(super) fn has_generation_blocks(translated: &str) -> bool {
    translated.contains(GENERATION)
}

fn generation(state: &mut State, kwargs: Kwargs) -> Result<Value, Error> {
    let caller: Value = kwargs.get("caller")?;
    let text = caller.call(state, &[])?;
    let marked = state.lookup(MARK).is_some_and(|mark| mark.is_true());
    Ok(if marked {
        format!("{OPEN}{text}{CLOSE}").into()
    } else {
        text
    })
}

fn raise_exception(message: &str) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.to_string()))
}

/// The local time by a format of C's `strftime`.
fn strftime_now(format: &str) -> Result<String, Error> {
    let now = jiff::ZonedDateTime::now();
    jiff::fmt::strtime::format(format, &now)
        .map_err(|e| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {e}")))
}

/// `json.dumps(value, ensure_ascii, indent, separators, sort_keys)` with Python's defaults but for
/// `ensure_ascii`, which is false; nothing is escaped for HTML.
fn tojson(value: &Value, indent: Option<usize>, kwargs: Kwargs) -> Result<String, Error> {
    let failed = |e: serde_json::Error| Error::new(ErrorKind::BadSerialization, e.to_string());
    let indent = match indent {
        Some(indent) => Some(indent),
        None => kwargs.get("indent")?,
    };
    let separators: Option<Serde<(String, String)>> = kwargs.get("separators")?;
    let ensure_ascii: Option<bool> = kwargs.get("ensure_ascii")?;
    let sort_keys: Option<bool> = kwargs.get("sort_keys")?;
    kwargs.assert_all_used()?;
    if value.is_undefined() {
        let message = "an undefined value cannot be written as JSON";
        return Err(Error::new(ErrorKind::UndefinedError, message));
    }
    let mut json = serde_json::to_value(value).map_err(failed)?;
    if sort_keys == Some(true) {
        json.sort_all_objects();
    }
    let default = if indent.is_some() { "," } else { ", " };
    let Serde((item, key)) = separators.unwrap_or_else(|| Serde((default.into(), ": ".into())));
    let spaces = " ".repeat(indent.unwrap_or(0).min(64));
    let style = PythonStyle {
        item,
        key,
        pretty: indent.map(|_| PrettyFormatter::with_indent(spaces.as_bytes())),
    };
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, style);
    json.serialize(&mut serializer).map_err(failed)?;
    let text = String::from_utf8_lossy(&out).into_owned();
    Ok(if ensure_ascii == Some(true) {
        escape_non_ascii(&text)
    } else {
        text
    })
}

fn escape_non_ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            let units = c.encode_utf16(&mut [0; 2]).to_vec();
            out.extend(units.iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    out
}

/// How Python's `json.dumps` lays JSON out.
struct PythonStyle<'a> {
    item: String,
    key: String,
    /// Line breaks, when an indent was asked for.
    pretty: Option<PrettyFormatter<'a>>,
}

impl PythonStyle<'_> {
    fn begin_item<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(self.item.as_bytes())?;
        }
        // With `first`, the formatter writes the line break and no comma.
        let pretty = self.pretty.as_mut();
        pretty.map_or(Ok(()), |pretty| pretty.begin_array_value(writer, true))
    }
}

impl Formatter for PythonStyle<'_> {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(python_float(value).as_bytes())
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        match &mut self.pretty {
            Some(pretty) => pretty.begin_array(writer),
            None => writer.write_all(b"["),
        }
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        match &mut self.pretty {
            Some(pretty) => pretty.end_array(writer),
            None => writer.write_all(b"]"),
        }
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.begin_item(writer, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        let pretty = self.pretty.as_mut();
        pretty.map_or(Ok(()), |pretty| pretty.end_array_value(writer))
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        match &mut self.pretty {
            Some(pretty) => pretty.begin_object(writer),
            None => writer.write_all(b"{"),
        }
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        match &mut self.pretty {
            Some(pretty) => pretty.end_object(writer),
            None => writer.write_all(b"}"),
        }
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.begin_item(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(self.key.as_bytes())
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        let pretty = self.pretty.as_mut();
        pretty.map_or(Ok(()), |pretty| pretty.end_object_value(writer))
    }
}

/// The number, if it is one with a fraction or an exponent.
fn float(value: &Value) -> Option<f64> {
    let is_float = value.kind() == ValueKind::Number && !value.is_integer();
    is_float
        .then(|| f64::try_from(value.clone()).ok())
        .flatten()
}

/// A float as Python's `repr` writes it: `1e-05` where Rust says `1e-5`.
fn python_float(value: f64) -> String {
    let text = format!("{value:?}");
    let Some((digits, exponent)) = text.split_once('e') else {
        return text;
    };
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str) -> Result<String, String> {
        let mut env = environment().unwrap();
        env.add_template_owned("t", translate(source)).unwrap();
        let value = Value::from(Serde(
            serde_json::json!({"b": [1, 1.5e-7, "é<\u{1f600}"], "a": {}}),
        ));
        let template = env.get_template("t").unwrap();
        template
            .render(minijinja::context! { value })
            .map_err(|e| e.to_string())
    }

    /// Expected texts are what Python 3.11 says to `json.dumps(value, ...)`.
    #[test]
    fn json_is_written_as_python_does() {
        let check = |source: &str, expected: &str| assert_eq!(render(source).unwrap(), expected);
        let plain = "{\"b\": [1, 1.5e-07, \"é<\u{1f600}\"], \"a\": {}}";
        check("{{ value | tojson }}", plain);
        check(
            "{{ value.b | tojson(ensure_ascii=true) }}",
            r#"[1, 1.5e-07, "\u00e9<\ud83d\ude00"]"#,
        );
        check(
            "{{ value | tojson(sort_keys=true, separators=(',', ':')) }}",
            "{\"a\":{},\"b\":[1,1.5e-07,\"é<\u{1f600}\"]}",
        );
        check(
            "{{ value | tojson(indent=1) }}",
            "{\n \"b\": [\n  1,\n  1.5e-07,\n  \"é<\u{1f600}\"\n ],\n \"a\": {}\n}",
        );
        check(
            "{{ 1e20 | tojson }} {{ 123456789.0 | tojson }}",
            "1e+20 123456789.0",
        );
        assert!(render("{{ nothing | tojson }}").is_err());
    }

    #[test]
    fn a_template_cannot_run_away() {
        let check = |source: &str, expected: &str| {
            let error = render(source).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        let loops =
            "{% for a in range(99999) %}{% for b in range(99999) %}{{ b }}{% endfor %}{% endfor %}";
        check(loops, "fuel");
        let doubled = "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(60) %}\
            {% set ns.x = ns.x ~ ns.x %}{% endfor %}";
        check(doubled, "fuel");
        check(
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
            "recursion",
        );
        check("{{ 'a' * 99999999999 }}", "fuel");
        check("{% include 'x' %}", "not found");
        check("{{ raise_exception('no system role') }}", "no system role");
        check("{{ strftime_now('%!') }}", "strftime_now");
    }

    #[test]
    fn blocks_of_generation_keep_their_white_space() {
        let source = "a\n  {% generation %}\nb\n{%- endgeneration -%}\n c{# {% generation %} #}";
        assert_eq!(render(source).unwrap(), "a\nbc");
    }
}
